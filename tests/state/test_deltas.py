"""The log of pair deltas: sorted and summed as the definition says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.deltas import cells_of, cleared, empty_deltas, grown
from state.sorting import sorted_from, sorted_with

#: Lesser item, greater item, bucket, taken back; numbers with all widths, few buckets.
ITEMS = 1 << 20
numbers = st.sampled_from([0, 1, 2, 255, 256, 2_047, 2_048, 65_536, ITEMS - 1])
logged = st.lists(
    st.tuples(numbers, numbers, st.integers(20_000, 20_120), st.booleans()), max_size=80
)


def log_of(rows):
    deltas = empty_deltas(1)
    for a, b, bucket, taken in rows:
        used = int(deltas[2][0])
        if used == len(deltas[0]):
            deltas = grown(deltas)
        deltas[0][used] = min(a, b) << 32 | max(a, b)
        deltas[1][used] = bucket << 1 | taken
        deltas[2][0] += 1
    return deltas


def defined(rows, first_live):
    totals = Counter()
    for a, b, bucket, taken in rows:
        if bucket >= first_live:
            for pair in {(a, b), (b, a)}:
                totals[*pair, bucket] += -1 if taken else 1
    return sorted((*cell, total) for cell, total in totals.items() if total)


def listed(cells):
    return list(zip(*(column.tolist() for column in cells), strict=True))


@settings(max_examples=300, deadline=None)
@given(logged, st.sampled_from([0, 20_000, 20_060, 20_121]))
def test_a_log_comes_to_its_pairs_in_both_directions(rows, first_live):
    assert listed(cells_of(log_of(rows), first_live, ITEMS)) == defined(rows, first_live)


def test_a_long_log_comes_to_its_pairs_in_both_directions():
    random = np.random.default_rng(5)
    item = np.minimum(random.zipf(1.3, (50_000, 2)), 3_000) - 1
    bucket, taken = random.integers(100, 190, 50_000), random.random(50_000) < 0.3
    rows = list(zip(*item.T.tolist(), bucket.tolist(), taken.tolist(), strict=True))
    assert listed(cells_of(log_of(rows), 120, 3_000)) == defined(rows, 120)


def test_items_and_buckets_that_fit_no_number_are_refused():
    log = log_of([(0, 1, 0, False), (0, 1, 1 << 20, False)])
    with pytest.raises(OverflowError, match="134000000 items"):
        cells_of(log, 0, 134_000_000)


@pytest.mark.parametrize(("used", "left"), [(0, 8), (1, 8), (15, 8), (16, 64), (64, 64)])
def test_a_log_that_is_cleared_shrinks_where_less_than_a_quarter_was_in_use(used, left):
    log = empty_deltas(64)
    log[2][0] = used
    pairs, places, count = cleared(log, 8)
    assert (len(pairs), len(places), count.tolist()) == (left, left, [0])
    assert len(cleared(empty_deltas(8), 8)[0]) == 8


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=200), st.integers(0, 40))
def test_a_sort_keeps_the_order_of_equal_numbers(keys, first):
    expected = sorted(keys, key=lambda key: key >> first)
    assert sorted_from(np.array(keys, np.uint64), first).tolist() == expected
    places = np.arange(len(keys), dtype=np.int32)
    found, moved = sorted_with(np.array(keys, np.uint64), places, first)
    assert found.tolist() == expected
    assert moved.tolist() == sorted(range(len(keys)), key=lambda place: keys[place] >> first)
