"""What workers' heads read is what training reads; what differs is found and named."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs

from agents import WorkerSettings
from agents.answers import Answers, _watched
from agents.training.skew import Skews
from agents.training.train_tally import TrainTally
from agents.working.request_queue import Asked
from agents.working.waiting import Touched
from dynamic_layer import (
    CorruptExamples,
    ExampleBatch,
    Recommender,
    ServedFeatures,
    Skew,
    SkewCheck,
    Trainer,
    UserState,
    hashed_share,
)
from dynamic_layer.examples.batch import pack_note
from streams import LogRecord
from tests.agents.worlds import TOPICS, bench
from tests.dynamic_layer.headed import HEADED, NOW_MS, headed, live_of

HOUR_MS = 3_600_000
SETTINGS = WorkerSettings(skew_share=1.0, whole_share=1.0, answer_every_ms=0)
KINDS = ("stream", "follow")


class Bent(Recommender):
    """A recommender that reads what a test makes of users and of the time."""

    bend: Callable[[UserState], UserState] = staticmethod(lambda user: user)
    ahead_ms = 0

    def recommend(self, users, lists, now_ms, *, fewer=1):
        bent = [self.bend(user) for user in users]
        return super().recommend(bent, lists, now_ms + self.ahead_ms, fewer=fewer)


def without_second(user: UserState) -> UserState:
    """A user whose history lacks its second entry."""
    kept = np.arange(len(user.history_item)) != 1
    columns = ("history_item", "history_time", "history_strong")
    return replace(user, **{name: getattr(user, name)[kept] for name in columns})


def ways_to_serve() -> dict[str, Recommender]:
    """As it should be, and with faults."""
    bundle, live = headed().bundle, live_of(headed().examples)
    found = {name: Bent(bundle, live) for name in ("right", "missing entry", "clock", "half-life")}
    found["missing entry"].bend = without_second
    found["clock"].ahead_ms = 2 * HOUR_MS
    maker = found["half-life"].head._maker
    halves = maker._settings.half_lives_days
    maker._settings = replace(maker._settings, half_lives_days=(*halves[:-1], 2 * halves[-1]))
    lost = replace(bundle.demand, values=bundle.demand.values / 2)
    found["lost counts"] = Bent(replace(bundle, demand=lost), live)
    return found


async def answered(folder: Path) -> dict[str, list[LogRecord]]:
    """The records of the examples topic, by the way in which some users were served."""
    rng, static, found = np.random.default_rng(2), headed().static, {}
    with bench(folder, settings=SETTINGS) as b:
        b.clock.ms = NOW_MS + 120_000  # the counts of the last whole bucket have come
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed)
        for way, served_by in ways_to_serve().items():
            b.worker.models.recommender = served_by
            before = dict.fromkeys(range(TOPICS.partitions), 0)
            before |= {n: b.log.end_offset(TOPICS.examples, n) for n in before}
            for row in rng.integers(len(static.item_ids), size=20 if way == "right" else 8):
                for one in (row, (row + 7) % len(static.item_ids))[: rng.integers(1, 3)]:
                    b.listen(
                        f"u{row % 2}", static.item_ids[one], kind=KINDS[int(one % 5 == 0)],
                        item_type=static.item_types[one],
                    )  # fmt: skip
                await b.drain()
                await b.worker.tick()
                b.clock.ms += 61_000
            found[way] = [r for n, at in before.items() for r in b.log.read(TOPICS.examples, n, at)]
    return found


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> dict[str, list[LogRecord]]:
    return asyncio.run(answered(tmp_path_factory.mktemp("skew")))


def compared(records: Sequence[LogRecord], *, remember: bool = True) -> list[Skew]:
    """The lists of the records, compared as a trainer does."""
    check = SkewCheck(history_cap=512, share=1.0)
    check.serve(headed().bundle)
    live, found = live_of(headed().examples), []
    for record in records:
        served = ServedFeatures.unpack(record.value)
        if served is not None:
            found.append(check.compare(served, record.timestamp, live))
        elif remember:
            check.remember(ExampleBatch.unpack(record.value))
    return found


def test_what_the_head_reads_is_what_training_reads(log):
    found = compared(log["right"])
    assert len(found) == 20
    assert {skew.outcome for skew in found} == {"compared"}
    names = set(headed().bundle.head.names) | {"score"}
    assert all(set(skew.differences) == names for skew in found)
    assert not any(skew.found for skew in found)
    worst = {name: max(skew.differences[name] for skew in found) for name in names}
    # Vectors of users are products of matrices, whose sums are rounded by the matrices' shapes.
    products = ("towers", "z:towers", "score")
    assert {name for name, value in worst.items() if value > 0} <= {*products}
    assert max(worst[name] for name in products) < 1e-4


@pytest.mark.parametrize(
    ("way", "features"),
    [
        ("missing entry", {"history", "ease@1d", "towers"}),
        ("clock", {"ease@0.0416667d", "away"}),
        ("half-life", {"ease@0.0416667d"}),
        ("lost counts", {"demand@1d", "demand@60d"}),
    ],
)
def test_skew_is_found_and_named(log, way, features):
    found = [skew for skew in compared(log[way]) if skew.outcome == "compared"]
    assert len(found) == 8
    named = [set(skew.found) for skew in found]
    assert features <= set().union(*named)
    assert sum(map(bool, named)) >= 6
    others = {"lost counts": "demand@", "half-life": "ease@"}.get(way, "")
    assert all(others in name for names in named for name in names)


def test_what_cannot_be_compared_says_why(log):
    assert {skew.outcome for skew in compared(log["right"], remember=False)} == {"no_example"}
    check = SkewCheck(history_cap=512, share=1.0)
    served = next(filter(None, (ServedFeatures.unpack(r.value) for r in log["right"])))
    live = live_of(headed().examples)
    assert check.compare(served, served.at_ms, live).outcome == "another_bundle"
    check.serve(headed().bundle)
    other = replace(served, created_at=served.created_at + 1)
    assert check.compare(other, served.at_ms, live).outcome == "another_bundle"


def test_a_trainer_shows_the_worst_feature(log, caplog):
    tally = TrainTally()
    skews = Skews(SkewCheck(history_cap=512, share=1.0), tally, lambda: 5)
    skews.serve(headed().bundle)
    for way in ("right", "half-life"):
        for record in log[way]:
            served = ServedFeatures.unpack(record.value)
            if served is None:
                skews.remember(ExampleBatch.unpack(record.value))
            else:
                skews.take(served, record.timestamp)
        skews.ask(live_of(headed().examples))
        shown = {
            name: tally.registry.get_sample_value("segue_feature_skew_ratio", {"feature": name})
            for name in ("ease@0.0416667d", "ease@1d", "history")
        }
        assert (shown["ease@0.0416667d"] > 1) == (way == "half-life")
        assert (shown["ease@1d"], shown["history"]) == (0, 0)
    assert caplog.text.count("training-serving skew: feature") == 1
    assert "ease@0.0416667d differs by" in caplog.text

    def lists(outcome):
        return tally.registry.get_sample_value("segue_skew_lists_total", {"outcome": outcome})

    assert lists("compared") == 28
    assert 6 <= lists("skewed") <= 8


def test_answers_are_watched_whose_example_holds_the_rest_of_the_history():
    state = SimpleNamespace(log_name=str)
    touched = Touched(user_id="u", topic="t", partition=0, offset=5, event_timestamp=9)
    user = UserState(
        user_id="u", history_item=np.arange(2, dtype=np.uint64), history_time=np.array([9, 3]),
        history_strong=np.ones(2, bool),
    )  # fmt: skip
    event = Asked(touched=touched)
    assert _watched(event, user, state).watch is not None
    late = replace(user, history_time=np.array([10, 9]))
    assert _watched(event, late, state).watch is None
    disliking = replace(user, disliked=np.ones(1, np.uint64))
    assert _watched(event, disliking, state).watch is None
    assert _watched(Asked(touched=touched, record=object()), user, state).watch is None
    seldom = Answers(replace(SETTINGS, skew_share=0.1), TOPICS, None, None, None, None, None)
    asked = [Asked(touched=structs.replace(touched, offset=n)) for n in range(200)]
    assert seldom._in_share(asked) == hashed_share(np.arange(200), 0.1).tolist()


def test_earlier_versions_read_the_record_as_no_examples(log):
    records = [record.value for record in log["right"]]
    served = [value for value in records if ServedFeatures.unpack(value) is not None]
    trainer = Trainer(headed().static, HEADED, seed=1)
    for value in served:
        assert len(value) < 40_000
        batch = ExampleBatch.unpack(value)
        assert len(batch) == 0
        assert trainer.add(batch).accepted == 0
    one = ServedFeatures.unpack(served[0])
    again = ServedFeatures.unpack(one.pack())
    assert all(np.array_equal(getattr(again, name), getattr(one, name)) for name in vars(one))


@pytest.mark.parametrize("note", ["", "{}", "nonsense", '{"columns": "eJw="}'])
def test_a_note_that_cannot_be_read_is_an_error_and_never_a_crash(note):
    if not note:
        assert ServedFeatures.unpack(pack_note("t", 0, note)) is None
        return
    with pytest.raises(CorruptExamples):
        ServedFeatures.unpack(pack_note("t", 0, note))


def test_answers_are_sampled_by_offset_and_shares_are_nested():
    offsets = np.arange(100_000)
    small, large = hashed_share(offsets, 0.001), hashed_share(offsets, 0.25)
    assert abs(int(small.sum()) - 100) <= 2
    assert not (small & ~large).any()
    assert not hashed_share(offsets, 0.0).any()
    assert hashed_share(offsets, 1.0).all()
