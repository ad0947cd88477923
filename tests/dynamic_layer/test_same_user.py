"""A user's own next items are no negatives of his earlier events in the same batch."""

from dataclasses import replace

import numpy as np
import torch

from dynamic_layer import Trainer
from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.examples.from_events import examples_of
from dynamic_layer.examples.replay import pad
from dynamic_layer.examples.same_user import later_events
from dynamic_layer.towers.two_tower import sampled_softmax
from tests.dynamic_layer.worlds import DAY_MS, SMALL, START_MS, Items, make_examples

EVENTS, USERS, ITEMS = 200, 12, 100


def events(keys: np.ndarray) -> tuple[np.ndarray, ExampleBatch]:
    """Events of a few users over a year on some items, as examples; and whose they are."""
    rng = np.random.default_rng(3)
    user = rng.integers(USERS, size=EVENTS)
    item = rng.integers(len(keys), size=EVENTS)
    at = START_MS + np.sort(rng.choice(365 * DAY_MS, EVENTS, replace=False))
    batch = examples_of(
        user=user, item_key=keys[item], timestamp=at, strong=np.ones(EVENTS, np.bool_)
    )
    return user, batch


def test_pairs_are_the_events_that_the_later_ones_history_holds() -> None:
    user, batch = events(np.arange(1, ITEMS + 1, dtype=np.uint64))
    earlier, later = later_events(pad(batch, 512, 0))
    found = set(zip(earlier.tolist(), later.tolist(), strict=True))
    target = batch.target
    expected = {
        (i, k)
        for i in range(EVENTS)
        for k in range(i + 1, EVENTS)
        if user[i] == user[k]
        # A history has the latest event on an item.
        and not any(
            user[j] == user[i] and target[j] == target[i] for j in range(i + 1, k)
        )
    }  # fmt: skip
    assert found == expected
    assert len(expected) > 500


def test_examples_without_histories_have_no_pairs() -> None:
    _, batch = events(np.arange(1, ITEMS + 1, dtype=np.uint64))
    bare = batch.cut(np.zeros(EVENTS, np.int64))
    assert len(later_events(pad(bare, 512, 0))[0]) == 0


def test_the_next_item_of_a_user_does_not_compete_with_his_target() -> None:
    users, items = torch.randn(3, 4), torch.randn(5, 4)
    place, weight = torch.tensor([0, 2, 0]), torch.tensor([1.0, 0.0, 0.0])
    # The first user goes on to the second one's target, and then to his own again.
    later = torch.tensor([0, 0]), torch.tensor([1, 2])
    masked = sampled_softmax(users, items, place, weight, temperature=1.0, later=later)
    without = items[[0, 1, 3, 4]]
    expected = sampled_softmax(
        users[:1], without, torch.tensor([0]), torch.ones(1), temperature=1.0
    )
    torch.testing.assert_close(masked, expected)


def test_the_trainer_masks_them(items: Items) -> None:
    def weights(batch: ExampleBatch, *, mask: bool) -> torch.Tensor:
        settings = replace(SMALL, loss=replace(SMALL.loss, mask_next=mask, repeat_share=1.0))
        trainer = Trainer(items, settings, seed=1)
        trainer.add(batch)
        trainer.train(max_steps=2)
        return torch.cat([w.flatten() for w in trainer.publish().model.state_dict().values()])

    _, batch = events(items.item_keys)
    assert not torch.equal(weights(batch, mask=True), weights(batch, mask=False))
    strangers = make_examples(items, 200)
    assert torch.equal(weights(strangers, mask=True), weights(strangers, mask=False))
