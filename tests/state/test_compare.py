"""Two states are compared by scans; what is found is what their dumps differ in."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import CoInteractions, StateSettings, Window, item_key
from state.compare import differences
from tests.state.dumps import Dump, dump
from tests.state.streams_of_events import BUCKET, Columns, Event, settings_of_state, streams

SETTINGS = StateSettings(window=Window(bucket_ms=BUCKET, buckets=14), delta_room=1 << 12)


def feed(state, stream):
    state.apply_events("events", Columns(stream), len(stream))
    state.commit()


def keys(name):
    item_type, item_id = name.split("/")
    return item_key(item_type, item_id)


def in_dumps(left: Dump, right: Dump):
    """(part, key) of what two dumps differ in."""
    found = set()
    if left.watermark != right.watermark:
        found.add(("watermark", ()))
    for user in left.histories.keys() | right.histories.keys():
        mine = {e[0]: e for e in left.histories.get(user, ())}
        theirs = {e[0]: e for e in right.histories.get(user, ())}
        found |= {
            ("history", (user, item))
            for item in mine.keys() | theirs.keys()
            if mine.get(item) != theirs.get(item)
        }
    found |= {
        ("demand", place)
        for place in left.demand.keys() | right.demand.keys()
        if left.demand.get(place) != right.demand.get(place)
    }
    return found | {
        ("pair", pair)
        for pair in left.pairs.keys() | right.pairs.keys()
        if left.pairs.get(pair) != right.pairs.get(pair)
    }


def by_compare(left, right, rows):
    found = set()
    for difference in differences(left, right, rows=rows):
        match difference.part, difference.key:
            case "history", (user, item):
                found.add(("history", (user, keys(item))))
            case "pair", (bucket, a, b):
                found.add(("pair", (int(bucket), keys(a), keys(b))))
            case "demand", (bucket, item):
                found.add(("demand", (int(bucket), keys(item))))
            case "watermark", ():
                found.add(("watermark", ()))
    return found


@settings(max_examples=60, deadline=None)
@given(streams, streams, settings_of_state, st.sampled_from([1, 7, 2_000_000]))
def test_what_differs_is_what_differs_between_the_dumps(fresh_state, one, other, setting, rows):
    with fresh_state(setting) as left, fresh_state(setting) as right:
        feed(left, one)
        feed(right, other)
        assert by_compare(left, right, rows) == in_dumps(dump(left), dump(right))


@settings(max_examples=30, deadline=None)
@given(streams, settings_of_state, st.randoms(use_true_random=False))
def test_equal_states_of_other_batches_and_numbers_are_equal(fresh_state, stream, setting, chance):
    shuffled = list(stream)
    chance.shuffle(shuffled)
    merging = replace(setting, merge_runs=2)
    with fresh_state(setting) as left, fresh_state(merging) as right:
        feed(left, stream)
        for at in range(len(shuffled)):
            right.apply_events("events", Columns(shuffled[at:][:1], at), at + 1)
            right.commit()
        right.merge_runs()
        assert list(differences(left, right, rows=5)) == []


def test_records_and_positions_are_compared_and_shown(fresh_state):
    with fresh_state(SETTINGS) as left, fresh_state(SETTINGS) as right:
        for state, country in ((left, b"SE"), (right, b"NO")):
            state.apply_users("users", [(0, "ann", b'{"country":"%s"}' % country)], 1)
            state.apply_items("catalogue", [(0, b"podcast\0p1", b"{}")], 1)
        right.apply_items("catalogue", [(1, b"podcast\0p2", b"{}")], 2)
        feed(left, [Event("ann", "i1", "stream", 5 * BUCKET)])
        feed(right, [Event("ann", "i1", "stream", 5 * BUCKET), Event("ann", "i1", "follow", 3_500)])
        texts = [str(difference) for difference in differences(left, right)]
    at = "1970-01-01T00:00:05.000+00:00"
    entry = {"time": at, "strong_time": at}
    assert texts == [
        "partition 0, position catalogue: 1 and 2",
        "partition 0, position events: 1 and 2",
        f"partition 0, history ann podcast/i1: {entry | {'visits': [0]}} and "
        f"{entry | {'visits': [0, 2]}}",
        'partition 0, user ann: {"country":"SE"} and {"country":"NO"}',
        "partition 0, item podcast/p2: nothing and {}",
    ]


def test_pairs_whose_counts_come_to_zero_are_left_out_with_their_items():
    left, right = np.array([[1, 2, 3], [2, 1, 3]], np.uint64)
    counts = CoInteractions.from_pairs(left, right, np.array([5, -5, 2]))
    assert (counts.item_keys.tolist(), counts.count.tolist()) == ([3], [2])
    assert (counts.left.tolist(), counts.right.tolist()) == ([0], [0])
    with pytest.raises(ValueError, match="negative"):
        CoInteractions.from_pairs(left, right, np.array([5, -6, 2]))
