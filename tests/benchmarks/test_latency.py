"""The latency benchmark: what it serves, and how it matches answers to events."""

import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np

from benchmarks.latency import LatencyPlan, _Measurement, random_bundle
from dynamic_layer import DynamicBundle, Recommender, UserState, default_lists
from segue.settings import Settings


def test_its_bundle_is_served_by_its_head(tmp_path: Path) -> None:
    bundle, names = random_bundle(LatencyPlan(items=300, neighbours=8))
    bundle.save(tmp_path)
    recommender = Recommender(DynamicBundle.load(tmp_path))
    assert recommender._head is not None
    user = UserState(
        user_id="u", history_item=bundle.item_keys[:3],
        history_time=np.array([3, 2, 1]), history_strong=np.ones(3, bool),
    )  # fmt: skip
    answer = recommender.recommend([user], default_lists(bundle.types), 1_000)[0]
    assert [len(ranking) for ranking in answer.values()] == [10, 10, 10]
    assert not set(answer["mix"].item_ids) & {item_id for _, item_id in names[:3]}


async def test_an_event_is_answered_by_the_first_answer_that_knows_it(tmp_path: Path) -> None:
    measured = _Measurement(LatencyPlan(), Settings(data=str(tmp_path)), None, [])  # type: ignore[arg-type]
    sent = time.monotonic() - 1.0
    measured._open["ann"] = [(5, sent), (7, sent)]

    async def answers():
        for offset in (4, 5, 6):
            source = {"topic": "events", "partition": 0, "offset": offset}
            value = {"user_id": "ann", "generation": 3, "source": source, "items": []}
            yield SimpleNamespace(value=msgspec.json.encode(value))
        yield SimpleNamespace(value=None)

    await measured._read(answers())
    assert len(measured._delays) == 1
    assert 1.0 <= measured._delays[0] < 2.0
    assert measured._open["ann"] == [(7, sent)]
    assert measured._answers == 3
    assert measured._answered["ann"][0] == 6
