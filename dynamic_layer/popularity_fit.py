"""Fits how much recent popularity adds to affinity, on examples that were never trained on."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from dynamic_layer.features import ItemFeatures, ItemRows
from dynamic_layer.popularity import Popularity
from dynamic_layer.ranking import affinities, ranks, user_features
from dynamic_layer.replay import PaddedExamples
from dynamic_layer.settings import PopularitySettings
from dynamic_layer.towers import TwoTower

_STRETCHES = 8  # stretches of time; popularity is read at the start of each


@dataclass(frozen=True, kw_only=True)
class PopularityFit:
    """Half-life and weight of log recent popularity, and what they reach on held-out examples.

    ndcg: mean of 1 / log2(2 + rank) over all ranks; smoother than HR@10, so it does the choosing.
    examples: held-out examples that it was fitted on; with none, the first settings hold.
    """

    half_life_days: float
    weight: float
    ndcg: float
    hr_at_10: float
    examples: int


def fit_popularity(
    held_out: PaddedExamples,
    *,
    popularity: Popularity,
    model: TwoTower,
    features: ItemFeatures,
    vectors: Tensor,
    rows: ItemRows,
    settings: PopularitySettings,
    seed: int,
    last: PopularityFit | None = None,
) -> PopularityFit:
    """Return the pair of half-life and weight that ranks the newest held-out targets best.

    Popularity is read at the start of each stretch of time, so no target counts itself.
    vectors: f32 [n, d] of all items; last: the fit before, whose pair stays with too few examples.
    """
    grid = list(product(settings.half_lives_days, settings.weights))
    order = np.argsort(held_out.timestamp, kind="stable")
    order = order[rows(held_out.target[order]) >= 0][-settings.fit_examples :]
    if last is not None and len(order) < settings.min_examples:
        grid = [(last.half_life_days, last.weight)]
    if not len(order):
        half_life, weight = grid[len(grid) // 2]
        return PopularityFit(
            half_life_days=half_life, weight=weight, ndcg=0.0, hr_at_10=0.0, examples=0
        )
    gain, hit = np.zeros(len(grid)), np.zeros(len(grid))
    ranked = min(1.0, settings.fit_items / len(features))
    sampled = torch.rand(len(features), generator=torch.Generator().manual_seed(seed)) < ranked
    for stretch in np.array_split(order, min(_STRETCHES, len(order))):
        examples = held_out.take(stretch)
        at_ms = int(examples.timestamp.min())
        biases = [
            weight
            * torch.log(
                torch.from_numpy(
                    popularity.read(rows, len(features), at_ms=at_ms, half_life_days=half_life)
                )
                + settings.smoothing
            )
            for half_life, weight in grid
        ]
        users = user_features(examples, rows)
        target = torch.from_numpy(rows(examples.target))
        with torch.no_grad():
            queries = model.user(users, features.content, features.type_number)
        for chunk, scores, _ in affinities(
            queries / model.temperature,
            vectors,
            target=target,
            history=users.history,
            type_number=features.type_number,
        ):
            own = target[chunk].unsqueeze(1)
            sample = scores.masked_fill(~sampled, -torch.inf).scatter(1, own, scores.gather(1, own))
            for place, bias in enumerate(biases):
                rank = ranks(sample, target[chunk], bias) / ranked
                gain[place] += (1 / np.log2(2 + rank)).sum()
                hit[place] += (rank < 10).sum()
    best = int(np.argmax(gain))
    return PopularityFit(
        half_life_days=grid[best][0],
        weight=grid[best][1],
        ndcg=float(gain[best] / len(order)),
        hr_at_10=float(hit[best] / len(order)),
        examples=len(order),
    )
