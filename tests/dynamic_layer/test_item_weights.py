"""Item-item weights come from counts alone, and agree with their closed forms."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from dynamic_layer.counts.item_weights import (
    capped,
    cosine_weights,
    ease_weights,
    nearest,
    strongest,
    transition_weights,
)
from dynamic_layer.settings import EaseSettings


def co_interactions(history: sp.csr_array) -> sp.csr_array:
    """The counts H^T H of a history matrix [users, items]."""
    binary = sp.csr_array(
        (np.ones(history.nnz, np.float32), history.indices, history.indptr), shape=history.shape
    )
    return (binary.T @ binary).tocsr()


@pytest.fixture
def history() -> sp.csr_array:
    rng = np.random.default_rng(3)
    return sp.csr_array((rng.random((90, 14)) < 0.4).astype(np.float32))


def test_counts_are_users_who_met_both() -> None:
    history = sp.csr_array(np.array([[1, 2, 0], [0, 1, 0], [5, 1, 1]], np.float32))
    assert co_interactions(history).toarray().tolist() == [[2, 2, 1], [2, 3, 1], [1, 1, 1]]


def test_with_all_items_as_neighbours_it_is_ease(history: sp.csr_array) -> None:
    counts = co_interactions(history)
    weights = ease_weights(counts, EaseSettings(ridge=7.0, neighbours=14, min_users=1))
    inverse = np.linalg.inv(counts.toarray().astype(np.float64) + 7.0 * np.eye(14))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    # Pairs that nobody met together are no neighbours; here there is none.
    assert (counts.toarray() > 0).all()
    np.testing.assert_allclose(weights.toarray(), expected, atol=2e-5)


def test_a_local_solution_uses_the_nearest_items_alone(history: sp.csr_array) -> None:
    counts = co_interactions(history)
    weights = ease_weights(counts, EaseSettings(neighbours=3, min_users=1)).tocsc()
    near = nearest(cosine_weights(counts), 3)
    for target in range(14):
        assert set(weights[:, [target]].nonzero()[0]) <= set(near[target])


def test_rare_items_are_left_out() -> None:
    history = sp.csr_array(np.array([[1, 1, 1], [1, 1, 0]], np.float32))
    weights = ease_weights(co_interactions(history), EaseSettings(min_users=2)).toarray()
    assert weights[0, 1] > 0
    assert not weights[2].any()
    assert not weights[:, 2].any()


def test_a_cap_keeps_the_diagonal_and_the_strongest_pairs(history: sp.csr_array) -> None:
    counts = co_interactions(history)
    cut = capped(counts, 4).toarray()
    cosine = cosine_weights(counts).toarray()
    assert (np.diag(cut) == counts.diagonal()).all()
    for row in range(14):
        others = np.delete(np.flatnonzero(cut[row]), np.flatnonzero(cut[row]).tolist().index(row))
        assert len(others) >= 4  # ties at the limit stay
        assert cosine[row, others].min() >= np.sort(cosine[row])[-4] - 1e-6


def test_the_strongest_of_a_row_are_its_greatest(history: sp.csr_array) -> None:
    weights = cosine_weights(co_interactions(history))
    kept = strongest(weights, 3).toarray()
    for row, every in enumerate(weights.toarray()):
        there = np.flatnonzero(kept[row])
        assert len(there) == 3
        assert kept[row, there].tolist() == every[there].tolist()
        assert kept[row, there].min() >= np.sort(every)[-3]


def test_of_equal_weights_in_a_row_the_first_columns_stay_whatever_their_order() -> None:
    values = np.array([2, 1, 1, 3, 1, 1, 2], np.float32)
    columns = np.array([5, 4, 0, 3, 2, 1, 0], np.int32)
    weights = sp.csr_array((values, columns, np.array([0, 6, 6, 7], np.int32)), shape=(3, 6))
    kept = strongest(weights, 4)
    assert kept.toarray().tolist() == [[1, 1, 0, 3, 0, 2], [0] * 6, [2, 0, 0, 0, 0, 0]]
    assert (kept.dtype, kept.nnz) == (np.float32, 5)
    assert weights.indices.tolist() == columns.tolist(), "the argument stays"


def test_weights_of_many_counts_take_little_memory() -> None:
    """Less than four times the counts, 8 bytes each; ten times where matrices are multiplied."""
    rng, n, each = np.random.default_rng(5), 2_000, 500
    indices = np.concatenate([np.sort(rng.permutation(n)[:each]) for _ in range(n)])
    counts = sp.csr_array(
        (rng.integers(1, 9, n * each).astype(np.float32), indices.astype(np.int32),
         np.arange(0, n * each + 1, each, dtype=np.int32)),
        shape=(n, n),
    )  # fmt: skip
    small = counts[:4, :4].tocsr()
    for made in (lambda c: strongest(cosine_weights(c), 60), lambda c: transition_weights(c, 60)):
        made(small)  # compiles the kernels
        tracemalloc.start()
        made(counts)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 8 * counts.nnz


def test_transitions_weigh_against_how_often_both_items_occur() -> None:
    # 0 leads to 1 four times, which is reached from everywhere, and to 2 twice, which is not.
    counts = sp.csr_array(np.array([[0, 4, 2], [0, 0, 0], [0, 12, 0]], np.float32))
    weights = transition_weights(counts, 2).toarray()
    np.testing.assert_allclose(weights[0], [0, 4 / np.sqrt(6 * 16), 2 / np.sqrt(6 * 2)], rtol=1e-6)
    assert transition_weights(counts, 1).toarray()[0].nonzero()[0].tolist() == [2]
