"""Topics that keep their producers' times: one wrong record must not move the window."""

from collections.abc import Sequence

import numpy as np
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from agents.working.ahead import refuse_ahead
from state import Window
from streams import Event, EventRules, Reason, decode_events, encode
from streams.log_record import CREATE_TIME
from tests.agents.worlds import NOW, TOPICS, bench

DAY = 86_400_000
YEARS = 3 * 365 * DAY
RULES = EventRules()
LOG_APPEND = 1


def record(offset: int, timestamp: int, *, of_type: int = CREATE_TIME, logged: int | None = None):
    event = Event(
        user_id="ann", item_id=f"i{offset}", item_type="podcast", kind="stream", timestamp=timestamp
    )
    return ConsumerRecord(
        TOPICS.events, 1, offset, timestamp if logged is None else logged, of_type, b"ann",
        encode(event), None, 3, 1, (),
    )  # fmt: skip


def judged(records: Sequence[ConsumerRecord], watermark: int, now: int = NOW, batch: int = 1000):
    """Offsets that are refused, the records being cut into batches."""
    window, refused = Window(), []
    for begin in range(0, len(records), batch):
        part = records[begin : begin + batch]
        events, letters = decode_events(part, RULES)
        assert letters == []
        events, letters = refuse_ahead(
            events, part, watermark=watermark, window=window, rules=RULES, now_ms=now
        )
        assert {letter.reason for letter in letters} <= {Reason.FUTURE}
        refused += [letter.source.offset for letter in letters]
        watermark = max(watermark, *(events.timestamp // DAY).tolist(), -1)
    return refused


async def test_a_record_three_years_ahead_empties_no_history(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        times = [NOW - 10 * DAY, NOW - 5 * DAY, NOW + YEARS, *(NOW + n for n in range(25))]
        await b.worker.handle([record(n, time) for n, time in enumerate(times)])
        state = b.worker.partitions[1]
        assert len(state.history("ann").time) == 27
        assert state.watermark == NOW // DAY
        assert state.counts == {"applied": 27, "refused": 1}
        [letter] = b.letters()
        assert (letter.reason, letter.source.offset) == (Reason.FUTURE, 2)
        assert "CreateTime" in letter.detail


def test_where_the_broker_sets_the_time_the_decoder_has_judged_it():
    ahead = record(0, NOW + 5 * DAY, of_type=LOG_APPEND)
    assert judged([ahead], NOW // DAY) == []
    assert judged([record(0, NOW + 5 * DAY)], NOW // DAY) == [0]


def test_a_record_without_a_log_time_is_judged_by_our_clock():
    late = record(1, NOW + YEARS, of_type=LOG_APPEND, logged=-1)
    assert judged([record(0, NOW, logged=-1), late], NOW // DAY) == [1]


def test_the_first_record_of_a_state_is_held_against_our_clock():
    assert judged([record(0, NOW + YEARS), record(1, NOW)], -1) == [0]


def test_many_wrong_records_cannot_climb():
    climbing = [record(n, NOW + (n + 1) * DAY) for n in range(30)]
    assert judged(climbing, NOW // DAY) == list(range(1, 30))


def test_what_our_clock_has_passed_is_accepted_however_long_nothing_came():
    assert judged([record(0, NOW), record(1, NOW - 1)], NOW // DAY - 80) == []
    # A history that is read again much later: the clock judges nothing that it has passed.
    assert judged([record(0, NOW + YEARS)], NOW // DAY, now=NOW + 2 * YEARS) == []


@pytest.mark.parametrize("delay", [0, 3_600_000, 20 * DAY])
def test_a_replay_decides_alike_until_its_own_clock_has_passed_the_time(delay):
    times = [NOW, NOW + 1, NOW + YEARS, NOW + DAY, NOW + 40 * DAY, NOW + 2]
    records = [record(n, time) for n, time in enumerate(times)]
    assert judged(records, NOW // DAY, now=NOW + delay) == judged(records, NOW // DAY)


@given(
    days=st.lists(st.integers(-100, 2_000), min_size=1, max_size=40),
    types=st.lists(st.sampled_from([CREATE_TIME, LOG_APPEND]), min_size=40, max_size=40),
    batch=st.integers(1, 40),
    watermark=st.sampled_from([-1, NOW // DAY - 90, NOW // DAY]),
)
def test_the_decision_does_not_depend_on_the_batches(days, types, batch, watermark):
    records = [
        record(n, NOW + day * DAY, of_type=of_type)
        for n, (day, of_type) in enumerate(zip(days, types, strict=False))
    ]
    whole = judged(records, watermark)
    assert judged(records, watermark, batch=batch) == whole
    kept = [r.timestamp // DAY for r in records if r.offset not in whole]
    doubtful = [
        r.timestamp // DAY
        for r in records
        if r.offset not in whole and r.timestamp_type == CREATE_TIME
    ]
    assert max(doubtful, default=0) <= NOW // DAY + 1
    assert np.isin(whole, [r.offset for r in records if r.timestamp_type == CREATE_TIME]).all()
    assert len(kept) + len(whole) == len(records)
