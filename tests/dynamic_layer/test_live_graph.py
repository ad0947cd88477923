"""Rows have the HGNN's vectors of the counts of now; training and bundles do not read them."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer import LiveGraphSettings, NewItems, Trainer, carried
from dynamic_layer.counts.live_counts import LiveCounts
from dynamic_layer.counts.state_weights import TOGETHER
from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.items.features import GAIN
from static_layer.features import NodeFeatures
from static_layer.graph import HeteroGraph, build_graph
from static_layer.infer import item_vectors
from static_layer.settings import GraphSettings
from tests.dynamic_layer.live_worlds import MAX_DEGREE, Pairs, counted_items, strong_pairs
from tests.dynamic_layer.worlds import SMALL, TEXT, Items, make_examples, make_items, unit

LIVE = replace(
    SMALL, live_graph=LiveGraphSettings(enabled=True),
    replay=replace(SMALL.replay, epochs=1.0),
)  # fmt: skip
SHAPE = GraphSettings(max_degree=MAX_DEGREE)
AIM = 0.9999  # cosine to batch inference
NEW = np.array([7, 2**63 + 9], np.uint64)  # keys of items that come after the bundle


def counts_of(pairs: Pairs) -> SimpleNamespace:
    keys = np.unique(np.array([key for pair in pairs for key in pair], np.uint64))
    ends = np.searchsorted(keys, np.array(sorted(pairs), np.uint64)).astype(np.int32)
    return SimpleNamespace(
        item_keys=keys, left=ends[:, 0], right=ends[:, 1],
        count=np.array([pairs[pair] for pair in sorted(pairs)], np.int32),
    )  # fmt: skip


def world(before: ExampleBatch) -> Items:
    """A static bundle whose vectors are the HGNN's on the graph of some events."""
    items = counted_items(before)
    items.hgnn = batch_vectors(items, strong_pairs(before))
    return items


def batch_vectors(items: Items, pairs: Pairs, new: NewItems | None = None) -> np.ndarray:
    """What the static job's inference gives, by row of the items, then of the new ones."""
    keys, types, text = items.item_keys, list(items.item_types), items.text
    if new is not None:
        keys = np.concatenate([keys, new.item_keys])
        types, text = [*types, *new.item_types], np.concatenate([text, new.text])
    catalogue = pl.DataFrame({"item_key": keys, "item_type": types})
    graph: HeteroGraph = build_graph(counts_of(pairs), catalogue, SHAPE)
    order = np.argsort(keys)
    structure = np.zeros((len(keys), items.model.settings.structure), np.float32)
    found = np.empty((len(keys), items.hgnn.shape[1]), np.float32)
    found[order] = item_vectors(
        items.model, graph, NodeFeatures(items.model, text[order], structure)
    )
    return found


def live_vectors(trainer: Trainer) -> np.ndarray:
    """The HGNN part of the features with which rows are made."""
    assert trainer.graph is not None
    return trainer.graph.features(trainer._items).content[:, TEXT:].numpy() / GAIN


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (unit(one) * unit(other)).sum(axis=1)


@pytest.fixture(scope="module")
def before() -> ExampleBatch:
    return make_examples(make_items(), 600, seed=11)


@pytest.fixture(scope="module")
def after() -> ExampleBatch:
    return make_examples(make_items(), 300, seed=12)


