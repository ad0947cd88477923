"""Measures a fitted model on a trial: each user's lists once, each segment's metrics from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from evaluation import metrics
from evaluation.baselines import Rows, Scorer
from evaluation.model import ListsOnly, PairScorer
from evaluation.ranking import best, checked, mask_pairs
from evaluation.segments import ALL, Segment, segments
from evaluation.trial import Trial
from static_layer import Progress

__all__ = ["METRICS", "BadScores", "Measured", "Row", "measure", "summary"]

K, DEPTH, BATCH = 10, 100, 256
METRICS = ("hr_at_10", "ndcg_at_10", "mrr", "recall_at_100")
_COVERAGE_DRAWS = 100


class BadScores(RuntimeError):
    """A model returned something that cannot be ranked."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model, one seed, one (item type, segment).

    users:  i64[n], the users that count. values: metric -> f64[n], of each user.
    lists:  i64[n, DEPTH], only the segment's items; -1 elsewhere. size: items of the segment that
            can be ranked.
    """

    item_type: str
    segment: str
    users: Rows
    values: Mapping[str, npt.NDArray[np.float64]]
    lists: Rows
    size: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table: a model on the test users of one type and segment, over its seeds.

    Metrics are means over users of the mean over seeds; `*_ci` are 95 % bootstrap intervals over
    users, so they say how sure the figure is for this split, not how it would move with another.
    hr_at_10_seeds: the figure of each seed. seconds: fitting and ranking, the mean over seeds.
    settings: what the model was fitted with beside its defaults.
    """

    model: str
    item_type: str
    segment: str
    users: int
    hr_at_10: float
    hr_at_10_ci: tuple[float, float]
    ndcg_at_10: float
    ndcg_at_10_ci: tuple[float, float]
    mrr: float
    mrr_ci: tuple[float, float]
    recall_at_100: float
    recall_at_100_ci: tuple[float, float]
    coverage: float
    coverage_ci: tuple[float, float]
    hr_at_10_seeds: tuple[float, ...]
    seconds: float
    fit_seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)


def measure(
    fitted: Scorer | ListsOnly, trial: Trial, *, name: str, progress: Progress
) -> list[Measured]:
    """Rank for every test user and measure every segment of every type, and of all types.

    Lists are made by the harness from scores, or checked where a model makes its own, so that no
    model gains by items that are excluded, foreign, or listed twice.
    """
    groups = list(_groups(trial))
    lists = {key: np.full((len(trial.truth.users), DEPTH), -1, np.int64) for key, _, _ in groups}
    users = trial.truth.users
    for start in range(0, len(users), BATCH):
        part = slice(start, min(start + BATCH, len(users)))
        if isinstance(fitted, ListsOnly):
            _ask(fitted, trial, part, groups, lists)
        else:
            _rank(_scores(fitted, trial, part, name), trial, part, groups, lists)
        progress(f"rank {name}", part.stop, len(users))
    for item_type in trial.dataset.item_types:  # a single type has the lists of all
        for among in (False, True):
            lists.setdefault((item_type, among), lists[ALL, among])
    found = []
    for item_type in [ALL, *trial.dataset.item_types]:
        for segment in segments(trial.dataset, item_type):
            if segment.among and isinstance(fitted, ListsOnly):
                continue
            measured = _measured(trial, item_type, segment, lists[item_type, segment.among])
            if measured is not None:
                found.append(measured)
    return found


