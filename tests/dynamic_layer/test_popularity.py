"""Counts of recent demand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.items.features import ItemRows
from dynamic_layer.popularity.event_counts import Popularity

HOUR_MS = 3_600_000
KEYS = np.array([11, 12, 13], np.uint64)
ROWS = ItemRows(KEYS)


def counts(popularity: Popularity, at_hours: float, market: int | None = None) -> list[float]:
    found = popularity.read(
        ROWS, 3, at_ms=int(at_hours * HOUR_MS), half_life_days=1.0, market=market
    )
    return [round(float(value), 4) for value in found]


def test_counts_halve_with_each_half_life() -> None:
    popularity = Popularity(bucket_hours=1, window_days=90)
    popularity.add(KEYS[[0, 0, 1]], np.array([0, 1, HOUR_MS]), np.zeros(3, np.int64))
    assert counts(popularity, 1) == [2.0, 0.0, 0.0]
    assert counts(popularity, 25) == [1.0, pytest.approx(0.5147), 0.0]


def test_a_reading_never_contains_what_came_later() -> None:
    popularity = Popularity(bucket_hours=1, window_days=90)
    popularity.add(KEYS, np.array([0, HOUR_MS, 2 * HOUR_MS]), np.zeros(3, np.int64))
    assert counts(popularity, 0.99) == [0.0, 0.0, 0.0]
    assert counts(popularity, 1)[1:] == [0.0, 0.0]


def test_markets_are_counted_apart_and_named_by_size() -> None:
    popularity = Popularity(bucket_hours=1, window_days=90)
    popularity.add(KEYS, np.zeros(3, np.int64), np.array([5, 5, 9]))
    assert counts(popularity, 1, market=5) == [1.0, 1.0, 0.0]
    assert counts(popularity, 1, market=9) == [0.0, 0.0, 1.0]
    assert popularity.markets(1) == [5]


def test_buckets_outside_the_window_are_dropped() -> None:
    popularity = Popularity(bucket_hours=24, window_days=2)
    popularity.add(KEYS, np.array([0, 24, 240]) * HOUR_MS, np.zeros(3, np.int64))
    assert counts(popularity, 264) == [0.0, 0.0, 1.0]


@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 80)), max_size=60),
    cut=st.integers(1, 9),
)
@settings(deadline=None)
def test_counts_do_not_depend_on_order_or_batching(events: list[tuple[int, int]], cut: int) -> None:
    def read(stream: list[tuple[int, int]], size: int) -> list[float]:
        popularity = Popularity(bucket_hours=1, window_days=90)
        for start in range(0, len(stream), size):
            rows, hours = zip(*stream[start : start + size], strict=True)
            times = np.array(hours) * HOUR_MS
            popularity.add(KEYS[list(rows)], times, np.zeros(len(rows), np.int64))
            counts(popularity, 1)
        return counts(popularity, 100)

    assert read(events, 60) == read(events[::-1], cut)
