"""Towers learn to say of a new static bundle's vectors what they said of the old ones.

A rotation leaves a rest: an HGNN that was trained anew is never quite the old one turned. What the
towers made of the old vectors is known, so they can be brought to make the same of the new ones
before anybody is served with these. No event is learned from here, only what the old towers say
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
    before: TrainedItems,
    after: TrainedItems,
    replay: Replay,
    *,
    steps: int,
    batch_size: int,
    seed: int,
) -> None:
    """Train so many steps for the cosines of old and new vectors, of items and of users.

    before, after: the items as they were read until now, and as they are from now on; the towers
    must fit both. replay: whose histories are asked about. A step has batch_size users and twice
    as many of the items that both bundles have; without either there is nothing to do.
    """
    place = before.rows(after.static.item_keys)
    common = np.flatnonzero(place >= 0)
    if not len(common) or not len(replay):
        return
    rng, old = np.random.default_rng(seed), learner.published()
    numbers = replay.numbers()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(steps):
            examples = replay.take(rng.choice(numbers, batch_size))
            chosen = rng.choice(common, 2 * batch_size)
            with torch.no_grad():
                users = _users(old, examples, before)
                items = old.item(before.features.take(torch.from_numpy(place[chosen])))
            asked = after.features.take(torch.from_numpy(chosen))
            learner.descend(partial(_apart, after, examples, asked, users, items))


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
        user_features(examples, items.rows), features.content, features.type_number
    )
    return vectors
