"""The gate: whether a new bundle may serve."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.ranking import affinities, ranks, user_features
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_learning import hit_rates
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.settings import GateSettings

_SAMPLE = 256
_PAIRS = 4_096
_JUDGED = 2_048
_K = 10


def served_hit_rate(
    bundle: DynamicBundle, held_out: PaddedExamples, popularity: Popularity | None
) -> float:
    """Return HR@10 of what a bundle serves: its head's lists, or those of its towers.

    popularity: counts from which the demand of each example's time is read; without it a head
    cannot be judged, and the towers stand in for it.
    """
    if bundle.head is None or popularity is None:
        return hit_rate(bundle, held_out)
    return hit_rates(bundle, held_out, popularity).head


def hit_rate(bundle: DynamicBundle, held_out: PaddedExamples, k: int = _K) -> float:
    """Return HR@k of a bundle's towers: the mean of `target_hits`; 0 without examples."""
    return float(target_hits(bundle, held_out, k).mean()) if len(held_out) else 0.0


def target_hits(bundle: DynamicBundle, held_out: PaddedExamples, k: int = _K) -> NDArray[np.bool_]:
    """Return which targets are among the k best items of their type by a bundle's towers, bool [b].

    Items of the history do not compete; targets that the bundle does not know are misses.
    """
    rows = ItemRows(bundle.item_keys)
    users = user_features(held_out, rows)
    target = torch.from_numpy(rows(held_out.target))
    known = (target >= 0).numpy()
    hits, bias = np.zeros(len(held_out), np.bool_), torch.from_numpy(bundle.bias)
    queries = bundle.user_vectors(users) / bundle.model.temperature
    for chunk, scores, _ in affinities(
        queries,
        torch.from_numpy(bundle.vectors),
        target=target.clamp(min=0),
        history=users.history,
        type_number=bundle.features.type_number,
    ):
        rank = ranks(scores, target[chunk].clamp(min=0), bias)
        hits[chunk] = (rank < k) & known[chunk]
    return hits


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the gate found.

    reasons: why the candidate must not serve, none if it may; held_out: examples that it was
    judged by; hr_at_10, served_hr_at_10: of candidate and served bundle on these, None where the
    two were not compared.
    """

    reasons: list[str]
    held_out: int = 0
    hr_at_10: float | None = None
    served_hr_at_10: float | None = None


def judge(
    candidate: DynamicBundle,
    served: DynamicBundle | None,
    held_out: PaddedExamples,
    settings: GateSettings,
    popularity: Popularity | None = None,
) -> Judgement:
    """Return whether a candidate may serve, and why not.

    served: the bundle in use, if any; held_out: examples that neither was trained on; popularity:
    counts of demand at their time, without which heads are not compared.
    """
    numbers = [candidate.vectors, candidate.bias, *candidate.popularity.values()]
    weights = [value.numpy() for value in candidate.model.state_dict().values()]
    numbers += [matrix.data for matrix in candidate.weights.values()]
    if candidate.head is not None:
        weights += [value.numpy() for value in candidate.head.state_dict().values()]
    if not all(np.isfinite(values).all() for values in numbers + weights):
        return Judgement(reasons=["expected finite weights and vectors, got NaN or infinity"])
    if not len(candidate.item_keys):
        return Judgement(reasons=["expected items, got none"])
    reasons = []
    before = after = None
    rng = np.random.default_rng(candidate.generation)
    held_out = held_out.newest(_JUDGED)
    if not _features_match(candidate, rng):
        reasons.append("expected item vectors to be those of the item tower, got others")
    similarity = _mean_similarity(candidate, rng)
    if similarity > settings.max_similarity:
        reasons.append(
            f"expected mean cosine of item vectors up to {settings.max_similarity}, "
            f"got {similarity:.3f}"
        )
    recall, coverage = _recall_and_coverage(candidate, held_out, rng)
    if recall < settings.min_recall:
        reasons.append(f"expected recall@{_K} of {settings.min_recall}, got {recall:.3f}")
    if len(held_out) >= _SAMPLE and coverage < settings.min_coverage:
        reasons.append(f"expected coverage of {settings.min_coverage}, got {coverage:.4f}")
    if served is not None and len(held_out) >= _SAMPLE:
        before = served_hit_rate(served, held_out, popularity)
        after = served_hit_rate(candidate, held_out, popularity)
        if after < before * (1 - settings.max_loss):
            reasons.append(
                f"expected HR@{_K} of at least {before * (1 - settings.max_loss):.3f} on "
                f"held-out examples, got {after:.3f}; the served bundle has {before:.3f}"
            )
    return Judgement(
        reasons=reasons, held_out=len(held_out), hr_at_10=after, served_hr_at_10=before
    )


def _features_match(bundle: DynamicBundle, rng: np.random.Generator) -> bool:
    rows = rng.choice(len(bundle.item_keys), min(_SAMPLE, len(bundle.item_keys)), replace=False)
    expected = bundle.model.item_vectors(bundle.features.take(torch.from_numpy(rows))).numpy()
    return bool(np.allclose(expected, bundle.vectors[rows], atol=1e-3))


def _mean_similarity(bundle: DynamicBundle, rng: np.random.Generator) -> float:
    left, right = rng.integers(len(bundle.vectors), size=(2, _PAIRS))
    apart = left != right
    if not apart.any():
        return 0.0
    products = (bundle.vectors[left[apart]] * bundle.vectors[right[apart]]).sum(axis=1)
    return float(products.mean())


def _recall_and_coverage(
    bundle: DynamicBundle, held_out: PaddedExamples, rng: np.random.Generator
) -> tuple[float, float]:
    """Return recall@10 of the index against exact search, and coverage of the possible."""
    if len(held_out):
        users = user_features(held_out, ItemRows(bundle.item_keys))
        queries = bundle.queries(bundle.user_vectors(users))
    else:
        rows = rng.integers(len(bundle.vectors), size=_SAMPLE)
        queries = bundle.queries(torch.from_numpy(bundle.vectors[rows]))
    queries = queries[-_SAMPLE:]
    exact = queries @ np.concatenate([bundle.vectors, bundle.bias[:, None]], axis=1).T
    k = min(_K, exact.shape[1])
    best = np.argpartition(-exact, k - 1, axis=1)[:, :k]
    found = bundle.index.search(queries, k).rows
    # By score, not by row: items that tie with the last one are as good.
    floor = np.take_along_axis(exact, best, axis=1).min(axis=1)
    place = np.maximum(found, 0)
    good = (np.take_along_axis(exact, place, axis=1) >= floor[:, None] - 1e-4) & (found >= 0)
    coverage = len(np.unique(found)) / min(len(bundle.vectors), found.size)
    return float(good.mean()), coverage
