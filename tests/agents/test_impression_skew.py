"""What workers' heads read of impressions is what training reads; what differs is found."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynamic_layer import (
    ExampleBatch,
    Recommender,
    ServedFeatures,
    Skew,
    SkewCheck,
    UserState,
)
from dynamic_layer.head.impressions import is_of_impressions
from streams import LogRecord
from tests.agents.test_impressions import BOTH, TOPICS, OneWorker
from tests.agents.test_skew import Bent
from tests.dynamic_layer.headed import headed
from tests.dynamic_layer.test_impression_features import with_shown

DAY_MS = 86_400_000
ANSWERED = {"answer_every_ms": 0, "skew_share": 1.0, "whole_share": 1.0}
WAYS = ("right", "half lost", "all lost", "half-life")


def half_lost(user: UserState) -> UserState:
    """A user of whose impressions every second row is missing."""
    if user.shown is None:
        return user
    columns = {name: getattr(user.shown, name)[::2] for name in ("items", "begin", "count")}
    return replace(user, shown=replace(user.shown, **columns))


def served_by(way: str) -> Recommender:
    found = Bent(with_shown()[1])
    if way == "half lost":
        found.bend = half_lost
    elif way == "all lost":
        found.bend = lambda user: replace(user, shown=None)
    elif way == "half-life":
        maker = found.head._maker
        maker._features = replace(maker._features, shown_half_lives_days=(2.0, 30.0))
    return found


async def answered(folder: Path) -> dict[str, list[LogRecord]]:
    """The records of the examples topic, by the way in which some users were served."""
    one, static, rng = OneWorker(folder), headed().static, np.random.default_rng(2)
    worker = one.new(**ANSWERED)
    worker.models.static_generation = 1
    one.now = one.now // DAY_MS * DAY_MS + DAY_MS // 4
    found, names = {}, static.item_ids
    for way in WAYS:
        worker.models.recommender = served_by(way)
        before = one.log.end_offset(TOPICS.examples, 0)
        for _ in range(6):
            one.now += DAY_MS // 2
            for user in ("u0", "u1"):
                for kind in ("podcast", "audiobook"):
                    own = [n for n, of in zip(names, static.item_types, strict=True) if of == kind]
                    one.show(user, *rng.permutation(own)[:40].tolist(), item_type=kind)
                row = int(rng.integers(len(names)))
                one.listen(user, names[row], static.item_types[row])
            await one.read(BOTH, worker)
            await worker.tick()
        found[way] = one.log.read(TOPICS.examples, 0, before, 10_000)
    # The last answer of all comes after midnight.
    worker.models.recommender = served_by("right")
    before = one.log.end_offset(TOPICS.examples, 0)
    one.now = (one.now // DAY_MS + 1) * DAY_MS - 1_000
    one.listen("u0", names[0], static.item_types[0])
    await one.read(BOTH, worker)
    one.now += 121_000
    await worker.tick()
    found["midnight"] = one.log.read(TOPICS.examples, 0, before, 10_000)
    worker.close()
    one.close()
    return found


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> dict[str, list[LogRecord]]:
    return asyncio.run(answered(tmp_path_factory.mktemp("impressions")))


def compared(records: list[LogRecord]) -> list[Skew]:
    check, found = SkewCheck(history_cap=512, share=1.0), []
    check.serve(with_shown()[1])
    for record in records:
        served = ServedFeatures.unpack(record.value)
        if served is None:
            check.remember(ExampleBatch.unpack(record.value))
        else:
            found.append(check.compare(served, record.timestamp, with_shown()[0].popularity))
    assert {skew.outcome for skew in found} == {"compared"}
    return found


def test_impressions_that_the_head_read_are_those_that_training_reads(log):
    found = compared(log["right"])
    assert len(found) == 12
    for skew in found[2:]:  # at first no user had been shown anything the day before
        assert sum(map(is_of_impressions, skew.differences)) == 4
        assert not skew.found
    # To the bit.
    worst = [value for skew in found for name, value in skew.differences.items()
             if is_of_impressions(name)]  # fmt: skip
    assert max(worst) == 0


@pytest.mark.parametrize(
    ("way", "features"),
    [("half lost", {"shown@1d", "shown@30d"}), ("all lost", {"shown@1d", "shown@30d"}),
     ("half-life", {"shown@1d"})],
)  # fmt: skip
def test_skew_of_impressions_is_found_and_named(log, way, features):
    found = compared(log[way])
    named = [set(skew.found) for skew in found]
    assert sum(map(bool, named)) >= 10
    assert all(is_of_impressions(name) for names in named for name in names)
    assert features <= set().union(*named)


def test_impressions_of_a_day_that_ended_before_the_answer_are_not_compared(log):
    [skew] = compared(log["midnight"])
    assert "away" in skew.differences
    assert not any(map(is_of_impressions, skew.differences))
