"""Vectors that follow a graph are those of batch inference on the same graph."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from static_layer.features import NodeFeatures
from static_layer.graph import HeteroGraph, build_graph
from static_layer.hgnn import HGNN
from static_layer.infer import item_vectors, layer_output, layers_of
from static_layer.live_vectors import LiveVectors
from static_layer.settings import GraphSettings, HGNNSettings

ITEMS, TEXT, STRUCTURE = 40, 6, 3
AIM = 0.9999  # cosine to batch inference


@dataclass(frozen=True, kw_only=True)
class World:
    """Random counts of pairs, of which an item more is known with each step."""

    counts: NDArray[np.int32]
    text: NDArray[np.float32]
    structure: NDArray[np.float32]
    model: HGNN
    folded: bool

    @classmethod
    def drawn(cls, seed: int, *, folded: bool, layers: int) -> "World":
        rng = np.random.default_rng(seed)
        counts = rng.poisson(rng.gamma(0.3, size=(ITEMS, ITEMS))).astype(np.int32)
        torch.manual_seed(seed)
        shape = HGNNSettings(hidden=12, output=8, structure=STRUCTURE, layers=layers)
        model = HGNN(TEXT, 2, shape, folded=folded)
        for layer in model.layers:  # as if they had learned: they begin at zero
            for vectors in [*layer.senders, *layer.receivers]:
                torch.nn.init.normal_(vectors.weight)
        return cls(
            counts=counts + counts.T,
            text=_unit(rng.normal(size=(ITEMS, TEXT))),
            structure=_unit(rng.normal(size=(ITEMS, STRUCTURE))),
            model=model,
            folded=folded,
        )

    def known(self, items: int) -> NDArray[np.int64]:
        """The first items that came into the catalogue, ascending; the others come later."""
        return np.sort(np.random.default_rng(0).permutation(ITEMS)[:items])

    def graph(self, items: int) -> HeteroGraph:
        known = self.known(items)
        left, right = np.triu_indices(ITEMS)
        co = SimpleNamespace(
            item_keys=np.arange(ITEMS, dtype=np.uint64), left=left.astype(np.int32),
            right=right.astype(np.int32), count=self.counts[left, right],
        )  # fmt: skip
        catalogue = pl.DataFrame(
            {"item_key": known.astype(np.uint64), "item_type": [f"{n % 2}" for n in known]}
        )
        shape = GraphSettings(max_degree=4, separate_types=1 if self.folded else 4)
        return build_graph(co, catalogue, shape)

    def features(self, items: int) -> NodeFeatures:
        known = self.known(items)
        return NodeFeatures(self.model, self.text[known], self.structure[known])

    def batch(self, items: int) -> NDArray[np.float32]:
        return item_vectors(self.model, self.graph(items), self.features(items))

    def change(self, rng: np.random.Generator, pairs: int) -> None:
        """Other counts for some pairs: edges come and go."""
        left, right = rng.integers(ITEMS, size=(2, pairs))
        self.counts[left, right] = self.counts[right, left] = rng.integers(0, 4, size=pairs)


def _unit(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@given(
    seed=st.integers(0, 2**31),
    folded=st.booleans(),
    layers=st.integers(1, 3),
    steps=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=1, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_vectors_after_any_changes_are_those_of_batch_inference(
    seed: int, folded: bool, layers: int, steps: list[tuple[int, int]]
) -> None:
    """Steps: pairs whose counts change, and new items."""
    world, rng = World.drawn(seed, folded=folded, layers=layers), np.random.default_rng(seed)
    items = 20
    live = LiveVectors(world.model, world.graph(items), world.features(items))
    np.testing.assert_allclose(live.vectors, world.batch(items), atol=1e-6)
    for pairs, more in steps:
        before = dict(zip(world.known(items), live.vectors.copy(), strict=True))
        world.change(rng, pairs)
        items += more
        moved = live.update(world.graph(items), world.features(items))
        np.testing.assert_allclose(live.vectors, world.batch(items), atol=1e-5)
        known = world.known(items)
        for row in np.setdiff1d(np.arange(items), moved):
            np.testing.assert_array_equal(live.vectors[row], before[known[row]])
        assert live.waiting == 0


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_a_small_threshold_keeps_the_aim(seed: int) -> None:
    world, rng = World.drawn(seed, folded=False, layers=2), np.random.default_rng(seed)
    live = LiveVectors(world.model, world.graph(30), world.features(30), threshold=0.001)
    for _ in range(10):
        world.change(rng, 3)
        live.update(world.graph(30), world.features(30))
    assert (live.vectors * world.batch(30)).sum(axis=1).min() >= AIM


def test_small_changes_that_are_left_out_do_not_add_up() -> None:
    """What is kept of a layer is near what the kept values of the layer before come to."""
    world, rng = World.drawn(7, folded=False, layers=2), np.random.default_rng(7)
    live = LiveVectors(world.model, world.graph(30), world.features(30), threshold=0.3)
    for _ in range(40):
        world.change(rng, 3)
        live.update(world.graph(30), world.features(30))
    first, second = layers_of(world.model)
    graph, rows = world.graph(30), np.arange(30)
    inputs = (world.features(30).rows, live._outputs[0].__getitem__)
    for layer, read, kept in zip((first, second), inputs, live._outputs, strict=True):
        values = layer_output(layer, graph, graph.adjacency, rows, read)
        apart = (values - kept).norm(dim=1) / values.norm(dim=1)
        assert 0 < apart.max() <= 0.3 + 1e-6


def test_only_what_a_change_reaches_is_computed() -> None:
    world = World.drawn(1, folded=False, layers=2)
    world.counts[:] = 0
    path = np.arange(ITEMS - 1)
    world.counts[path, path + 1] = world.counts[path + 1, path] = 1
    live = LiveVectors(world.model, world.graph(ITEMS), world.features(ITEMS))
    assert live.computed == 2 * ITEMS
    live.update(world.graph(ITEMS), world.features(ITEMS))
    assert live.computed == 0
    world.counts[0, 20] = world.counts[20, 0] = 1
    live.update(world.graph(ITEMS), world.features(ITEMS))
    assert live.computed == 2 + 5  # the two ends, then these and their neighbours: 0, 1, 19, 20, 21
    np.testing.assert_allclose(live.vectors, world.batch(ITEMS), atol=1e-6)


@pytest.mark.parametrize("most", [1, 3])
def test_a_limit_of_an_update_puts_work_off_and_none_is_forgotten(most: int) -> None:
    world = World.drawn(2, folded=False, layers=2)
    live = LiveVectors(world.model, world.graph(30), world.features(30))
    world.change(np.random.default_rng(3), 20)
    graph, features = world.graph(32), world.features(32)
    live.update(graph, features, most=most)
    assert live.waiting > 0
    updates = 1
    while live.waiting:
        waiting = live.waiting
        live.update(graph, features, most=most)
        assert live.waiting == max(0, waiting - most)
        updates += 1
    assert updates > 1
    np.testing.assert_allclose(live.vectors, world.batch(32), atol=1e-5)


def test_what_waits_longest_is_taken_over_first() -> None:
    world = World.drawn(1, folded=False, layers=1)
    world.counts[:] = 0
    live = LiveVectors(world.model, world.graph(ITEMS), world.features(ITEMS))
    taken: list[int] = []
    for pairs in ([(10, 11), (12, 13)], [(0, 1)], [], [], [], []):
        for left, right in pairs:
            world.counts[left, right] = world.counts[right, left] = 1
        taken += live.update(world.graph(ITEMS), world.features(ITEMS), most=1).tolist()
    assert taken == [10, 11, 12, 13, 0, 1]


def test_a_graph_that_lacks_items_is_refused() -> None:
    world = World.drawn(4, folded=False, layers=2)
    live = LiveVectors(world.model, world.graph(30), world.features(30))
    with pytest.raises(ValueError, match="all nodes"):
        live.update(world.graph(29), world.features(29))