def summary(
    model: str,
    seeds: list[list[Measured]],
    *,
    seconds: float,
    fit_seconds: float,
    seed: int,
    settings: Mapping[str, Any],
) -> list[Row]:
    """Average a model's seeds into rows. seeds: what `measure` returned for each."""
    rows = []
    for same in zip(*seeds, strict=True):
        first = same[0]
        values = {
            name: np.mean([measured.values[name] for measured in same], axis=0) for name in METRICS
        }
        # Each row draws by itself, so that leaving out a model changes no interval.
        rng = np.random.default_rng([seed, 1])
        figures: dict[str, Any] = {}
        for name in METRICS:
            figures[name] = float(values[name].mean())
            figures[f"{name}_ci"] = metrics.bootstrap_interval(values[name], rng)
        covered = [metrics.coverage(measured.lists, measured.size) for measured in same]
        spread = float(np.mean([_coverage_spread(measured, rng) for measured in same]))
        coverage = float(np.mean(covered))
        figures["coverage_ci"] = (
            max(0.0, coverage - 1.96 * spread),
            min(1.0, coverage + 1.96 * spread),
        )
        rows.append(
            Row(
                model=model,
                item_type=first.item_type,
                segment=first.segment,
                users=len(first.users),
                coverage=coverage,
                hr_at_10_seeds=tuple(float(m.values["hr_at_10"].mean()) for m in same),
                seconds=seconds,
                fit_seconds=fit_seconds,
                settings=dict(settings),
                **figures,
            )
        )
    return rows


Group = tuple[tuple[str, bool], Rows, Rows]
"""(item type, only cold items), columns of the candidates, places of the users it is for."""


def _groups(trial: Trial) -> Iterator[Group]:
    """The lists that are wanted: per type and for all, of all candidates and of the cold ones."""
    owner = np.repeat(np.arange(len(trial.truth.users)), trial.truth.counts())
    types = trial.dataset.item_types
    for item_type in [ALL, *types] if len(types) > 1 else [ALL]:
        for segment in segments(trial.dataset, item_type):
            if segment.name not in (ALL, "cold_items"):
                continue
            columns = np.flatnonzero(segment.items[trial.candidates])
            wanted = np.unique(owner[segment.items[trial.truth.item]])
            yield (item_type, segment.among), columns, wanted


def _scores(scorer: Scorer, trial: Trial, part: slice, name: str) -> npt.NDArray[np.float32]:
    """Scores of all candidates, f32[users, candidates], -inf for what is excluded."""
    users = trial.truth.users[part]
    if trial.drawn is not None and isinstance(scorer, PairScorer):
        return _drawn_scores(scorer, trial, trial.drawn[part], users, name)
    scores = np.array(scorer(users, trial.candidates), dtype=np.float32)
    _check(scores, (len(users), len(trial.candidates)), name)
    column_of = np.full(len(trial.dataset.items), -1)
    column_of[trial.candidates] = np.arange(len(trial.candidates))
    if trial.consumed is not None:
        mask_pairs(scores, trial.consumed[users], column_of)
    if trial.drawn is not None:
        competing = np.zeros(scores.shape, bool)
        row, item = trial.drawn[part].nonzero()
        column = column_of[item]
        competing[row[column >= 0], column[column >= 0]] = True
        scores[~competing] = -np.inf
    return scores


def _check(scores: npt.NDArray[np.float32], expected: tuple[int, int], name: str) -> None:
    if scores.shape != expected:
        raise BadScores(f"{name}: expected scores of shape {expected}, got {scores.shape}")
    if np.isnan(scores).any():
        raise BadScores(f"{name}: {np.isnan(scores).sum():,} of {scores.size:,} scores are NaN")


def _drawn_scores(
    scorer: PairScorer, trial: Trial, drawn: sp.csr_array, users: Rows, name: str
) -> npt.NDArray[np.float32]:
    """Scores of the drawn items alone, f32[users, candidates], -inf for all others."""
    row, item = drawn.nonzero()
    column_of = np.full(len(trial.dataset.items), -1)
    column_of[trial.candidates] = np.arange(len(trial.candidates))
    if trial.consumed is not None:
        had = np.asarray(trial.consumed[users][row, item]).ravel()
        row, item = row[~had], item[~had]
    row, item = row[column_of[item] >= 0], item[column_of[item] >= 0]
    sizes = np.bincount(row, minlength=len(users))
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    asked = np.full((len(users), int(sizes.max(initial=0))), -1, np.int64)
    asked[row, place] = item
    found = np.array(scorer.pairs(users, asked), dtype=np.float32)
    _check(found, asked.shape, name)
    scores = np.full((len(users), len(trial.candidates)), -np.inf, np.float32)
    scores[row, column_of[item]] = found[row, place]
    return scores


