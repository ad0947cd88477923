"""Towers keep what they learned when a static bundle brings another item type."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamic_layer import AdoptionSettings, Trainer
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import pad
from dynamic_layer.items.features import ItemRows
from dynamic_layer.settings import TowerSettings
from dynamic_layer.towers.growing import grow_towers
from dynamic_layer.towers.two_tower import TwoTower
from tests.dynamic_layer.worlds import SMALL, TOPIC, Items, make_examples, make_items

FOLLOWED = replace(SMALL, adoption=AdoptionSettings(follow_steps=3))


def with_films(items: Items, films: int = 12) -> Items:
    """The items, and some of a type whose number comes between the others'."""
    more = make_items(len(items.item_ids) + films, names=("podcast", "audiobook"))
    more.text[: len(items.text)], more.hgnn[: len(items.hgnn)] = items.text, items.hgnn
    more.item_types[len(items.item_ids) :] = ["film"] * films
    more.manifest = {"name": "static-2", "offsets": {TOPIC: {"0": 0}}}
    return more


@pytest.mark.parametrize("separate", [4, 0])
@pytest.mark.parametrize("short_cut", [True, False])
def test_users_and_items_of_the_common_types_keep_their_vectors(
    items: Items, separate: int, short_cut: bool
) -> None:
    settings = TowerSettings(layers=(32, 16), separate_types=separate, short_cut=short_cut)
    trainer = Trainer(items, replace(SMALL, towers=settings), seed=3)
    trainer.add(make_examples(items, 300))
    trainer.train(max_steps=3)
    bundle = trainer.publish()
    before, after = ["audiobook", "podcast"], ["audiobook", "film", "podcast"]
    fresh = TwoTower(bundle.features.content.shape[1], 3, settings).eval()
    assert grow_towers(bundle.model, fresh, before, after)
    asked = pad(make_examples(items, 50, seed=8), 10, 0)
    users = user_features(asked, ItemRows(items.item_keys), 10)
    of_two = bundle.features.type_number
    of_three = torch.tensor([0, 2])[of_two]
    with torch.no_grad():
        same = fresh.user(users, bundle.features.content, of_three)
        # The shares of the pools are over more pools now, but of the same ones as before.
        np.testing.assert_allclose(same, bundle.user_vectors(users), atol=1e-5)
        moved = replace(bundle.features, type_number=of_three)
        np.testing.assert_allclose(fresh.item(moved), bundle.vectors, atol=1e-5)


def test_towers_that_pool_otherwise_or_know_no_common_type_do_not_grow() -> None:
    settings = TowerSettings(layers=(16,), separate_types=2)
    two, three = TwoTower(8, 2, settings), TwoTower(8, 3, settings)
    assert not grow_towers(two, three, ["a", "b"], ["a", "b", "c"])
    assert not grow_towers(two, TwoTower(8, 2, settings), ["a", "b"], ["c", "d"])


def test_a_new_item_type_grows_the_towers(items: Items) -> None:
    trainer = Trainer(items, FOLLOWED, seed=0)
    trainer.add(make_examples(items, 3_000))
    trainer.train()
    before = trainer.publish()
    trainer.adopt(with_films(items))
    assert trainer.train().steps == 0, "nothing is to be learned again"
    after = trainer.publish()
    assert after.types == ["audiobook", "film", "podcast"]
    n = len(items.item_ids)
    cosine = (after.vectors[:n] * before.vectors).sum(axis=1)
    assert cosine.mean() > 0.9, "fresh towers would give other vectors"
    trainer.add(make_examples(items, 200, first_offset=3_000, seed=5))
    assert trainer.train().steps > 0


def test_moments_of_following_are_not_those_of_training(items: Items) -> None:
    trainer = Trainer(items, FOLLOWED, seed=0)
    trainer.add(make_examples(items, 300))
    trainer.train()
    assert trainer._learner._optimiser.state
    newer = make_items()
    newer.manifest = {"name": "static-2", "offsets": {TOPIC: {"0": 0}}}
    steps = trainer._learner.steps
    trainer.adopt(newer)
    assert trainer._learner.steps == steps + 3
    assert not trainer._learner._optimiser.state
