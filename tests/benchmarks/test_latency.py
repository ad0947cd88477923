"""The latency benchmark: what it serves, and how it matches answers to events."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.latency import LatencyPlan, _Measurement
from benchmarks.trained_world import World, bundle_of
from dynamic_layer import DynamicBundle, Recommender, UserState, default_lists
from segue.settings import Settings


def test_its_bundle_is_served_by_its_head(tmp_path: Path) -> None:
    world = World.draw(items=300, users=60, history=12, seed=1)
    bundle = bundle_of(world, 1, head=True)
    bundle.save(tmp_path)
    recommender = Recommender(DynamicBundle.load(tmp_path))
    assert recommender.head is not None
    user = UserState(
        user_id="u", history_item=bundle.item_keys[:3],
        history_time=np.array([3, 2, 1]), history_strong=np.ones(3, bool),
    )  # fmt: skip
    answer = recommender.recommend([user], default_lists(bundle.types), 1_000)[0]
    assert [len(ranking) for ranking in answer.values()] == [10, 10, 10]
    assert not set(answer["mix"].item_ids) & set(bundle.item_ids[:3])


def measurement(folder: Path) -> _Measurement:
    nothing: Any = None
    world = World.draw(items=30, users=4, history=8, seed=1)
    return _Measurement(LatencyPlan(), Settings(data=str(folder)), nothing, world, [])


def answer(user, offset):
    source = {"topic": "events", "partition": 0, "offset": offset}
    return msgspec.json.encode({"user_id": user, "generation": 3, "source": source, "items": []})


def test_an_event_is_answered_by_the_first_answer_that_knows_it(tmp_path: Path) -> None:
    measured = measurement(tmp_path)
    measured._placed(["bob", "ann"], 4, 10.0)
    measured._placed(["ann"], 7, 10.5)
    measured._came([answer("ann", 4), answer("ann", 5)], 11.0)
    measured._came([answer("ann", 6)], 12.0)
    assert measured._delays == [1.0]
    assert dict(measured._open) == {"bob": [(4, 10.0)], "ann": [(7, 10.5)]}
    assert measured._answers == 3
    assert measured._answered["ann"] == (6, 12.0)


def test_an_answer_may_come_before_its_events_are_known_to_be_stored(tmp_path: Path) -> None:
    measured = measurement(tmp_path)
    measured._came([answer("ann", 9)], 11.0)
    measured._placed(["ann"], 8, 10.0)
    measured._placed(["ann"], 10, 10.75)
    assert measured._delays == [1.0]
    assert measured._open["ann"] == [(10, 10.75)]
