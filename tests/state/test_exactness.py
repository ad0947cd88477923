"""Streaming state equals its definition, whatever the order, the cuts and the duplicates."""

import random
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from state import CoInteractions, StateSettings, Window
from state.co_interactions import read_co_interactions
from state.kernel import _bucket
from tests.state.dumps import dump
from tests.state.streams_of_events import (
    BUCKET,
    Columns,
    Event,
    cuts,
    defined_state,
    feed,
    settings_of_state,
    streams,
    tried,
)


@pytest.mark.parametrize("bucket_ms", [1, 3, 86_400_000])
def test_buckets_are_exact_whatever_the_time(bucket_ms):
    """Also of times that are no exact floating-point numbers."""
    times = [0, bucket_ms - 1, bucket_ms, 1_800_000_000_000, 2**53 - 1, 2**53, 2**60 + 100]
    found = [int(_bucket(np.int64(time), bucket_ms, 1 / bucket_ms)) for time in times]
    assert found == [time // bucket_ms for time in times]


@tried()
@given(streams, settings_of_state, cuts)
def test_state_equals_its_definition(fresh_state, stream, setting, at):
    with fresh_state(setting) as state:
        feed(state, stream, at)
        assert dump(state).differences(defined_state(stream, setting)) == []


@tried()
@given(streams, settings_of_state, cuts, st.randoms(use_true_random=False))
def test_order_and_duplicates_change_nothing(fresh_state, stream, setting, at, chance):
    repeated = stream + chance.choices(stream, k=len(stream) // 2) if stream else []
    chance.shuffle(repeated)
    with fresh_state(setting) as state, fresh_state(setting) as other:
        feed(state, stream, at)
        feed(other, repeated, at)
        # Live popularity alone counts what the log has twice.
        once, twice = (replace(dump(s), demand={}) for s in (state, other))
        assert once.differences(twice) == []


@tried()
@given(streams, settings_of_state, cuts)
def test_counts_equal_the_matrix_product(fresh_state, stream, setting, at):
    with fresh_state(setting) as state:
        feed(state, stream, at)
        state.commit()
        counts = state.co_interactions()
        rows, columns = [], []
        for row, user in enumerate(sorted({e.user for e in stream})):
            history = state.history(user)
            keys = history.item_keys[history.strong]
            rows += [row] * len(keys)
            columns += keys.tolist()
    keys, numbers = np.unique(np.array(columns, np.uint64), return_inverse=True)
    H = sp.csr_array((np.ones(len(rows), int), (rows, numbers)), shape=(3, len(keys)))
    oracle = sp.triu(H.T @ H).toarray()
    assert counts.item_keys.tolist() == keys.tolist()
    found = np.zeros_like(oracle)
    found[counts.left, counts.right] = counts.count
    assert (found == oracle).all()


@tried()
@given(streams, settings_of_state)
def test_the_sum_over_partitions_is_one_partition(fresh_state, stream, setting):
    split = [[e for e in stream if e.user == "ann"], [e for e in stream if e.user != "ann"]]
    with fresh_state(setting) as one, fresh_state(setting) as ann, fresh_state(setting) as rest:
        feed(one, stream, [])
        parts = []
        for state, events in zip((ann, rest), split, strict=True):
            feed(state, events, [])
            state.commit()
            parts.append(state)
        # Partitions expire by the common watermark when they are merged.
        watermark = max((p.watermark for p in parts), default=-1)
        one.commit()
        summed = CoInteractions.sum(
            [read_co_interactions(p.run_files, p.runs, p.items, setting, watermark) for p in parts]
        )
        expected = one.co_interactions()
    assert summed.item_keys.tolist() == expected.item_keys.tolist()
    assert summed.left.tolist() == expected.left.tolist()
    assert summed.right.tolist() == expected.right.tolist()
    assert summed.count.tolist() == expected.count.tolist()


@tried()
@given(streams, streams, settings_of_state, st.randoms(use_true_random=False))
def test_two_topics_in_any_interleaving_give_one_state(fresh_state, first, second, setting, chance):
    with fresh_state(setting) as state, fresh_state(setting) as other:
        feed(state, first, [], "a")
        feed(state, second, [], "b")
        turns = ["a"] * len(first) + ["b"] * len(second)
        chance.shuffle(turns)
        at = {"a": 0, "b": 0}
        for topic in turns:
            stream, offset = {"a": first, "b": second}[topic], at[topic]
            other.apply_events(topic, Columns(stream[offset : offset + 1], offset), offset + 1)
            at[topic] += 1
        assert dump(state).differences(dump(other)) == []
        assert state.positions == {
            topic: n for topic, n in (("a", len(first)), ("b", len(second))) if n
        }


@tried(1 / 3)
@given(streams, settings_of_state, cuts)
def test_merging_runs_changes_nothing(fresh_state, stream, setting, at):
    merged = replace(setting, merge_runs=2)
    with fresh_state(setting) as state, fresh_state(merged) as other:
        feed(state, stream, at)
        for event_at in range(len(stream)):
            other.apply_events("events", Columns(stream[event_at:][:1], event_at), event_at + 1)
            other.commit()
            if event_at % 5 == 0:
                other.merge_runs()
        other.merge_runs()
        assert dump(state).differences(dump(other)) == []


def test_a_crowded_history_grows_the_log_of_deltas(fresh_state):
    """More deltas than the log has room for: it grows between two events, and nothing is lost."""
    chance = random.Random(5)
    items = [f"i{n}" for n in range(700)]
    stream = [
        Event(user, item, kind, chance.randrange(12_000))
        for user in ("ann", "bob")
        for item in items
        for kind in ("stream", "follow")
    ]
    chance.shuffle(stream)
    setting = StateSettings(window=Window(bucket_ms=1_000, buckets=12), delta_room=1 << 12)
    with fresh_state(setting) as state:
        feed(state, stream, [])
        assert dump(state).differences(defined_state(stream, setting)) == []


@pytest.mark.parametrize("buckets", [1, 7, 90])
def test_the_bucket_that_just_left_the_window_is_too_old_and_the_next_is_not(fresh_state, buckets):
    """Events exactly at `watermark - window`, and exactly one bucket later."""
    setting = StateSettings(window=Window(bucket_ms=BUCKET, buckets=buckets), delta_room=1 << 12)
    now = 200 * BUCKET
    gone, live = now - buckets * BUCKET, now - (buckets - 1) * BUCKET
    stream = [
        Event("ann", "i0", "stream", now),
        Event("ann", "i1", "stream", gone),
        Event("ann", "i2", "stream", gone + BUCKET - 1),
        Event("ann", "i3", "stream", live),
    ]
    with fresh_state(setting) as state:
        applied = state.apply_events("events", Columns(stream), len(stream))
        assert applied.too_old.tolist() == [1, 2]
        assert state.counts == {"applied": 2, "refused": 2}
        assert set(state.history("ann").item_keys.tolist()) == {stream[0].key, stream[3].key}
        assert dump(state).differences(defined_state(stream, setting)) == []
