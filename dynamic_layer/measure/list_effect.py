"""What another way of making lists does to hit rate, coverage and diversity, question by question.

A question is held out: its answer, an item that a user took, lies after the moment of the list, and
the list is made without it. Both ways are asked the same questions, one of each user, so that an
interval over questions is one over users.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

__all__ = ["Answer", "Change", "ListEffect", "answer_of", "effect_of"]

_K = 10
_Z = 1.959964  # two-sided 95 %
_DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One list of a question, its first ten items.

    hit: whether the answer is among them; items: u64 [<= 10], their keys; distance: mean of
    1 - cosine over all pairs of them, nan with fewer than two.
    """

    hit: bool
    items: NDArray[np.uint64]
    distance: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """A figure before and after; low, high: interval of 95 % of `after - before`, by user.

    One question has no interval: None.
    """

    before: float
    after: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class ListEffect:
    """What changed in one list.

    questions: how many were asked, of as many users. hr_at_10: share of the answers that are among
    the first ten. coverage: share of the catalogue that is in the first ten of any list.
    diversity: mean over lists of `Answer.distance`; None where no list has two items on both sides.
    """

    questions: int
    hr_at_10: Change
    coverage: Change
    diversity: Change | None


def answer_of(items: NDArray[np.uint64], vectors: NDArray[np.float32], target: np.uint64) -> Answer:
    """Return what a list shows. items: u64 [n], keys, best first; vectors: f32 [n, d], unit length.

    >>> answer_of(np.array([7, 9], np.uint64), np.eye(2, dtype=np.float32), np.uint64(9))
    Answer(hit=True, items=array([7, 9], dtype=uint64), distance=1.0)
    """
    items, vectors = items[:_K], vectors[:_K].astype(np.float64)
    pairs = len(items) * (len(items) - 1)
    cosines = float((vectors.sum(axis=0) ** 2).sum() - (vectors**2).sum())
    distance = 1 - cosines / pairs if pairs else math.nan
    return Answer(hit=bool((items == target).any()), items=items, distance=distance)


def effect_of(
    before: Sequence[Answer], after: Sequence[Answer], catalogue: int
) -> ListEffect | None:
    """Compare two ways by their answers to the same questions; None without questions.

    catalogue: number of items that can be recommended. Same answers, same figures.
    """
    if not before:
        return None
    hits = [np.array([one.hit for one in side], np.float64) for side in (before, after)]
    distances = [np.array([one.distance for one in side]) for side in (before, after)]
    both = ~np.isnan(distances[0] + distances[1])
    return ListEffect(
        questions=len(before),
        hr_at_10=_of_means(*hits),
        coverage=_of_coverage(before, after, catalogue),
        diversity=_of_means(*(one[both] for one in distances)) if both.any() else None,
    )


def _of_means(before: NDArray[np.float64], after: NDArray[np.float64]) -> Change:
    changes = after - before
    deviation = float(changes.std(ddof=1)) if len(changes) > 1 else math.nan
    return _change(float(before.mean()), float(after.mean()), deviation / math.sqrt(len(changes)))


def _of_coverage(before: Sequence[Answer], after: Sequence[Answer], catalogue: int) -> Change:
    """Compare how many items are shown; the spread is that of users who are drawn again.

    Of a resample only the spread is read: it has fewer users, and covers less.
    """
    n = len(before)
    present = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=_DRAWS) > 0
    own = [_shown(side) for side in (before, after)]
    drawn = [np.asarray((one.T @ present.T.astype(np.float32)) > 0).sum(axis=0) for one in own]
    deviation = float((drawn[1] - drawn[0]).std(ddof=1)) if n > 1 else math.nan
    size = max(catalogue, 1)
    return _change(own[0].shape[1] / size, own[1].shape[1] / size, deviation / size)


def _shown(side: Sequence[Answer]) -> sp.csr_array:
    """Return which list shows which item, f32 [lists, items that are shown]."""
    indptr = np.concatenate([[0], np.cumsum([len(one.items) for one in side])])
    distinct, column = np.unique(np.concatenate([one.items for one in side]), return_inverse=True)
    return sp.csr_array(
        (np.ones(len(column), np.float32), column, indptr), shape=(len(side), len(distinct))
    )


def _change(before: float, after: float, error: float) -> Change:
    """error: standard error of the difference; nan where one question says nothing of it."""
    if not math.isfinite(error):
        return Change(before=before, after=after, low=None, high=None)
    difference, half = after - before, _Z * error
    return Change(before=before, after=after, low=difference - half, high=difference + half)
