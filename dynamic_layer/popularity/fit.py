"""Fits how much recent popularity adds to affinity, on examples that were never trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynamic_layer.examples.ranking import affinities, known_rows, user_features
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemFeatures, ItemRows
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.settings import PopularitySettings
from dynamic_layer.towers.two_tower import TwoTower

_STRETCHES = 8  # stretches of time; popularity is read at the start of each


@dataclass(frozen=True, kw_only=True)
class PopularityFit:
    """Half-lives and weight of log recent popularity, and what they reach on held-out examples.

    half_lives_days: by item type, as `HalfLives` chose them; weight: fitted here, for all types.
    ndcg: mean of 1 / log2(2 + rank) over all ranks; smoother than HR@10, so it does the choosing.
    examples: held-out examples that it was fitted on; with none, a weight of the settings holds.
    """

    half_lives_days: Mapping[str, float]
    weight: float
    ndcg: float
    hr_at_10: float
    examples: int

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Self | None:
        """Return a fit from a checkpoint's values; None for those of earlier versions."""
        return None if values is None or "half_lives_days" not in values else cls(**values)


def of_items(
    half_lives_days: Mapping[str, float], types: Sequence[str], type_number: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the half-life of each item's demand, f64 [n]; types: in the order of their numbers."""
    return np.array([half_lives_days[name] for name in types], np.float64)[type_number]


def fit_popularity(
    held_out: PaddedExamples,
    *,
    popularity: Popularity,
    model: TwoTower,
    features: ItemFeatures,
    vectors: Tensor,
    rows: ItemRows,
    settings: PopularitySettings,
    history_cap: int,
    types: Sequence[str],
    half_lives_days: Mapping[str, float],
    seed: int,
    last: PopularityFit | None = None,
) -> PopularityFit:
    """Return the weight that ranks the newest held-out targets best, at given half-lives.

    Popularity is read at the start of each stretch of time, so no target counts itself.
    vectors: f32 [n, d] of all items; history_cap: entries that the user tower reads;
    types: in the order of their numbers; last: the fit before, whose weight stays with too few
    examples.
    """
    grid = settings.weights
    half_lives = of_items(half_lives_days, types, features.type_number.numpy())
    order = np.argsort(held_out.timestamp, kind="stable")
    order = order[rows(held_out.target[order]) >= 0][-settings.fit_examples :]
    if last is not None and len(order) < settings.min_examples:
        grid = (last.weight,)
    if not len(order):
        return PopularityFit(
            half_lives_days=half_lives_days, weight=grid[len(grid) // 2],
            ndcg=0.0, hr_at_10=0.0, examples=0,
        )  # fmt: skip
    gain, hit = np.zeros(len(grid)), np.zeros(len(grid))
    ranked = min(1.0, settings.fit_items / len(features))
    sampled = torch.rand(len(features), generator=torch.Generator().manual_seed(seed)) < ranked
    for stretch in np.array_split(order, min(_STRETCHES, len(order))):
        examples = held_out.take(stretch)
        at_ms = int(examples.timestamp.min())
        recent = popularity.read(rows, len(features), at_ms=at_ms, half_life_days=half_lives)
        log_recent = torch.log(torch.from_numpy(recent) + settings.smoothing)
        biases = [weight * log_recent for weight in grid]
        users = user_features(examples, rows, history_cap)
        target = torch.from_numpy(rows(examples.target))
        with torch.no_grad():
            queries = model.user(users, features.content, features.type_number)
        for found in affinities(
            queries / model.temperature,
            vectors,
            target=target,
            known=torch.from_numpy(known_rows(examples, rows)),
            type_number=features.type_number,
        ):
            own = found.target.unsqueeze(1)
            sample = found.scores.masked_fill(~sampled[found.rows], -torch.inf)
            sample = sample.scatter(1, own, found.scores.gather(1, own))
            drawn = replace(found, scores=sample)
            for place, bias in enumerate(biases):
                rank = drawn.ranks(bias) / ranked
                gain[place] += (1 / np.log2(2 + rank)).sum()
                hit[place] += (rank < 10).sum()
    best = int(np.argmax(gain))
    return PopularityFit(
        half_lives_days=half_lives_days,
        weight=grid[best],
        ndcg=float(gain[best] / len(order)),
        hr_at_10=float(hit[best] / len(order)),
        examples=len(order),
    )
