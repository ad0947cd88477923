"""Sums over item-item weights: what one pass over a history's rows says is what matrices say."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories
from dynamic_layer.counts.neighbours import NONE, Neighbours
from dynamic_layer.head.candidates import Union

ITEMS = 30
HALF_LIVES = (2.0, float("inf"))


def best(
    near: Neighbours, histories: Histories, allowed: NDArray[np.bool_], k: int, limit: int = ITEMS
) -> NDArray[np.int64]:
    found = Union(histories, limit=limit, items=near.items)
    group, wanted = np.where(allowed, 0, NONE).astype(np.int16), np.zeros(len(histories), np.int64)
    found.add_best(near, group, wanted, k)
    return found.rows


def test_scores_sum_weights_by_recency(history: Histories) -> None:
    weights = sp.csr_array(
        np.array([[0, 1, 2, 4], [1, 0, 8, 0], [0] * 4, [0] * 4], dtype=np.float32)
    )
    near = Neighbours.of(history, history.recencies((1.0, float("inf"))), weights)
    scores = near.scores(np.array([[2, 3, NONE], [2, 3, NONE]]))
    assert scores[0].tolist() == [[0.5 * 2 + 0.25 * 8, 10], [2, 4], [0, 0]]
    assert not scores[1].any()


def test_best_are_the_greatest_sums(history: Histories) -> None:
    weights = sp.csr_array(
        np.array([[0, 9, 2, 4, 1], [9, 0, 8, 0, 0], *[[0] * 5] * 3], dtype=np.float32)
    )
    near = Neighbours.of(history, np.ones((2, 1), np.float32), weights)
    lists = best(near, history, np.ones(5, np.bool_), 2)
    assert sorted(lists[0].tolist()) == [2, 3]  # 10 and 4; items 0 and 1 are his own
    assert lists[1].tolist() == [NONE, NONE]
    assert best(near, history, np.arange(5) == 4, 2).tolist() == [[4], [NONE]]


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_they_are_products_of_matrices(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 7, size=5)
    histories = Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=np.concatenate([rng.choice(ITEMS, n, replace=False) for n in sizes]),
        age_days=rng.random(sizes.sum(), np.float32) * 5,
    )
    # Whole numbers are often equal: whichever of them is taken, it is one of the greatest.
    drawn = rng.integers(0, 4, size=(ITEMS, ITEMS)) * (rng.random((ITEMS, ITEMS)) < 0.2)
    weights = sp.csr_array(drawn.astype(np.float32))
    near = Neighbours.of(histories, histories.recencies(HALF_LIVES), weights)
    allowed = rng.random(ITEMS) < 0.6
    everything = near.scores(np.tile(np.arange(ITEMS), (len(histories), 1)))
    for part, half_life in enumerate(HALF_LIVES):
        share = sp.csr_array(
            (histories.recency(half_life), histories.item, histories.indptr),
            shape=(len(histories), ITEMS),
        )
        sums = (share @ weights).toarray()
        assert np.allclose(everything[:, :, part], sums, rtol=1e-5)
        alone = Neighbours.of(histories, histories.recencies((half_life,)), weights)
        for user, row in enumerate(best(alone, histories, allowed, k)):
            had = histories.item[histories.indptr[user] : histories.indptr[user + 1]]
            may = np.setdiff1d(np.flatnonzero(allowed & (sums[user] > 0)), had)
            chosen = row[row != NONE]
            assert set(chosen.tolist()) <= set(may.tolist())
            assert len(set(chosen.tolist())) == len(chosen) == min(k, len(may))
            greatest = np.sort(sums[user, may])[::-1][:k]
            assert np.allclose(np.sort(sums[user, chosen])[::-1], greatest, rtol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 12))
def test_a_limit_cuts_what_comes_last(seed: int, k: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    histories = Histories(
        indptr=np.array([0, 3, 3, 8], np.int64),
        item=np.concatenate([rng.choice(ITEMS, n, replace=False) for n in (3, 0, 5)]),
        age_days=rng.random(8, np.float32) * 5,
    )
    drawn = rng.random((ITEMS, ITEMS)) * (rng.random((ITEMS, ITEMS)) < 0.3)
    weights = sp.csr_array(drawn.astype(np.float32))
    near = Neighbours.of(histories, histories.recencies(HALF_LIVES), weights)
    allowed = rng.random(ITEMS) < 0.8
    every, cut = (best(near, histories, allowed, k, most) for most in (ITEMS, limit))
    assert cut.tolist() == every[:, : max(1, min(limit, every.shape[1]))].tolist()
