"""The sequence tower that workers serve: what it reads, what it learns, and where it is used."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from dynamic_layer import (
    DynamicBundle,
    ListSettings,
    NewItems,
    Recommender,
    SequenceSettings,
    Trainer,
    explain,
)
from dynamic_layer.bundles.bundle import settings_hash, settings_values
from dynamic_layer.bundles.sequence import FOLDER, new_tower
from dynamic_layer.examples.replay import Replay, pad
from dynamic_layer.items.features import ItemRows
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.lists.head_learning import asked_of, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.towers.sequence_tower import GAPS, ordered
from dynamic_layer.training.sequence_learner import HeldOutEvents, SequenceLearner
from state.items import item_key
from tests.dynamic_layer.headed import HEADED, NOW_MS, headed, live_of
from tests.dynamic_layer.worlds import DAY_MS, START_MS, make_examples, make_items, make_user, unit

ON = replace(
    HEADED,
    sequence=SequenceSettings(
        enabled=True, width=16, lags=4, examples=32, negatives=32, candidates=10, learning_rate=3e-3
    ),
)
MIX = ListSettings(name="mix")


@cache
def taught() -> tuple[Trainer, DynamicBundle]:
    """A trainer with a sequence tower, over the world of `headed`, and its bundle."""
    static, examples = headed().static, headed().examples
    trainer = Trainer(static, ON, seed=7, ranking=True, live=live_of(examples))
    trainer.add(examples)
    trainer.train()
    return trainer, trainer.publish()


def learner_of(trainer: Trainer) -> SequenceLearner:
    found = trainer._steps._sequence
    assert found is not None
    return found


def test_histories_are_read_oldest_first_with_gaps_and_weak_entries_apart() -> None:
    history = np.array([[5, -1, 7, 9], [-1, -1, -1, -1]])
    age_s = np.array([[10.0, 11.0, 13.0, 13.0], [0.0] * 4], np.float32)
    strong = np.array([[True, True, False, True], [True] * 4])
    read = ordered(history, age_s, strong)
    assert read.item.tolist() == [[9, 7, 5], [-1, -1, -1]]
    assert read.size.tolist() == [3, 0]
    # 0 s and 3 s after the entry before; the second one is weak.
    assert read.gap.tolist() == [[0, 1 + GAPS, 3], [0, 0, 0]]


def test_the_last_place_alone_is_what_the_whole_pass_gives() -> None:
    tower = new_tower(replace(ON.sequence, blocks=2), 12, 0).eval()
    torch.manual_seed(0)
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    vectors, gaps = torch.randn(3, 9, 16), torch.randint(2 * GAPS, (3, 9))
    size = torch.tensor([9, 1, 4])
    whole = tower(vectors, gaps)[torch.arange(3), size - 1]
    torch.testing.assert_close(tower.last(vectors, gaps, size), whole)


def test_it_learns_which_item_follows() -> None:
    """Users walk along a circle of items: the next one is the best candidate."""
    static = make_items(36, topics=6)
    static.text = unit(np.random.default_rng(1).normal(size=static.text.shape)).astype(np.float16)
    drawn = make_examples(static, 400)
    first = np.random.default_rng(2).integers(0, 36, 400)
    sizes = np.full(400, 4)
    row = (np.repeat(first, 4) + np.tile([3, 2, 1, 0], 400)) % 36
    walks = replace(
        drawn, target=static.item_keys[(first + 4) % 36], strong=np.ones(400, np.bool_),
        indptr=np.concatenate([[0], np.cumsum(sizes)]), history_item=static.item_keys[row],
        history_time=np.repeat(drawn.timestamp, 4) - np.tile([1, 2, 3, 4], 400) * DAY_MS,
        history_strong=np.ones(1_600, np.bool_),
    )  # fmt: skip
    items, memory = TrainedItems(static, use_hgnn=True), Replay(capacity=1, history_cap=1)
    held = HeldOutEvents(memory)
    learner, examples = SequenceLearner(ON, seed=3), pad(walks, 10, 0)
    rng = np.random.default_rng(0)
    losses = [
        learner.step(examples.take(rng.integers(0, 400, 64)), items, held, memory)
        for _ in range(150)
    ]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    served = learner.published(items, held, memory)
    asked = served.queries(
        np.array([[5, 4, 3]]), np.array([[1.0, 2.0, 3.0]]) * 86_400, np.ones((1, 3), bool)
    )
    scores = served.served @ asked[0]
    scores[[3, 4, 5]] = -np.inf
    assert scores.argmax() == 6


def test_events_held_out_teach_nothing() -> None:
    batch = make_examples(headed().static, 50)
    items, memory = (
        TrainedItems(headed().static, use_hgnn=True),
        Replay(capacity=60, history_cap=10),
    )
    memory.append(pad(batch, 10, 0))
    held = HeldOutEvents(memory)
    row, second = items.rows(batch.target), batch.timestamp / 1_000
    assert held.among(row, second, items.rows).all()
    assert held.among(row, second + 1, items.rows).all(), "ages are not exact to a second"
    assert not held.among(row, second + 100, items.rows).any()
    assert not held.among((row + 1) % 120, second, items.rows).any()
    assert not held.among(np.full(50, -1), second, items.rows).any()

    # A history whose entries are all held out, with a target that is the item of no event.
    learner, one = SequenceLearner(ON, seed=3), batch.take(np.array([1]))
    empty = Replay(capacity=1, history_cap=1)
    history = replace(
        one, target=np.array([item_key("podcast", "unknown")], np.uint64),
        timestamp=np.array([START_MS + 40 * DAY_MS]), indptr=np.array([0, 5]),
        history_item=batch.target[[9, 7, 5, 3, 1]], history_time=batch.timestamp[[9, 7, 5, 3, 1]],
        history_strong=np.ones(5, np.bool_),
    )  # fmt: skip
    assert np.isnan(learner.step(pad(history, 10, 0), items, held, empty))
    assert not learner._met.any()
    assert np.isfinite(learner.step(pad(history, 10, 0), items, HeldOutEvents(empty), empty))


def test_off_by_default_leaves_settings_and_bundles_as_they_were(tmp_path: Path) -> None:
    before = settings_values(HEADED)
    assert "sequence" not in before
    assert settings_hash(HEADED) != settings_hash(ON)
    bundle = headed().bundle
    assert bundle.sequence is None
    assert "sequence" not in bundle.manifest["settings"]
    bundle.save(tmp_path)
    assert not (tmp_path / FOLDER).exists()
    assert "sequence" not in json.loads((tmp_path / "manifest.json").read_text())["settings"]
    assert bundle.head is not None
    assert not any("sequence" in name for name in bundle.head.names)


def test_a_bundle_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    _, bundle = taught()
    bundle.save(tmp_path)
    again = DynamicBundle.load(tmp_path)
    assert bundle.sequence is not None
    assert again.sequence is not None
    assert again.sequence.settings == bundle.sequence.settings
    np.testing.assert_array_equal(again.sequence.served, bundle.sequence.served)
    np.testing.assert_array_equal(again.sequence.new_bias, bundle.sequence.new_bias)
    user = make_user(headed().static, [0, 6, 12], now_ms=NOW_MS)
    lists = [
        Recommender(one, live_of(headed().examples)).recommend([user], [MIX], NOW_MS)[0]["mix"]
        for one in (bundle, again)
    ]
    assert list(lists[0].rows) == list(lists[1].rows)
    assert lists[0].by_head
    np.testing.assert_array_equal(lists[0].scores, lists[1].scores)


def test_its_best_items_are_candidates_and_its_score_is_a_feature() -> None:
    _, bundle = taught()
    read = ranking_settings(bundle)
    assert read is not None
    assert bundle.sequence is not None
    # Without other sources the candidates are its own.
    alone = replace(read, towers=1, neighbours=1, demand=1, weak=0)
    maker = ListMaker(bundle, alone)
    later = make_examples(headed().static, 30, first_offset=9_000, seed=8)
    asked = asked_of(bundle, pad(later, 10, 0), ItemRows(bundle.item_keys))
    demand = bundle.demand
    assert demand is not None
    assert asked.sequence is not None
    found = maker.propose(asked, 1, demand)
    scores = asked.sequence @ bundle.sequence.served.T
    scores[:, bundle.features.type_number.numpy() != 1] = -np.inf
    for user in range(len(later)):
        scores[user, asked.met[user][asked.met[user] >= 0]] = -np.inf
        best = np.argsort(-scores[user])[:10]
        assert set(best[np.isfinite(scores[user, best])]) <= set(found.rows[user].tolist())
    column = maker.names.index("sequence")
    inside = found.rows >= 0
    wanted = np.take_along_axis(scores, np.maximum(found.rows, 0), axis=1)[inside]
    np.testing.assert_allclose(found.values.features()[:, :, column][inside], wanted, atol=1e-4)


def test_serving_reads_what_training_read() -> None:
    _, bundle = taught()
    read = ranking_settings(bundle)
    assert read is not None
    batch = make_examples(headed().static, 20, first_offset=9_000, seed=8)
    batch = replace(batch, timestamp=batch.timestamp + 65 * DAY_MS)
    maker, recommender, rows = (
        ListMaker(bundle, read),
        Recommender(bundle),
        ItemRows(bundle.item_keys),
    )
    assert recommender.head is not None
    served, column = recommender.head._maker, maker.names.index("sequence")
    differ = 0
    for row in range(len(batch)):
        now_ms, entries = int(batch.timestamp[row]), slice(*batch.indptr[row : row + 2])
        demand = recommender._demand.at(now_ms)
        example = asked_of(bundle, pad(batch.take(np.array([row])), 10, 0), rows)
        made = maker.propose(example, row % 2, demand)
        user = replace(
            make_user(headed().static, [0], now_ms=now_ms),
            history_item=batch.history_item[entries], history_time=batch.history_time[entries],
            history_strong=batch.history_strong[entries],
        )  # fmt: skip
        asked, _ = recommender.asked([user], now_ms)
        again = served.read(asked, made.rows, demand, served.neighbours(asked), mixed=False)
        features = made.values.features()
        np.testing.assert_array_equal(again.features()[:, :, column], features[:, :, column])
        differ += int(np.ptp(features[0][:, column]) > 0)
    assert differ > 10


def test_the_parts_of_a_score_have_the_sequence_tower_and_sum_to_it() -> None:
    served = Recommender(taught()[1], live_of(headed().examples))
    user = make_user(headed().static, [0, 6, 12], now_ms=NOW_MS)
    ranking = explain(served, user, MIX, end=10, now_ms=NOW_MS)
    assert ranking.by_head
    parts = [one.parts for one in ranking.why]
    for part, score in zip(parts, ranking.scores.tolist(), strict=True):
        assert sum(part.values()) == pytest.approx(score, abs=2e-4)
    assert any(abs(part["sequence"]) > 1e-4 for part in parts)


def new_items(count: int) -> NewItems:
    rng = np.random.default_rng(4)
    return NewItems(
        item_keys=np.array([item_key("podcast", f"new-{n}") for n in range(count)], np.uint64),
        item_ids=[f"new-{n}" for n in range(count)], item_types=["podcast"] * count,
        languages=[None] * count, genres=[None] * count,
        text=unit(rng.normal(size=(count, headed().static.text.shape[1]))).astype(np.float16),
    )  # fmt: skip


def test_a_new_item_has_the_vector_of_its_text_at_once() -> None:
    _, bundle = taught()
    assert bundle.sequence is not None
    served = Recommender(bundle, live_of(headed().examples))
    assert served.head is not None
    assert served.head.sequence is not None
    assert served.add_items(new_items(2)) == 2
    assert len(served.head.sequence) == 122
    assert len(bundle.sequence) == 120, "the bundle stays as it is"
    text = np.asarray(new_items(2).text, np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    wanted = text @ bundle.sequence.text_map.numpy().T
    np.testing.assert_allclose(served.head.sequence.served[120:, :-1], wanted, atol=1e-5)
    # It may be an entry of a history, and a candidate.
    user = make_user(headed().static, [0, 6, 12], now_ms=NOW_MS)
    met = np.concatenate([new_items(2).item_keys[:1], user.history_item])
    user = replace(
        user, history_item=met, history_time=NOW_MS - np.arange(1, 5) * DAY_MS,
        history_strong=np.ones(4, np.bool_),
    )  # fmt: skip
    ranking = served.recommend([user], [replace(MIX, k=200)], NOW_MS)[0]["mix"]
    assert 120 not in ranking.rows
    assert ranking.by_head


def test_what_was_learned_of_an_item_moves_with_its_key() -> None:
    """New items, then a static bundle with the items in another order and one of them gone."""
    trainer = Trainer(headed().static, ON, seed=7)
    trainer.add(headed().examples)
    trainer.train(max_steps=20)
    before = learner_of(trainer).published(trainer._items, trainer._steps._held, trainer._replay)
    trainer.grow(new_items(3))
    grown = learner_of(trainer).published(trainer._items, trainer._steps._held, trainer._replay)
    np.testing.assert_array_equal(grown.served[:120], before.served)
    assert not grown.served[120:, -1].any()

    static = headed().static
    order = np.random.default_rng(0).permutation(120)[:119]
    other = replace(
        static, item_keys=static.item_keys[order], text=static.text[order],
        hgnn=static.hgnn[order], topic=static.topic[order],
        item_ids=[static.item_ids[row] for row in order],
        item_types=[static.item_types[row] for row in order],
        languages=[static.languages[row] for row in order],
        genres=[static.genres[row] for row in order],
        titles=[static.titles[row] for row in order],
        manifest={"name": "static-2", "offsets": {}},
    )  # fmt: skip
    trainer.adopt(other)
    moved = learner_of(trainer).published(trainer._items, trainer._steps._held, trainer._replay)
    np.testing.assert_array_equal(moved.served, before.served[order])
    steps = learner_of(trainer).steps
    trainer.add(make_examples(static, 500, first_offset=5_000, seed=9))
    assert trainer.train(max_steps=3).steps == 3
    assert learner_of(trainer).steps == steps + 3


def test_a_checkpoint_between_two_steps_changes_no_weight() -> None:
    def fresh() -> Trainer:
        trainer = Trainer(headed().static, ON, seed=7)
        trainer.add(headed().examples)
        return trainer

    whole, halted = fresh(), fresh()
    whole.train(max_steps=24)
    halted.train(max_steps=11)
    saved, again = halted.saved(), fresh()
    again.restore(saved)
    again.train(max_steps=13)
    one, other = whole.saved().part("sequence"), again.saved().part("sequence")
    assert one.values == other.values
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)


def test_a_checkpoint_of_another_form_or_without_it_begins_again() -> None:
    wider = replace(ON, sequence=replace(ON.sequence, width=8))
    saved = taught()[0].saved()
    trainer = Trainer(headed().static, wider, seed=7)
    trainer.restore(saved)
    assert learner_of(trainer).published(
        trainer._items, trainer._steps._held, trainer._replay
    ).served.shape == (120, 9)
    without = Trainer(headed().static, HEADED, seed=7)
    without.restore(saved)
    again = Trainer(headed().static, ON, seed=7)
    again.restore(without.saved())
    assert learner_of(again).steps == 0
    assert len(again.publish().vectors) == 120


def test_no_head_is_published_that_reads_a_tower_which_was_turned_off() -> None:
    off = Trainer(headed().static, HEADED, seed=7, ranking=True)
    off.restore(taught()[0].saved())
    assert off._ranking is not None
    assert off._ranking._head is not None
    assert "sequence" in off._ranking._names
    assert off._ranking.publish(headed().bundle) is None
    assert off._ranking.publish(taught()[1]) is not None


def test_a_head_that_does_not_read_it_is_served_beside_it() -> None:
    """As after the setting was turned on: the head learns to read it with its next lists."""
    sequence = taught()[1].sequence
    both = replace(headed().bundle, sequence=sequence)
    read = ranking_settings(both)
    assert read is not None
    assert both.head is not None
    assert ListMaker(both, read).names == both.head.names
    assert "sequence" in ListMaker(both, read, learning=True).names
    assert Recommender(both, live_of(headed().examples)).has_head
