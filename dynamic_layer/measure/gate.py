"""The gate: whether a new bundle may serve."""

from dataclasses import dataclass

import numpy as np
import torch

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.examples.same_user import users_of
from dynamic_layer.items.features import ItemRows
from dynamic_layer.measure.against_popularity import AgainstPopularity
from dynamic_layer.measure.held_out import HeldOut
from dynamic_layer.measure.loss import Loss, loss_of
from dynamic_layer.settings import GateSettings

_SAMPLE = 256
_PAIRS = 4_096
_JUDGED = 2_048
_K = 10


def serve_popularity(bundle: DynamicBundle, held_out: HeldOut) -> dict[str, AgainstPopularity]:
    """Have a bundle serve live popularity for the types whose own lists are behind it.

    Returns what the newest held-out examples say, by item type.
    """
    found = held_out.against_popularity(bundle, _JUDGED)
    bundle.manifest["popularity_types"] = sorted(n for n, one in found.items() if one.popularity)
    return found


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the gate found.

    reasons: why the candidate must not serve, none if it may; held_out: examples that it was
    judged by; hr_at_10, served_hr_at_10, best_hr_at_10: of candidate, served bundle and best
    earlier one on these, None where they were not compared.
    """

    reasons: list[str]
    held_out: int = 0
    hr_at_10: float | None = None
    served_hr_at_10: float | None = None
    best_hr_at_10: float | None = None

    @property
    def best(self) -> bool:
        """Whether the candidate is at least as good as each bundle that it was compared with."""
        others = [self.served_hr_at_10, self.best_hr_at_10]
        known = [rate for rate in others if rate is not None]
        return self.hr_at_10 is not None and bool(known) and self.hr_at_10 >= max(known)


def judge(
    candidate: DynamicBundle,
    served: DynamicBundle | None,
    held_out: HeldOut,
    settings: GateSettings,
    best: DynamicBundle | None = None,
) -> Judgement:
    """Return whether a candidate may serve, and why not.

    served: the bundle in use, if any; held_out: examples that neither was trained on; best: the
    best earlier bundle, if it is another one: many small losses in a row are a large one against
    it.
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
    rng = np.random.default_rng(candidate.generation)
    if not _features_match(candidate, rng):
        reasons.append("expected item vectors to be those of the item tower, got others")
    similarity = _mean_similarity(candidate, rng)
    if similarity > settings.max_similarity:
        reasons.append(
            f"expected mean cosine of item vectors up to {settings.max_similarity}, "
            f"got {similarity:.3f}"
        )
    recall, coverage = _recall_and_coverage(candidate, held_out.newest(_JUDGED), rng)
    if recall < settings.min_recall:
        reasons.append(f"expected recall@{_K} of {settings.min_recall}, got {recall:.3f}")
    if len(held_out) >= _SAMPLE and coverage < settings.min_coverage:
        reasons.append(f"expected coverage of {settings.min_coverage}, got {coverage:.4f}")
    others = {"served": served, "best earlier": best if best is not served else None}
    known = {name: bundle for name, bundle in others.items() if bundle is not None}
    found: dict[str, Loss] = {}
    if known and len(held_out) >= _SAMPLE:
        found = _losses(candidate, known, held_out, settings)
    reasons += [
        f"expected HR@{_K} of about {loss.before:.3f} on held-out examples, got {loss.after:.3f};"
        f" the {name} bundle has {loss.before:.3f}, {-loss.high:.3f} more at least"
        for name, loss in found.items()
        if loss.too_much
    ]
    one = next(iter(found.values()), None)
    return Judgement(
        reasons=reasons,
        held_out=len(held_out.newest(_JUDGED)) if one is None else one.questions,
        hr_at_10=None if one is None else one.after,
        served_hr_at_10=found["served"].before if "served" in found else None,
        best_hr_at_10=found["best earlier"].before if "best earlier" in found else None,
    )


def _losses(
    candidate: DynamicBundle,
    others: dict[str, DynamicBundle],
    held_out: HeldOut,
    settings: GateSettings,
) -> dict[str, Loss]:
    """Compare with other bundles on the newest examples; on all if these cannot tell enough."""
    asked = min(_JUDGED, len(held_out))
    while True:
        users = users_of(held_out.newest(asked))
        after = held_out.served_hits(candidate, asked)
        found = {
            name: loss_of(held_out.served_hits(bundle, asked), after, users, settings.max_loss)
            for name, bundle in others.items()
        }
        if asked == len(held_out) or all(loss.needed <= asked for loss in found.values()):
            return found
        asked = len(held_out)


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
        users = user_features(held_out, ItemRows(bundle.item_keys), bundle.history_cap)
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
