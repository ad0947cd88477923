"""Transitions equal their definition, over one partition and over several."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import ArtifactStore, Checkpoints, StateSettings, transitions
from state.database import open_database
from state.merge import merge_folders, read_checkpoint
from state.transitions import SESSION_MS, STEP_DECAY, STEPS, Transitions, read_transitions
from tests.state.streams_of_events import (
    BUCKET,
    Columns,
    Event,
    cuts,
    feed,
    settings_of_state,
    streams,
    tried,
)

sessions = st.sampled_from([0, BUCKET // 2, 3 * BUCKET, 200 * BUCKET])


def read(state, session_ms, watermark=None):
    state.commit()
    watermark = state.watermark if watermark is None else watermark
    source = open_database(state.folder, state.settings, read_only=True)
    try:
        return read_transitions(source, state.items, state.settings, watermark, session_ms)
    finally:
        source.close()


def by_pair(found):
    keys = found.item_keys.tolist()
    pairs = zip(found.source.tolist(), found.target.tolist(), found.count.tolist(), strict=True)
    return {(keys[a], keys[b]): count for a, b, count in pairs}


def defined(state, users, session_ms, watermark):
    """A user goes from each item on to the next `STEPS` items of the same session."""
    first_ms = max(state.settings.window.first_live(watermark), 0) * BUCKET
    found = Counter()
    for user in users:
        history = state.history(user)
        met = [
            (time, -place, key)
            for place, (key, time) in enumerate(
                zip(history.item_keys.tolist(), history.strong_time.tolist(), strict=True)
            )
            if time >= first_ms
        ]
        path = [(time, key) for time, _, key in sorted(met)]
        for at, (time, key) in enumerate(path):
            for step, (later, other) in enumerate(path[at + 1 : at + 1 + STEPS]):
                if later - time <= session_ms:
                    found[key, other] += STEP_DECAY**step
    return found


@tried()
@given(streams, settings_of_state, cuts, sessions)
def test_transitions_equal_their_definition(fresh_state, stream, setting, at, session_ms):
    with fresh_state(setting) as state:
        feed(state, stream, at)
        found = by_pair(read(state, session_ms))
        users = {event.user for event in stream}
        assert found == pytest.approx(defined(state, users, session_ms, state.watermark))


@tried(1 / 3)
@given(streams, settings_of_state, sessions)
def test_users_that_are_read_one_by_one_give_the_same(fresh_state, stream, setting, session_ms):
    with fresh_state(setting) as state:
        feed(state, stream, [])
        whole = by_pair(read(state, session_ms))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transitions, "_USERS", 1)
            patch.setattr(transitions, "_LEAST", 1)
            assert by_pair(read(state, session_ms)) == pytest.approx(whole)


@tried(1 / 3)
@given(streams, settings_of_state, sessions)
def test_the_sum_over_partitions_is_one_partition(fresh_state, stream, setting, session_ms):
    split = [[e for e in stream if e.user == "ann"], [e for e in stream if e.user != "ann"]]
    with fresh_state(setting) as one, fresh_state(setting) as ann, fresh_state(setting) as rest:
        feed(one, stream, [])
        whole = by_pair(read(one, session_ms))
        for state, events in zip((ann, rest), split, strict=True):
            feed(state, events, [])
        parts = [read(state, session_ms, one.watermark) for state in (ann, rest)]
        assert by_pair(Transitions.sum(parts)) == pytest.approx(whole)


def test_a_session_ends_after_an_hour(fresh_state):
    hour = 3_600_000
    with fresh_state(StateSettings()) as state:
        day = 100 * state.settings.window.bucket_ms
        path = [("a", day), ("b", day + hour), ("c", day + 2 * hour + 1), ("d", day + 2 * hour + 2)]
        events = [Event("ann", item, "stream", time) for item, time in path]
        state.apply_events("events", Columns(events), len(events))
        state.commit()
        found = merge_folders({0: state.folder}, state.settings).transitions
    keys = [event.key for event in events]
    assert by_pair(found) == {(keys[0], keys[1]): 1.0, (keys[2], keys[3]): 1.0}


def test_of_the_next_six_items_each_counts_less_than_the_one_before(fresh_state):
    path = [Event("ann", f"i{number}", "stream", number) for number in range(8)]
    with fresh_state() as state:
        feed(state, path, [])
        found = by_pair(read(state, SESSION_MS))
    counts = {later: found.get((path[0].key, path[later].key)) for later in range(1, 8)}
    expected = {1: 1.0, 2: 0.6, 3: 0.36, 4: 0.216, 5: 0.1296, 6: 0.07776, 7: None}
    assert counts == pytest.approx(expected)


def test_a_checkpoint_that_is_read_for_its_counts_brings_no_transitions(fresh_state, tmp_path):
    """They are read with the histories of all users, which takes minutes where there are many."""
    checkpoints = Checkpoints(ArtifactStore(str(tmp_path / "store")))
    path = [Event("ann", "i0", "stream", 1), Event("ann", "i1", "stream", 2)]
    with fresh_state() as state:
        state.apply_events("events", Columns(path), len(path))
        checkpoints.create(state, tmp_path / "scratch", 0)
        assert by_pair(read(state, 1)) == {(path[0].key, path[1].key): 1.0}
        part = read_checkpoint(checkpoints, 0, state.settings, state.watermark)
    assert part.co_interactions.pairs == 1
    assert by_pair(part.transitions) == {}
