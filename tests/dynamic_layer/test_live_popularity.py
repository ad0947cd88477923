"""The sum over partitions: exact in any order, and read without going through the window again."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer import DemandRecord, LivePopularity
from dynamic_layer.items.features import ItemRows
from dynamic_layer.popularity.demand import DemandReader
from dynamic_layer.popularity.event_counts import Popularity

HOUR_MS = 3_600_000
KEYS = np.arange(10, 26, dtype=np.uint64)
ROWS = ItemRows(KEYS)
HALVES = (0.5, 30.0)
HOURS = 40

Event = tuple[int, int, int, int]  # partition, hour, place of the key, market
seeds = st.integers(0, 1 << 30)


def drawn(seed: int) -> tuple[list[Event], list[int]]:
    """A log of up to 100 events, and where the states' commits cut it."""
    draw = np.random.default_rng(seed)
    log = draw.integers([0, 0, 0, 0], [2, HOURS, 16, 3], (draw.integers(100), 4))
    return [tuple(row) for row in log.tolist()], draw.integers(100, size=6).tolist()


def empty(window: int = 1_000) -> LivePopularity:
    return LivePopularity(bucket_ms=HOUR_MS, window_buckets=window)


def records_of(log: list[Event], cuts: list[int], rows: int) -> list[DemandRecord]:
    """What the partitions' states write: at each cut the buckets that have changed, whole."""
    found: list[DemandRecord] = []
    edges = sorted({0, len(log), *(cut for cut in cuts if cut < len(log))})
    for begin, end in pairwise(edges):
        for partition, hour in sorted({event[:2] for event in log[begin:end]}):
            counts = Counter(event[2:] for event in log[:end] if event[:2] == (partition, hour))
            pairs = sorted(counts)
            whole = DemandRecord(
                partition=partition, bucket=hour, bucket_ms=HOUR_MS,
                records=sum(event[0] == partition for event in log[:end]),
                keys=KEYS[[place for place, _ in pairs]],
                markets=np.array([market for _, market in pairs], np.int64),
                counts=np.array([counts[pair] for pair in pairs], np.int64),
            )  # fmt: skip
            found += [DemandRecord.unpack(part.pack()) for part in whole.split(rows)]
    return found


def counted(live: LivePopularity, market: int | None = None) -> dict[tuple[int, int], int]:
    found: Counter[tuple[int, int]] = Counter()
    columns = live.between(0, HOURS, market)
    for bucket, key, count in zip(*(column.tolist() for column in columns), strict=True):
        found[bucket, key] += count
    return dict(found)


def over_the_log(log: list[Event], market: int | None = None) -> dict[tuple[int, int], int]:
    chosen = [event for event in log if market in (None, event[3])]
    return dict(Counter((hour, int(KEYS[place])) for _, hour, place, _ in chosen))


@settings(deadline=None)
@given(seed=seeds, rows=st.integers(2, 40))
def test_the_sum_is_the_count_over_the_log_in_any_order_and_parts(seed: int, rows: int) -> None:
    log, cuts = drawn(seed)
    records = records_of(log, cuts, rows)
    again = records + records[: len(records) // 2]
    live = empty()
    for place in np.random.default_rng(seed).permutation(len(again)).tolist():
        live.put(again[place])
    assert counted(live) == over_the_log(log)
    assert counted(live, 1) == over_the_log(log, 1)
    assert live.events() == len(log)
    np.testing.assert_array_equal(
        live._by_market(), np.bincount([e[3] for e in log], minlength=len(live._by_market()))
    )


@settings(deadline=None, max_examples=25)
@given(seed=seeds, steps=st.integers(0, 4))
def test_a_reader_that_goes_on_reads_what_one_that_begins_reads(seed: int, steps: int) -> None:
    log, cuts = drawn(seed)
    live = empty()
    going_on = [DemandReader(live, ROWS, len(KEYS), HALVES, market) for market in (None, 1)]
    hour = 0
    for record in records_of(log, cuts, 8):
        live.put(record)
        hour += steps
        for reader in going_on:
            beginning = DemandReader(live, ROWS, len(KEYS), HALVES, reader._market)
            for mine, fresh in (
                (reader.at(hour * HOUR_MS), beginning.at(hour * HOUR_MS)),
                (reader.now(hour * HOUR_MS), beginning.now(hour * HOUR_MS)),
            ):
                if isinstance(mine, np.ndarray):
                    np.testing.assert_allclose(mine, fresh, atol=1e-4)
                    continue
                np.testing.assert_allclose(mine.values, fresh.values, atol=1e-4)
                np.testing.assert_array_equal(mine.age_days, fresh.age_days)
                np.testing.assert_array_equal(mine.silent_days, fresh.silent_days)


def test_live_and_counted_popularity_are_read_alike() -> None:
    log, _ = drawn(5)
    live, own = empty(), Popularity(bucket_hours=1, window_days=1_000 / 24)
    for record in records_of(log, [], 40):
        live.put(record)
    _, hour, place, market = (np.array(column) for column in zip(*log, strict=True))
    own.add(KEYS[place], hour * HOUR_MS + 5, market)
    at_ms = HOURS * HOUR_MS
    for country in (None, 1):
        readings = [
            counts.read(ROWS, len(KEYS), at_ms=at_ms, half_life_days=2.0, market=country)
            for counts in (live, own)
        ]
        np.testing.assert_allclose(*readings, rtol=1e-5)
    assert live.markets(2) == own.markets(2)


def test_a_reader_far_behind_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamic_layer.popularity.live._REMEMBERED", 3)
    live = empty()
    reader = DemandReader(live, ROWS, len(KEYS), HALVES)
    log, _ = drawn(2)
    for number, record in enumerate(records_of(log, list(range(0, len(log), 5)), 8)):
        live.put(record)
        if number % 5 == 0:
            mine = reader.at(HOURS * HOUR_MS).values
            fresh = DemandReader(live, ROWS, len(KEYS), HALVES).at(HOURS * HOUR_MS).values
            np.testing.assert_allclose(mine, fresh, atol=1e-4)
    assert live._late_rows <= 3


def test_memory_ends_with_the_window() -> None:
    live = empty(window=5)
    for hour in range(30):
        (record,) = records_of([(0, hour, place, 0) for place in range(16)], [], 40)
        live.put(record)
        assert live.rows() <= 5 * 16
        assert live.events() == live.rows()
    assert live.oldest() == 25
    (old,) = records_of([(0, 3, 0, 0)], [], 40)
    assert not live.put(old)
