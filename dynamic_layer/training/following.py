"""Towers learn to say of a new static bundle's vectors what they said of the old ones.

A rotation leaves a rest: an HGNN that was trained again is never quite the old one turned. What the
towers made of the old vectors is known, so they can be brought to make the same of the new ones
before any user is served with these. No event is learned from here, only what the old towers say
of items and of users' histories, so examples from before the snapshot do no harm (knowledge
distillation: Hinton et al. 2015).
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.items.features import ItemFeatures
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.towers.two_tower import TwoTower
from dynamic_layer.training.learner import Learner


def follow(
    learner: Learner,
    old: TwoTower,
    before: TrainedItems,
    after: TrainedItems,
    replay: Replay,
    *,
    steps: int,
    batch_size: int,
    history_cap: int,
    seed: int,
) -> None:
    """Train so many steps for the cosines of old and new vectors, of items and of users.

    old: the towers that read the items before; learner: of those that are to follow them.
    before, after: the items as they were read until now, and as they are from now on.
    replay: whose histories are read, their newest `history_cap` entries. A step has batch_size
    users and twice as many of the items that both bundles have; without either there is nothing to
    do. Adam's moments are of one loss: following neither begins with those of training, nor leaves
    its own behind.
    """
    place = before.rows(after.static.item_keys)
    common = np.flatnonzero(place >= 0)
    if not steps or not len(common) or not len(replay):
        return
    rng, numbers = np.random.default_rng(seed), replay.numbers()
    learner.forget_moments()
    for _ in range(steps):
        examples = replay.take(rng.choice(numbers, batch_size), history_cap)
        chosen = rng.choice(common, 2 * batch_size)
        with torch.no_grad():
            users = _users(old, examples, before)
            items = old.item(before.features.take(torch.from_numpy(place[chosen])))
        asked = after.features.take(torch.from_numpy(chosen))
        learner.descend(partial(_apart, after, examples, asked, users, items))
    learner.forget_moments()


def _apart(
    after: TrainedItems,
    examples: PaddedExamples,
    asked: ItemFeatures,
    users: Tensor,
    items: Tensor,
    model: TwoTower,
) -> Tensor:
    """Return how far the model is from the vectors wanted of users and items: 0, at most 4."""
    there = (_users(model, examples, after) * users).sum(dim=1)
    here = (model.item(asked) * items).sum(dim=1)
    apart: Tensor = 2 - there.mean() - here.mean()
    return apart


def _users(model: TwoTower, examples: PaddedExamples, items: TrainedItems) -> Tensor:
    features = items.features
    vectors: Tensor = model.user(
        user_features(examples, items.rows, examples.history_item.shape[1]),
        features.content,
        features.type_number,
    )
    return vectors
