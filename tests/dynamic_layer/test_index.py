"""Nearest-neighbour search."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dynamic_layer import IndexSettings, ItemIndex

RNG = np.random.default_rng(3)
N, D = 600, 12
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)
TYPES = (np.arange(N) % 3).astype(np.int64)
QUERIES = RNG.normal(size=(20, D)).astype(np.float32)


def exact(vectors: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> list[list[int]]:
    scores = np.where(allowed, QUERIES @ vectors.T, -np.inf)
    best: list[list[int]] = np.argsort(-scores, axis=1)[:, :k].tolist()
    return best


@pytest.fixture
def index() -> ItemIndex:
    return ItemIndex(VECTORS, TYPES, IndexSettings())


def test_search_equals_exact_ranking_over_all_types_and_over_one(index: ItemIndex) -> None:
    assert index.search(QUERIES, 10).rows.tolist() == exact(VECTORS, np.ones(N, np.bool_), 10)
    assert index.search(QUERIES, 10, types=[1]).rows.tolist() == exact(VECTORS, TYPES == 1, 10)


def test_excluded_rows_are_not_returned_to_that_query_and_the_list_stays_full(
    index: ItemIndex,
) -> None:
    top = index.search(QUERIES, 15).rows
    exclude = np.where(np.arange(20)[:, None] % 2 == 0, top[:, :5], -1)
    rows = index.search(QUERIES, 10, exclude=exclude).rows
    for query in range(20):
        first = 5 if query % 2 == 0 else 0
        assert rows[query].tolist() == top[query, first : first + 10].tolist()


def test_fresh_items_are_found_at_once(index: ItemIndex) -> None:
    index.add(10 * QUERIES[:1], np.array([2]))
    hits = index.search(QUERIES[:1], 3)
    assert hits.rows[0, 0] == N
    assert index.search(QUERIES[:1], 3, exclude=np.array([[N]])).rows[0, 0] != N
    assert N not in index.search(QUERIES[:1], 3, types=[1]).rows


def test_removed_items_never_return_fresh_or_not(index: ItemIndex) -> None:
    index.add(10 * QUERIES[:1], np.array([2]))
    gone = np.unique(np.r_[index.search(QUERIES, 10).rows.ravel(), N])
    index.remove(gone)
    assert not np.isin(index.search(QUERIES, 10).rows, gone).any()
    assert len(index) == N + 1 - len(gone)


def test_a_copy_changes_without_its_original(index: ItemIndex) -> None:
    copy = index.copy()
    copy.remove(np.arange(N))
    copy.add(QUERIES[:1], np.array([0]))
    assert len(index) == N
    assert len(copy) == 1


def test_lists_shorter_than_k_end_with_minus_one() -> None:
    index = ItemIndex(VECTORS[:3], TYPES[:3], IndexSettings())
    hits = index.search(QUERIES, 5)
    assert (hits.rows[:, 3:] == -1).all()
    assert np.isneginf(hits.scores[:, 3:]).all()


def test_inverted_lists_find_nearly_all_above_the_threshold() -> None:
    settings = IndexSettings(ivf_above=100)
    index = ItemIndex(VECTORS, TYPES, settings)
    found = index.search(QUERIES, 10).rows
    expected = exact(VECTORS, np.ones(N, np.bool_), 10)
    recall = np.mean([len(set(f) & set(e)) / 10 for f, e in zip(found, expected, strict=True)])
    assert recall > 0.8
    index.remove(found[:, 0])
    assert not np.isin(index.search(QUERIES, 10).rows, found[:, 0]).any()


@pytest.mark.parametrize(
    "settings",
    [
        IndexSettings(),
        IndexSettings(flat_storage="int8"),
        IndexSettings(ivf_above=100, storage="fp16"),
        IndexSettings(ivf_above=100),
    ],
)
def test_a_saved_index_searches_alike_and_must_fit_its_vectors(
    settings: IndexSettings, tmp_path: Path
) -> None:
    index = ItemIndex(VECTORS, TYPES, settings)
    index.save(tmp_path)
    loaded = ItemIndex.load(tmp_path, VECTORS, TYPES, settings)
    assert loaded.search(QUERIES, 5).rows.tolist() == index.search(QUERIES, 5).rows.tolist()
    with pytest.raises(ValueError, match="expected an index of"):
        ItemIndex.load(tmp_path, VECTORS[:-3], TYPES[:-3], IndexSettings())


def test_an_index_that_changed_is_not_saved(index: ItemIndex, tmp_path: Path) -> None:
    index.remove(np.array([3]))
    with pytest.raises(ValueError, match="expected an index as it was built"):
        index.save(tmp_path)


def test_how_lists_are_read_is_measured_when_they_are_built() -> None:
    loose = ItemIndex(VECTORS, TYPES, IndexSettings(ivf_above=100, recall=0.6)).built[0]
    strict = ItemIndex(VECTORS, TYPES, IndexSettings(ivf_above=100, recall=0.999)).built[0]
    assert loose.recall >= 0.6
    assert strict.recall >= 0.999
    assert loose.probes / loose.lists < strict.probes / strict.lists


def test_recall_that_lists_cannot_have_makes_the_index_exact() -> None:
    index = ItemIndex(VECTORS, TYPES, IndexSettings(ivf_above=100, recall=1.01))
    assert all(built.lists == 0 and built.exact for built in index.built.values())
    assert index.search(QUERIES, 10).rows.tolist() == exact(VECTORS, np.ones(N, np.bool_), 10)