@given(
    seed=st.integers(0, 2**31),
    parts=st.integers(1, 5),
    summed=st.booleans(),
    most=st.integers(5, 400),
)
@settings(max_examples=40, deadline=None)
def test_counts_are_sums_however_they_come(seed: int, parts: int, summed: bool, most: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(12, size=(2, 300)).astype(np.uint64) * np.uint64(2**60)
    counts, wanted = LiveCounts(most), Counter[tuple[int, int]]()
    for part in np.array_split(np.arange(300), parts):
        counts.add(one[part], other[part])
        if summed:
            counts = LiveCounts.restored(counts.saved(), most)
    counts.sum()
    for pair in zip(one.tolist(), other.tolist(), strict=True):
        wanted[min(pair), max(pair)] += 1
    ends = (counts.item_keys[counts.left].tolist(), counts.item_keys[counts.right].tolist())
    found = {
        (min(a, b), max(a, b)): count
        for a, b, count in zip(*ends, counts.count.tolist(), strict=True)
    }
    assert len(found) == len(counts.count)
    if len(wanted) <= most:
        assert found == dict(wanted)
    else:
        assert len(found) <= max(most, 12 + 12)  # an item keeps its users and one pair at least
        assert found.items() <= wanted.items() or parts > 1
        assert all(key in found for key in wanted if key[0] == key[1])


def test_vectors_are_those_of_batch_inference_on_the_counts_of_now(
    before: ExampleBatch, after: ExampleBatch
) -> None:
    items = world(before)
    trainer = Trainer(items, LIVE, seed=1)
    np.testing.assert_allclose(live_vectors(trainer), items.hgnn, atol=1e-6)
    pairs = strong_pairs(before)
    for part in (slice(0, 100), slice(100, 300)):
        rows = np.arange(300)[part]
        trainer.add(after.take(np.isin(np.arange(300), rows)))
        pairs += strong_pairs(after.take(np.isin(np.arange(300), rows)))
        found = live_vectors(trainer)
        assert cosines(found, batch_vectors(items, pairs)).min() >= AIM
        assert cosines(found, items.hgnn).min() < 0.999
    trainer.add(after)  # read a second time
    assert cosines(live_vectors(trainer), batch_vectors(items, pairs)).min() >= AIM


def test_events_that_the_bundle_knows_are_not_counted_again(
    before: ExampleBatch, after: ExampleBatch
) -> None:
    items = world(before)
    items.manifest["offsets"] = {after.topic: {"0": int(after.offset[200])}}
    trainer = Trainer(items, LIVE, seed=1)
    trainer.add(after)
    later = strong_pairs(after.take(np.arange(len(after)) >= 200))
    wanted = batch_vectors(items, strong_pairs(before) + later)
    assert cosines(live_vectors(trainer), wanted).min() >= AIM


def test_a_new_item_has_the_vector_of_its_first_edges(
    before: ExampleBatch, after: ExampleBatch
) -> None:
    items = world(before)
    trainer = Trainer(items, LIVE, seed=1)
    new = NewItems(
        item_keys=NEW, item_ids=["n1", "n2"], item_types=["podcast", "audiobook"],
        languages=[None, None], genres=[None, None], text=items.text[:2] * np.float16(0.7),
    )  # fmt: skip
    target = after.target.copy()
    target[:40] = NEW[0]
    after = replace(after, target=target)
    live_vectors(trainer)  # the graph is there before the items are
    trainer.add(after)
    pairs = strong_pairs(before) + strong_pairs(after)
    live_vectors(trainer)
    trainer.grow(new)
    found, wanted = live_vectors(trainer), batch_vectors(items, pairs, new)
    assert cosines(found, wanted).min() >= AIM
    cold = trainer._items.features.content[-2:, TEXT:].numpy()
    assert cosines(found[-2:], cold)[0] < 0.99, "it has edges"
    np.testing.assert_allclose(found[-1] * GAIN, cold[-1], atol=1e-5, err_msg="it has none")


def test_a_trainer_that_starts_again_reaches_the_same_vectors(
    before: ExampleBatch, after: ExampleBatch
) -> None:
    items = world(before)
    trainer = Trainer(items, LIVE, seed=1)
    trainer.add(after)
    trainer.train()
    wanted = live_vectors(trainer)
    saved = trainer.saved()
    arrays = {name: one for name, one in saved.arrays.items() if "graph" not in name}
    values = {name: one for name, one in saved.values.items() if name != "graph"}
    without = replace(saved, arrays=arrays, values=values)  # by a trainer that did not follow it
    for checkpoint, kept in ((saved, False), (without, True)):
        again = Trainer(items, LIVE, seed=1)
        for name, memory in again.memories.items():
            held = trainer.memories[name]
            memory.restore(0, [held.take(held.numbers())] if kept else [], held.numbered)
        again.restore(checkpoint)
        assert cosines(live_vectors(again), wanted).min() >= AIM


def test_training_and_bundles_do_not_read_live_vectors(
    before: ExampleBatch, after: ExampleBatch
) -> None:
    items, made = world(before), []
    for enabled in (True, False):
        shape = replace(LIVE, live_graph=LiveGraphSettings(enabled=enabled))
        trainer = Trainer(items, shape, seed=1, clock_ms=lambda: 5)
        trainer.add(after)
        trainer.train()
        bundle = trainer.publish()
        rows = trainer.item_rows(bundle)
        assert rows is not None
        made.append((bundle, rows[1]))
        trainer.train()
    (live, moved), (still, same) = made
    assert live.manifest == still.manifest
    np.testing.assert_array_equal(live.vectors, still.vectors)
    torch.testing.assert_close(live.features.content, still.features.content)
    assert np.abs(moved - same).max() > 0.01


def test_a_new_static_bundle_begins_with_its_own_counts(
    before: ExampleBatch, after: ExampleBatch
) -> None:
    items = world(before)
    trainer = Trainer(items, replace(LIVE, adoption=replace(LIVE.adoption, align=False)), seed=1)
    trainer.add(after)
    live_vectors(trainer)
    again = world(after)
    ends = {after.topic: {"0": int(after.offset[-1]) + 1}}  # its graph has all of them
    again.manifest |= {"name": "static-2", "offsets": ends}
    trainer.adopt(again)
    np.testing.assert_allclose(live_vectors(trainer), again.hgnn, atol=1e-6)


def test_a_bundle_without_counts_is_not_followed(
    before: ExampleBatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert Trainer(make_items(), LIVE, seed=1).graph is None
    assert "no item-item counts" in caplog.text
    assert Trainer(world(before), SMALL, seed=1).graph is None


def test_the_static_job_gives_a_bundle_counts_if_the_graph_is_followed(
    before: ExampleBatch,
) -> None:
    counts = world(before).counts  # type: ignore[attr-defined]
    few = replace(LIVE.ranking, renewed_counts=0)
    entries = counts[TOGETHER].nnz
    assert not carried(counts, replace(SMALL, ranking=few))
    for most, kept in ((entries, True), (entries // 2 - 1, False)):
        live = LiveGraphSettings(enabled=True, most_counts=most)
        assert bool(carried(counts, replace(SMALL, ranking=few, live_graph=live))) == kept
