"""Search inside a filter: what it leaves is found, however little that is."""

import numpy as np
import pytest

from dynamic_layer.index import selected
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.settings import IndexSettings

N, D = 3_000, 16


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, D))
    found = centres[rng.integers(30, size=N)] + 0.5 * rng.normal(size=(N, D))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=["flat", "lists"])
def built(request, vectors):
    above = 0 if request.param == "lists" else 10**9
    return ItemIndex(vectors, np.zeros(N, np.int64), IndexSettings(ivf_above=above))


@pytest.fixture
def index(built):
    return built.copy()


def exact(vectors, queries, allowed, k):
    scores = queries @ vectors.T
    scores[:, ~allowed] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
@pytest.mark.parametrize("few", [0, 65_536])
def test_the_best_that_a_filter_leaves_are_found(index, vectors, share, few, monkeypatch):
    monkeypatch.setattr(selected, "EXACT", few)  # 0: inside FAISS' lists, however few are left
    rng = np.random.default_rng(1)
    allowed = rng.random(N) < share
    queries = vectors[rng.integers(N, size=20)] + 0.1 * rng.normal(size=(20, D)).astype(np.float32)
    found = index.search_type(queries, 0, 10, allowed=allowed)
    wanted = exact(vectors, queries, allowed, 10)
    assert allowed[found.rows[found.rows >= 0]].all()
    assert ((found.rows >= 0).sum(axis=1) == min(10, allowed.sum())).all()
    hits = [len(set(a) & set(b)) for a, b in zip(found.rows.tolist(), wanted.tolist(), strict=True)]
    assert np.mean(hits) >= 9.9 if few or share < 0.01 else np.mean(hits) >= 9.0


def test_what_came_and_went_counts_inside_a_filter(index, vectors):
    allowed = np.zeros(N + 2, np.bool_)
    allowed[[5, 7, 9, N]] = True
    query = vectors[5:6]
    index.remove(np.array([7]))
    index.add(vectors[5:7], np.zeros(2, np.int64))
    found = index.search_type(query, 0, 10, allowed=allowed).rows[0]
    assert set(found[found >= 0].tolist()) == {5, 9, N}
    # What is kept of a mask does not outlive a removal, nor the mask that it was made of.
    index.remove(np.array([5]))
    found = index.search_type(query, 0, 10, allowed=allowed).rows[0]
    assert set(found[found >= 0].tolist()) == {9, N}
    known = np.full((1, 1), 9)
    found = index.search_type(query, 0, 10, known, allowed=allowed).rows[0]
    assert set(found[found >= 0].tolist()) == {N}
    nothing = np.zeros(N + 2, np.bool_)
    assert (index.search_type(query, 0, 10, allowed=nothing).rows == -1).all()


def test_kept_vectors_stay_within_their_bytes(index, vectors, monkeypatch):
    monkeypatch.setattr(selected, "KEPT_BYTES", 3 * 100 * D * 4)
    for start in range(0, 2_000, 100):
        allowed = np.zeros(N, np.bool_)
        allowed[start : start + 100] = True
        index.search_type(vectors[:1], 0, 10, allowed=allowed)
    assert len(index._selections._kept) <= 3


def draw_change(index, allowed, vectors, rng):
    """Items come, go, come back with another vector, or pass a filter that they did not."""
    match rng.integers(5):
        case 0:
            index.remove(rng.choice(N, 3, replace=False))
        case 1:
            index.add(vectors[rng.integers(N, size=2)], np.zeros(2, np.int64))
            allowed = np.append(allowed, rng.random(2) < 0.5)
        case 2:
            index.restore(rng.choice(N, 5, replace=False), vectors[rng.integers(N, size=5)])
        case 3:
            allowed = allowed.copy()
            allowed[rng.integers(len(allowed), size=4)] ^= True
        case 4:
            index.update(rng.integers(N, size=2), vectors[rng.integers(N, size=2)])
    return allowed


@pytest.mark.parametrize("seed", range(4))
def test_a_selection_that_follows_changes_is_one_that_is_made_again(index, vectors, seed):
    rng = np.random.default_rng(seed)
    allowed = rng.random(N) < 0.2
    for _ in range(60):
        allowed = draw_change(index, allowed, vectors, rng)
        queries = vectors[rng.integers(N, size=4)] + 0.1 * rng.normal(size=(4, D))
        followed = index.search_type(queries, 0, 10, allowed=allowed)
        again = index.search_type(queries, 0, 10, allowed=allowed, once=True)
        assert allowed[followed.rows].all()
        np.testing.assert_allclose(followed.scores, again.scores, rtol=1e-5)
        assert [set(row) for row in followed.rows] == [set(row) for row in again.rows]


def test_vectors_are_gathered_again_only_if_much_has_changed(index, vectors):
    def gathered():
        index.search_type(vectors[:1], 0, 10, allowed=allowed)
        return [*index._selections._kept.values()][-1].gathered

    allowed = np.arange(N) % 4 == 0
    first = gathered()
    index.remove(np.arange(0, 40))
    assert gathered() is first
    allowed = allowed.copy()
    allowed[41:80] = True
    assert gathered() is first
    assert index._selections._kept, "older selections share these vectors"
    allowed = np.arange(N) % 4 == 1
    assert gathered() is not first


def test_a_later_item_that_comes_back_has_its_new_vector(index, vectors):
    index.add(vectors[:1], np.zeros(1, np.int64))
    index.fold(0)
    allowed = np.arange(N + 1) > N - 40
    assert N in index.search_type(vectors[:1], 0, 1, allowed=allowed).rows
    index.remove(np.array([N]))
    index.search_type(vectors[:1], 0, 1, allowed=allowed)
    index.restore(np.array([N]), -vectors[:1])
    found = index.search_type(vectors[:1], 0, 40, allowed=allowed)
    scores = index.vectors(np.array([N])) @ vectors[0]
    np.testing.assert_allclose(found.scores[found.rows == N], scores, rtol=1e-5)