def _rank(
    scores: npt.NDArray[np.float32],
    trial: Trial,
    part: slice,
    groups: list[Group],
    lists: dict[tuple[str, bool], Rows],
) -> None:
    for key, columns, wanted in groups:
        places = wanted[(wanted >= part.start) & (wanted < part.stop)]
        if not len(places) or not len(columns):
            continue
        inside = scores[places - part.start] if len(places) < len(scores) else scores
        top = best(inside, DEPTH, columns)
        lists[key][places] = np.where(top >= 0, trial.candidates[columns][top], -1)


def _ask(
    ranker: ListsOnly,
    trial: Trial,
    part: slice,
    groups: list[Group],
    lists: dict[tuple[str, bool], Rows],
) -> None:
    if trial.drawn is not None:
        raise BadScores("a model that makes whole lists cannot be tested on sampled negatives")
    for (item_type, among), columns, wanted in groups:
        places = wanted[(wanted >= part.start) & (wanted < part.stop)]
        if among or not len(places):
            continue
        users = trial.truth.users[places]
        banned = None if trial.consumed is None else trial.consumed[users]
        made = np.asarray(ranker(users, item_type, DEPTH), np.int64)
        made = checked(made, trial.candidates[columns], banned)[:, :DEPTH]
        lists[item_type, among][places, : made.shape[1]] = made


def _measured(trial: Trial, item_type: str, segment: Segment, lists: Rows) -> Measured | None:
    """Metrics of the users who may count and have an item that counts; None without such users."""
    truth = trial.truth
    owner = np.repeat(np.arange(len(truth.users)), truth.counts())
    counts = segment.items[truth.item] & segment.users[truth.users][owner]
    chosen, held_out = np.unique(owner[counts], return_counts=True)
    if not len(chosen):
        return None
    n_items = len(trial.dataset.items)
    kept = lists[chosen]
    wanted = owner[counts] * n_items + truth.item[counts]
    hits = np.isin(chosen[:, None] * n_items + kept, wanted) & (kept >= 0)
    ranks = [np.flatnonzero(row) for row in hits]
    return Measured(
        item_type=item_type,
        segment=segment.name,
        users=truth.users[chosen],
        values={
            "hr_at_10": metrics.hit_rate(ranks, K),
            "ndcg_at_10": metrics.ndcg(ranks, held_out, K),
            "mrr": metrics.mrr(ranks, DEPTH),
            "recall_at_100": metrics.recall(ranks, held_out, DEPTH),
        },
        lists=np.where(segment.items[kept] & (kept >= 0), kept, -1),
        size=int(segment.items[trial.candidates].sum()),
    )


def _coverage_spread(measured: Measured, rng: np.random.Generator) -> float:
    """Standard deviation of coverage when users are drawn again.

    A resample holds two thirds of the users and covers less, so its quantiles lie below the
    figure; its spread is what is wanted.
    """
    user, place = np.nonzero(measured.lists >= 0)
    item = measured.lists[user, place]
    if not len(item):
        return 0.0
    n = len(measured.users)
    distinct, column = np.unique(item, return_inverse=True)
    lists = sp.csr_array((np.ones(len(user), np.float32), (user, column)), shape=(n, len(distinct)))
    present = rng.multinomial(n, np.full(n, 1 / n), size=_COVERAGE_DRAWS) > 0
    covered = np.asarray((lists.T @ present.T.astype(np.float32)) > 0).sum(axis=0)
    return float(covered.std() / max(measured.size, 1))
