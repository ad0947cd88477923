"""A trainer learns items that came after its static bundle, and keeps them over adoptions."""

from dataclasses import replace

import numpy as np
import pytest

from dynamic_layer import DynamicBundle, ExampleBatch, NewItems, Recommender, Trainer
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import pad
from dynamic_layer.items.features import ItemRows
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.measure.served_ranks import ServedRanks
from state.items import item_key
from tests.dynamic_layer.headed import HEADED, live_of, same_topic
from tests.dynamic_layer.worlds import SMALL, START_MS, Items, make_examples, make_items

SMALLER = replace(HEADED, replay=replace(SMALL.replay, epochs=1.0))


@pytest.fixture(scope="module")
def static() -> Items:
    items = make_items(60)
    items.weights = {"ease": same_topic(items)}  # type: ignore[attr-defined]
    return items


def launch(static: Items, name: str = "launch", row: int = 0, kind: str = "podcast") -> NewItems:
    """A new item with the text of a known one."""
    return NewItems(
        item_keys=np.array([item_key(kind, name)], np.uint64), item_ids=[name],
        item_types=[kind], languages=["en"], genres=[["drama"]], text=static.text[row : row + 1],
        titles=["Launch"],
    )  # fmt: skip


def hits(static: Items, key: int, n: int, *, first_offset: int = 0) -> ExampleBatch:
    """Examples of which the last half are of one item."""
    batch = make_examples(static, n, first_offset=first_offset, seed=3)
    target = batch.target.copy()
    target[n // 2 :] = key
    return replace(batch, target=target, timestamp=START_MS + np.arange(n, dtype=np.int64))


def test_examples_of_an_item_that_came_later_train_and_count(static: Items) -> None:
    new = launch(static)
    batch = hits(static, int(new.item_keys[0]), 600)
    trainer = Trainer(static, SMALLER, seed=1, ranking=True, live=live_of(batch))
    assert trainer.grow(new) == 1
    trainer.add(batch)
    trainer.train()
    bundle = trainer.publish()
    row = np.flatnonzero(bundle.item_keys == new.item_keys[0])
    assert row.tolist() == [60]
    assert (bundle.item_ids[60], bundle.titles[60]) == ("launch", "Launch")
    assert bundle.bias[60] == bundle.bias.max()
    assert bundle.popularity[0][60] == bundle.popularity[0].max()
    assert bundle.static_items == 60
    # It has learned: the vector is no longer that of an item that nobody has met.
    before = Trainer(static, SMALLER, seed=1)
    before.grow(new)
    users = make_examples(static, 100, seed=9)
    assert _rank(bundle, users) < _rank(before.publish(), users)


def _rank(bundle: DynamicBundle, users: ExampleBatch) -> float:
    """Mean place of the new item by the towers alone."""
    padded = pad(users, 10, 0)
    vectors = bundle.user_vectors(user_features(padded, ItemRows(bundle.item_keys), 10)).numpy()
    scores = vectors @ bundle.vectors.T
    return float((scores > scores[:, 60:61]).sum(axis=1).mean())


def test_lists_and_their_measure_have_the_item(static: Items) -> None:
    """Without it, its events produced no lists and counted as misses."""
    new = launch(static)
    batch = hits(static, int(new.item_keys[0]), 600)
    trainer = Trainer(static, SMALLER, seed=1, ranking=True, live=live_of(batch))
    trainer.grow(new)
    trainer.add(batch)
    trainer.train()
    bundle = trainer.publish()
    asked = pad(batch.take(np.arange(500, 560)), 512, 0)
    ranks = ServedRanks(bundle).ask(asked, live_of(batch))
    assert (ranks.type_number >= 0).all()
    assert (ranks.popularity < 10).all()


def test_new_items_are_embedded_as_workers_embed_them(static: Items) -> None:
    trainer = Trainer(static, SMALLER, seed=1)
    trainer.add(make_examples(static, 200))
    trainer.train()
    recommender = Recommender(trainer.publish())
    recommender.add_items(launch(static))
    trainer.grow(launch(static))
    grown = trainer.publish()
    added = recommender.served_vectors(np.array([60]))[0, :-1]
    np.testing.assert_allclose(added, grown.vectors[60], atol=1e-6)
    assert grown.weights["ease"].shape == (61, 61)


def test_items_that_are_known_or_of_another_type_are_no_news(static: Items) -> None:
    trainer = Trainer(static, SMALLER, seed=1)
    both = launch(static)
    assert trainer.grow(both) == 1
    assert trainer.grow(both) == 0
    assert trainer.grow(launch(static, "film", kind="film")) == 0
    key = both.item_keys
    assert trainer.knows(key).all()
    assert not trainer.lasting(key).any()
    assert trainer.lasting(static.item_keys).all()


def test_a_new_static_bundle_is_aligned_by_items_with_edges_alone(static: Items) -> None:
    known = TrainedItems(static, use_hgnn=True)
    for n in range(5):
        known = known.grown(launch(static, f"n{n}", n))
    later = replace(static, hgnn=static.hgnn[:, ::-1].copy(), manifest={"name": "static-2"})
    alone = TrainedItems(static, use_hgnn=True).next(later, align=True)
    np.testing.assert_array_equal(known.next(later, align=True).rotation, alone.rotation)


def test_a_checkpoint_of_a_grown_trainer_is_read_without_the_new_items(static: Items) -> None:
    """They come again with the catalogue."""
    trainer = Trainer(static, SMALLER, seed=1)
    trainer.grow(launch(static))
    trainer.add(hits(static, int(launch(static).item_keys[0]), 200))
    trainer.train()
    again = Trainer(static, SMALLER, seed=1)
    again.restore(trainer.saved())
    assert again.grow(launch(static)) == 1
    np.testing.assert_allclose(again.publish().vectors, trainer.publish().vectors, atol=1e-6)
