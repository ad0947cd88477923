"""Changed rows follow the graph: when they are due, what workers serve, and after a crash."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from agents import TrainerSettings
from agents.training.row_sender import RowSender
from agents.training.train_tally import TrainTally
from dynamic_layer import GraphRound, LiveGraphSettings
from streams import TopicSettings
from tests.agents.test_rows import bundle
from tests.agents.test_rows_served import DYNAMIC, Topics, World, served
from tests.dynamic_layer.live_worlds import counted_items
from tests.dynamic_layer.worlds import make_examples, make_items

LIVE = replace(DYNAMIC, live_graph=LiveGraphSettings(enabled=True))
WITHIN_S = 5.0


@pytest.fixture(scope="module")
def items():
    return counted_items(make_examples(make_items(), 600, seed=11))


def value(world: World, name: str) -> float | None:
    return world.train.tally.registry.get_sample_value(name)


async def test_workers_serve_vectors_of_the_graph_of_now(tmp_path, monkeypatch, items):
    world = await World(tmp_path, monkeypatch, items=items, dynamic=LIVE).begin()
    await world.learn(400)
    worker = await world.worker("a")
    await world.learn(400)
    await worker.rows_changed(world.topics.rows)
    _, vectors, _ = world.trainer.item_rows(worker.recommender.bundle)
    apart = np.linalg.norm(served(worker)[:, :-1] - vectors, axis=1) / LIVE.towers.temperature
    assert apart.max() <= 0.25 + 0.02
    world.trainer._intake.graph = None
    _, vectors, _ = world.trainer.item_rows(worker.recommender.bundle)
    apart = np.linalg.norm(served(worker)[:, :-1] - vectors, axis=1) / LIVE.towers.temperature
    assert apart.max() > 0.5, "without the graph they would be others"
    assert value(world, "segue_live_graph_changed_total") > 0
    assert value(world, "segue_live_graph_computed_total") > 0
    assert value(world, "segue_live_graph_waiting") == 0
    assert value(world, "segue_live_graph_lag_seconds") > 0


async def test_a_trainer_that_was_killed_serves_the_same_vectors(tmp_path, monkeypatch, items):
    world = await World(tmp_path, monkeypatch, items=items, dynamic=LIVE).begin()
    await world.learn(400)  # there is a checkpoint before the bundle
    await world.learn(400)
    before = (await world.worker("a")).recommender.bundle
    _, wanted, _ = world.trainer.item_rows(before)
    await world.crash()
    assert world.trainer.graph.last is None
    await world.train.examples_came(world.examples)  # the log is read again from its beginning
    await world.rest()
    _, vectors, _ = world.trainer.item_rows(before)
    np.testing.assert_allclose(vectors, wanted, atol=1e-3)


def sender(**graph) -> RowSender:
    settings = TrainerSettings(rows_every_steps=10, rows_within_s=WITHIN_S)
    return RowSender(settings, LiveGraphSettings(**graph), TopicSettings(), Topics(), TrainTally())


async def test_the_graph_makes_rows_due_without_a_step():
    rows, still = sender(enabled=True), sender()
    for one in (rows, still):
        one.counted(0)  # nothing is served yet
        assert not one.due(10**9, resting=True)
        one.serve(bundle(), 1_000)
    assert rows.due(1_000, resting=True), "the bundle's vectors are those of its snapshot"
    await rows.send([], 2_000)
    assert not rows.due(10**9, resting=True), "nothing came"
    for one in (rows, still):
        one.counted(3_000)
    assert rows.due(3_000, resting=True)
    assert not rows.due(3_000, resting=False)
    assert rows.due(2_000 + int(WITHIN_S * 1_000), resting=False)
    assert not still.due(10**9, resting=True)


async def test_what_the_graph_puts_off_waits_for_the_time_and_counts_as_lag():
    rows = sender(enabled=True)
    rows.serve(bundle(), 0)
    own = bundle()
    waiting = GraphRound(computed=9, changed=2, waiting=7, seconds=0.5)
    trainer = SimpleNamespace(
        graph=SimpleNamespace(last=waiting),
        item_rows=lambda _: (own.item_keys, own.vectors, own.bias),
    )
    for now, left in ((1_000, 7), (6_000, 3), (11_000, 0)):
        trainer.graph.last = replace(waiting, waiting=left)
        await rows.send(rows.changed(trainer, now), now)
        assert rows.due(now, resting=True) is False
        assert rows.due(now + int(WITHIN_S * 1_000), resting=False) == (left > 0)
    tally = rows._tally.registry
    assert tally.get_sample_value("segue_live_graph_lag_seconds") == 11
    assert tally.get_sample_value("segue_live_graph_seconds_total") == 1.5
