"""The trainer: what it accepts, what it learns, what it publishes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle

import numpy as np
import torch

from dynamic_layer import (
    AdoptionSettings,
    DynamicBundle,
    KindWeight,
    Trainer,
    kind_code,
)
from dynamic_layer.training.intake import example_weights
from tests.dynamic_layer.worlds import SMALL, TOPIC, Items, hit_rate, make_examples, make_items


def test_an_example_is_accepted_once(items: Items) -> None:
    trainer, batch = Trainer(items, SMALL, seed=0), make_examples(items, 200)
    first, second = trainer.add(batch), trainer.add(batch)
    assert first.accepted + first.held_out + first.unwanted == 200
    assert second.duplicate == 200
    assert second.accepted == second.held_out == 0


def test_examples_that_the_graph_may_contain_are_not_trained_on(items: Items) -> None:
    static = replace(items, manifest={"name": "s", "offsets": {TOPIC: {"0": 150}}})
    trainer = Trainer(static, SMALL, seed=0)
    intake = trainer.add(make_examples(items, 200))
    assert intake.before_snapshot == 150
    assert intake.accepted + intake.held_out + intake.unwanted == 50
    other = trainer.add(make_examples(items, 20, partition=1))
    assert other.before_snapshot == 0


def test_training_ends_when_each_example_had_its_epochs_and_goes_on_with_new_ones(
    items: Items,
) -> None:
    trainer = Trainer(items, SMALL, seed=0)
    assert trainer.train().steps == 0
    accepted = trainer.add(make_examples(items, 1_000)).accepted
    stats = trainer.train()
    assert abs(stats.examples - 3 * accepted) <= 2 * SMALL.batch_size
    assert stats.pending == 0
    assert trainer.train().steps == 0
    trainer.add(make_examples(items, 500, first_offset=1_000))
    assert trainer.train(max_steps=2).steps == 2


def test_equal_seeds_and_batches_give_equal_bundles(items: Items) -> None:
    def vectors(seed: int) -> torch.Tensor:
        trainer = Trainer(items, SMALL, seed=seed)
        for part in range(3):
            trainer.add(make_examples(items, 300, first_offset=300 * part, seed=part))
            trainer.train(max_steps=4)
        return torch.from_numpy(trainer.publish().vectors)

    torch.testing.assert_close(vectors(5), vectors(5), rtol=0, atol=0)
    assert not torch.equal(vectors(5), vectors(6))


DROPPING = replace(SMALL, towers=replace(SMALL.towers, dropout=0.3))


def weights_of(trainer: Trainer) -> torch.Tensor:
    return torch.cat([w.flatten() for w in trainer.publish().model.state_dict().values()])


def learned(items: Items, seed: int = 5, slices: tuple[int, ...] = (1_000,)) -> torch.Tensor:
    """Weights after 20 steps in calls of so many."""
    trainer = Trainer(items, DROPPING, seed=seed)
    trainer.add(make_examples(items, 900))
    left, turns = 20, cycle(slices)
    while left and (steps := trainer.train(max_steps=min(left, next(turns))).steps):
        left -= steps
    return weights_of(trainer)


def test_it_learns_the_same_however_training_is_cut_into_slices(items: Items) -> None:
    """A slice ends by the clock: on a busy machine after fewer steps."""
    assert torch.equal(learned(items), learned(items, slices=(1, 2, 5)))


def test_trainers_in_two_threads_do_not_disturb_each_other(items: Items) -> None:
    """The demo trains with and without the HGNN at the same time."""
    alone = [learned(items, seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda seed: learned(items, seed, (1,)), (1, 2)))
    assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))


def test_the_order_in_which_partitions_are_read_first_teaches_nothing(items: Items) -> None:
    batches = [
        make_examples(items, 300, first_offset=300 * part, partition=n, seed=2 * part + n)
        for n in (0, 1) for part in (0, 1)
    ]  # fmt: skip

    def read(order: tuple[int, ...]) -> Trainer:
        trainer = Trainer(items, SMALL, seed=3)
        for number in order:
            trainer.add(batches[number])
        trainer.train(max_steps=8)
        return trainer

    one, other = read((0, 1, 2, 3)), read((2, 0, 3, 1))
    assert torch.equal(weights_of(one), weights_of(other))
    assert one.holdout().offset.tolist() == other.holdout().offset.tolist()


def test_training_leaves_published_bundles_and_the_global_generator_alone(items: Items) -> None:
    trainer = Trainer(items, SMALL, seed=0)
    trainer.add(make_examples(items, 500))
    trainer.train(max_steps=3)
    bundle = trainer.publish()
    before = {name: value.clone() for name, value in bundle.model.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    trainer.train(max_steps=3)
    assert torch.equal(torch.rand(1), expected)
    for name, value in bundle.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert trainer.publish().generation == bundle.generation + 1


def test_it_learns_taste_and_learns_more_of_it_with_the_hgnn(
    items: Items, trainer: Trainer, bundle: DynamicBundle
) -> None:
    blind = Trainer(items, replace(SMALL, use_hgnn=False), seed=7)
    blind.add(make_examples(items, 6_000))
    blind.train()
    held_out = trainer.holdout()
    random = 10 / 60
    with_hgnn, without = hit_rate(bundle, held_out), hit_rate(blind.publish(), held_out)
    assert with_hgnn > 3 * random
    assert with_hgnn > without > random


def test_held_out_examples_are_never_trained_on(trainer: Trainer) -> None:
    held_out = set(trainer.holdout().offset.tolist())
    memory = trainer._replay
    assert held_out
    assert not held_out & set(memory.take(memory.numbers()).offset.tolist())


def test_adopting_a_static_bundle_keeps_the_weights_and_the_examples_after_its_snapshot(
    items: Items,
) -> None:
    trainer = Trainer(items, SMALL, seed=0)
    trainer.add(make_examples(items, 3_000))
    trainer.train()
    held_out = trainer.holdout()
    before = hit_rate(trainer.publish(), held_out)
    grown = make_items(132)
    grown.manifest = {"name": "static-2", "offsets": {TOPIC: {"0": 2_000}}}
    grown.hgnn[: len(items.hgnn)] = items.hgnn
    grown.text[: len(items.text)] = items.text
    trainer.adopt(grown)
    assert trainer.holdout().offset.min() >= 2_000
    memory = trainer._replay
    assert 800 < len(memory) == memory.written <= 1_000
    assert memory.take(memory.numbers()).offset.min() >= 2_000
    assert trainer.train().steps == 0, "the towers have learned all of these"
    bundle = trainer.publish()
    assert bundle.manifest["static"] == "static-2"
    assert len(bundle.item_keys) == 132
    assert hit_rate(bundle, held_out) > 0.8 * before


def test_examples_after_the_snapshot_are_learned_again_where_that_is_wanted(items: Items) -> None:
    again = replace(SMALL, adoption=AdoptionSettings(follow_steps=0, relearn=True))
    trainer = Trainer(items, again, seed=0)
    trainer.add(make_examples(items, 3_000))
    trainer.train()
    newer = make_items()
    newer.manifest = {"name": "static-2", "offsets": {TOPIC: {"0": 2_000}}}
    trainer.adopt(newer)
    assert 2_000 < trainer.train().examples < 3_300


def test_what_was_not_learned_before_an_adoption_is_learned_after_it(items: Items) -> None:
    trainer = Trainer(items, SMALL, seed=0)
    trainer.add(make_examples(items, 2_000))
    trainer.train()
    trainer.add(make_examples(items, 400, first_offset=2_000, seed=5))
    pending = trainer.train(max_steps=1).pending
    newer = make_items()
    newer.manifest = {"name": "static-2", "offsets": {TOPIC: {"0": 1_500}}}
    trainer.adopt(newer)
    epochs = SMALL.replay.epochs
    assert 0.5 * pending * epochs < trainer.train().examples < 1.5 * pending * epochs + 400


def test_adopting_another_set_of_types_starts_the_towers_anew(items: Items) -> None:
    trainer = Trainer(items, SMALL, seed=0)
    trainer.add(make_examples(items, 300))
    trainer.train()
    other = make_items()
    other.item_types = ["track"] * len(other.item_ids)
    trainer.adopt(other)
    trainer.train(max_steps=1)
    assert trainer.publish().types == ["track"]


def test_examples_of_unknown_items_do_no_harm(items: Items) -> None:
    trainer, batch = Trainer(items, SMALL, seed=0), make_examples(items, 400)
    strange = replace(
        batch, target=batch.target + np.uint64(1), history_item=batch.history_item + np.uint64(1)
    )
    trainer.add(strange)
    trainer.train()
    assert np.isfinite(trainer.publish().vectors).all()


def test_memory_is_bounded_by_the_settings(items: Items) -> None:
    settings = replace(SMALL, replay=replace(SMALL.replay, capacity=500, holdout_size=50))
    trainer = Trainer(items, settings, seed=0)
    for part in range(5):
        trainer.add(make_examples(items, 400, first_offset=400 * part, seed=part))
    assert trainer.train(max_steps=1).pending <= 500
    assert len(trainer.holdout()) <= 50


def test_kinds_have_the_weights_of_the_settings_and_negative_ones_are_left_out(
    items: Items,
) -> None:
    """Examples carry their kind: other weights count for those that are at hand too."""
    batch = make_examples(items, 300)
    names = ["buy", "look", "skip"]
    kind = np.array([kind_code(names[n % 3]) for n in range(300)], np.uint64)
    batch = replace(batch, kind=kind, strong=np.ones(300, bool))
    weights = tuple(
        KindWeight(kind=k, weight=w) for k, w in zip(names, (3.0, 0.5, 0.0), strict=True)
    )
    own = replace(SMALL, loss=replace(SMALL.loss, kind_weights=weights))
    trainer = Trainer(items, own, seed=1)
    intake = trainer.add(batch)
    assert intake.accepted + intake.held_out + intake.unwanted == 300
    memory = trainer.memories["replay"]
    held = memory.take(memory.numbers())
    assert set(held.kind.tolist()) == {kind_code("buy"), kind_code("look")}
    expected = np.where(held.kind == kind_code("buy"), 3.0, 0.5)
    assert example_weights(held, own.loss).tolist() == expected.tolist()
    assert example_weights(held, SMALL.loss).tolist() == [1.0] * len(held)
