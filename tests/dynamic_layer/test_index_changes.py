"""Items that come and go: every search equals a search by brute force over what is there."""

from dataclasses import dataclass, replace
from typing import Any

import faiss
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from dynamic_layer import IndexSettings, ItemIndex
from dynamic_layer.index import item_index

D, TYPES, K = 8, 2, 5
FEW = IndexSettings(fresh_limit=1_000)
"""Nothing is made aside unless a test says so."""


@dataclass
class World:
    """An index, and all that it was told."""

    index: ItemIndex
    vectors: NDArray[np.float32]
    types: NDArray[np.int64]
    alive: NDArray[np.bool_]

    def best(
        self, queries: NDArray[np.float32], number: int, exclude: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the scores of the k best by brute force, -inf where there are fewer."""
        scores = queries @ self.vectors.T
        scores[:, ~self.alive | (self.types != number)] = -np.inf
        for row, banned in zip(scores, exclude, strict=True):
            row[banned[banned >= 0]] = -np.inf
        padded = np.pad(scores, ((0, 0), (0, K)), constant_values=-np.inf)
        return np.asarray(-np.sort(-padded, axis=1)[:, :K])


def made(rng: np.random.Generator, n: int, given: IndexSettings) -> World:
    vectors = rng.standard_normal((n, D), dtype=np.float32)
    types = rng.integers(TYPES, size=n)
    return World(ItemIndex(vectors, types, given), vectors, types, np.ones(n, np.bool_))


def add(world: World, rng: np.random.Generator, n: int) -> None:
    vectors, types = rng.standard_normal((n, D), dtype=np.float32), rng.integers(TYPES, size=n)
    world.index.add(vectors, types)
    world.vectors = np.concatenate([world.vectors, vectors])
    world.types = np.concatenate([world.types, types])
    world.alive = np.concatenate([world.alive, np.ones(n, np.bool_)])


def remove(world: World, rng: np.random.Generator, n: int) -> None:
    rows = rng.integers(len(world.alive), size=n)
    world.index.remove(rows)
    world.alive[rows] = False


def remove_best(world: World, rng: np.random.Generator, n: int) -> None:
    """Remove what a query would find first: more than a search looks at beyond its k."""
    query = rng.standard_normal(D, dtype=np.float32)
    rows = np.argsort(-(world.vectors @ query))[:n]
    world.index.remove(rows)
    world.alive[rows] = False


def restore(world: World, rng: np.random.Generator, n: int) -> None:
    """Have rows found again; those that are there stay as they are."""
    rows = rng.integers(len(world.alive), size=n)
    world.index.restore(rows, world.vectors[rows])
    world.alive[rows] = True


def fold(world: World, rng: np.random.Generator, n: int) -> None:
    world.index.fold(world.index.known_types()[n % len(world.index.known_types())])


def update(world: World, rng: np.random.Generator, n: int) -> None:
    """Give rows other vectors: built ones, fresh ones, and some that are gone."""
    rows = np.unique(rng.integers(len(world.alive), size=n))
    vectors = rng.standard_normal((len(rows), D), dtype=np.float32)
    before, earlier = world.index.vectors(rows), world.index.copy()
    world.index.update(rows, vectors)
    world.vectors = world.vectors.copy()  # the index was given this array
    world.vectors[rows] = vectors
    np.testing.assert_array_equal(earlier.vectors(rows), before)  # a copy keeps what it had


def agree(world: World, rng: np.random.Generator) -> None:
    queries = rng.standard_normal((4, D), dtype=np.float32)
    exclude = rng.integers(-1, len(world.alive), size=(4, 7))
    exclude[0, :3] = np.argsort(-(world.vectors @ queries[0]))[:3]
    assert len(world.index) == world.alive.sum()
    for number in range(TYPES):
        hits = world.index.search_type(queries, number, K, exclude)
        expected = world.best(queries, number, exclude)
        np.testing.assert_allclose(hits.scores, expected, rtol=1e-4, atol=1e-4)
        for query, rows in enumerate(hits.rows):
            found = rows[rows >= 0]
            assert len(found) == np.isfinite(expected[query]).sum()
            assert world.alive[found].all()
            assert (world.types[found] == number).all()
            assert not np.isin(found, exclude[query]).any()
    chosen = np.flatnonzero(world.alive)
    np.testing.assert_array_equal(world.index.vectors(chosen), world.vectors[chosen])
    assert (world.index.is_removed(np.arange(len(world.alive))) == ~world.alive).all()


CHANGES = {
    "add": add, "remove": remove, "remove_best": remove_best, "restore": restore, "fold": fold,
    "update": update,
}  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(1, 60)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 120), steps=STEPS)
def test_an_exact_index_equals_brute_force_after_any_changes(
    seed: int, n: int, steps: list[tuple[str, int]]
) -> None:
    rng = np.random.default_rng(seed)
    world = made(rng, n, FEW)
    agree(world, rng)
    for name, size in steps:
        CHANGES[name](world, rng, size)
        agree(world, rng)


@pytest.mark.parametrize("storage", ["float32", "fp16", "int8", "int4"])
def test_lists_find_what_is_there_after_any_changes(storage: str) -> None:
    """A recall of 1 on 256 queries asks for all lists; what is checked is what changes do."""
    rng = np.random.default_rng(5)
    given = replace(FEW, ivf_above=100, storage=storage, recall=0.99)  # type: ignore[arg-type]
    world = made(rng, 900, given)
    for name, size in [("add", 50), ("remove", 200), ("remove_best", 60), ("fold", 0), ("fold", 1),
                       ("add", 30), ("remove", 100), ("update", 300), ("fold", 0),
                       ("restore", 200), ("fold", 1), ("restore", 90), ("fold", 0),
                       ("remove_best", 40), ("update", 40)]:  # fmt: skip
        CHANGES[name](world, rng, size)
        queries = rng.standard_normal((50, D), dtype=np.float32)
        nobody = np.full((50, 1), -1)
        for number in range(TYPES):
            assert world.index.built[number].lists > 0
            hits = world.index.search_type(queries, number, K)
            assert (hits.rows >= 0).all()
            assert world.alive[hits.rows].all()
            expected = world.best(queries, number, nobody)
            assert np.mean(hits.scores >= expected[:, -1:] - 1e-4) > 0.97
            exact = np.einsum("qd,qkd->qk", queries, world.vectors[hits.rows])
            np.testing.assert_allclose(hits.scores, exact, rtol=1e-3, atol=1e-3)


def test_many_changes_make_an_index_aside_and_leave_little_behind() -> None:
    rng = np.random.default_rng(6)
    world = made(rng, 400, replace(FEW, fresh_limit=50, fresh_share=0.0))
    for _ in range(40):
        add(world, rng, 20)
        rows = rng.permutation(np.flatnonzero(world.alive))[:20]
        world.index.remove(rows)
        world.alive[rows] = False
    world.index.settle()
    agree(world, rng)
    assert world.index.fresh <= 50 * TYPES
    built = world.index.built.values()
    # What was removed is no longer in what was built, but for what a next one is not yet due for.
    assert sum(len(part) for part in built) <= 400 + 50 * TYPES


def test_changes_during_a_fold_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    world = made(rng, 200, FEW)
    add(world, rng, 30)
    remove(world, rng, 90)
    fold_of = item_index.folded

    def meanwhile(*given: Any, **more: Any) -> Any:
        done = fold_of(*given, **more)
        add(world, rng, 25)
        remove(world, rng, 60)
        restore(world, rng, 90)
        return done

    monkeypatch.setattr(item_index, "folded", meanwhile)
    world.index.fold(0)
    monkeypatch.undo()
    agree(world, rng)
    world.index.fold(0)
    world.index.fold(1)
    agree(world, rng)


def test_what_a_search_began_with_stays_while_the_index_changes() -> None:
    rng = np.random.default_rng(8)
    world = made(rng, 300, FEW)
    add(world, rng, 40)
    before = world.index.copy()
    kept = replace(world)
    add(world, rng, 40)
    remove(world, rng, 80)
    fold(world, rng, 0)
    agree(world, rng)
    other = World(before, kept.vectors, kept.types, np.ones(340, np.bool_))
    agree(other, rng)
    add(other, rng, 30)
    agree(other, rng)
    agree(world, rng)


def test_a_device_that_is_not_there_is_named() -> None:
    if hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this FAISS has CUDA")
    with pytest.raises(ValueError, match="expected a FAISS with CUDA"):
        made(np.random.default_rng(9), 20, replace(FEW, device="cuda"))


def test_rows_that_change_while_an_index_is_made_aside_are_found_with_their_new_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    world = made(rng, 50, FEW)
    add(world, rng, 20)
    whole = item_index.folded

    def folded(*args: Any, **kwargs: Any) -> Any:
        built = whole(*args, **kwargs)
        update(world, rng, 40)  # after it has read the vectors, before it is searched
        return built

    monkeypatch.setattr(item_index, "folded", folded)
    for number in world.index.known_types():
        world.index.fold(number)
    agree(world, rng)
