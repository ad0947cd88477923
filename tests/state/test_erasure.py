"""An erased user leaves the state as a log would that never had the user's earlier events."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import CoInteractions, PartitionState, StateSettings, Window, apply_in_order
from state.co_interactions import read_co_interactions
from state.deltas import grown
from state.kernel import COLUMNS, ITEM, STRONG, TIME, erase_rows
from state.stored_partition import REMOVAL_TRIES
from tests.state.dumps import dump
from tests.state.streams_of_events import (
    BUCKET,
    Columns,
    Erasure,
    Event,
    apply_records,
    cuts,
    defined_state,
    feed,
    remaining,
    settings_of_state,
    streams,
    streams_with_erasures,
    tried,
)

SETTINGS = StateSettings(window=Window(bucket_ms=BUCKET, buckets=10), delta_room=1 << 12)


@tried(1 / 2)
@given(streams_with_erasures, settings_of_state, cuts)
def test_state_equals_its_definition_over_the_events_that_stayed(fresh_state, stream, setting, at):
    with fresh_state(setting) as state:
        feed(state, stream, at)
        assert dump(state).differences(defined_state(stream, setting)) == []
        assert state.counts["applied"] + state.counts["refused"] == len(stream)


@tried(1 / 4)
@given(streams_with_erasures, settings_of_state, cuts)
def test_it_is_the_log_without_the_erased_events_but_for_the_time(fresh_state, stream, setting, at):
    """The time that the erased events told is told by somebody else, whose events make no pair."""
    latest = max((r.time for r in stream if isinstance(r, Event)), default=None)
    clock = [] if latest is None else [Event("clock", "i0", "follow", latest)]
    with fresh_state(setting) as state, fresh_state(setting) as without:
        feed(state, [*stream, *clock, Erasure("clock")], at)
        feed(without, [*clock, *remaining(stream), Erasure("clock")], [])
        # Counts of live popularity name nobody, and stay.
        mine, theirs = (replace(dump(s), demand={}) for s in (state, without))
        assert mine.differences(theirs) == []


@tried(1 / 4)
@given(streams_with_erasures, settings_of_state, st.randoms(use_true_random=False))
def test_only_the_order_within_a_user_counts(fresh_state, stream, setting, chance):
    """Erasures commute with the events of others; records read again below the offset are not."""
    turns = [r.user for r in stream]
    chance.shuffle(turns)
    theirs = {user: iter([r for r in stream if r.user == user]) for user in set(turns)}
    other_order = [next(theirs[user]) for user in turns]
    with fresh_state(setting) as state, fresh_state(setting) as other:
        feed(state, stream, [])
        for end in range(1, len(other_order) + 1):
            apply_records(other, "events", other_order, max(0, end - chance.randrange(1, 9)), end)
        assert dump(state).differences(dump(other)) == []
        assert other.counts["applied"] + other.counts["refused"] == len(stream)


@tried(1 / 6)
@given(streams_with_erasures, settings_of_state)
def test_the_sum_over_partitions_is_one_partition(fresh_state, stream, setting):
    split = [[r for r in stream if r.user == "ann"], [r for r in stream if r.user != "ann"]]
    with fresh_state(setting) as one, fresh_state(setting) as ann, fresh_state(setting) as rest:
        for state, part in zip((one, ann, rest), (stream, *split), strict=True):
            feed(state, part, [])
            state.commit()
        summed = CoInteractions.sum(
            [
                read_co_interactions(p.run_files, p.runs, p.items, setting, one.watermark)
                for p in (ann, rest)
            ]
        )
        expected = one.co_interactions()
    assert summed.item_keys.tolist() == expected.item_keys.tolist()
    assert summed.left.tolist() == expected.left.tolist()
    assert summed.right.tolist() == expected.right.tolist()
    assert summed.count.tolist() == expected.count.tolist()


def test_what_comes_behind_the_erasure_is_a_new_history(fresh_state):
    old, new = Event("ann", "i1", "stream", 1_000), Event("ann", "i2", "stream", 500)
    with fresh_state(SETTINGS) as state:
        feed(state, [old, Erasure("ann"), new, old], [])
        # The copy of an old event that is delivered again is an event like any other.
        assert state.history("ann").item_keys.tolist() == [old.key, new.key]
        assert state.counts == {"applied": 4, "refused": 0}


def test_attributes_go_too_committed_or_not(fresh_state):
    for commits in (True, False):
        with fresh_state(SETTINGS) as state:
            users = [(n, user, b'{"country":"SE"}') for n, user in enumerate(("ann", "bob"))]
            state.apply_users("users", users, 2)
            if commits:
                state.commit()
            assert state.erase("events", "ann", 0, 0) is False, "the user had no history"
            assert (state.user("ann"), state.user("bob")) == ({}, {"country": "SE"})
            state.commit()
            assert dump(state).users.keys() == {"bob"}


def test_attributes_that_came_after_the_erasure_stay_whichever_is_read_first(fresh_state):
    attributes = [(0, "ann", b'{"country":"SE","logged_at":5}'), (1, "ann", None)]
    attributes += [(2, "ann", b'{"country":"FI","logged_at":9}')]
    with fresh_state(SETTINGS) as state, fresh_state(SETTINGS) as other:
        state.apply_users("users", attributes, 3)
        state.erase("events", "ann", 0, 7)
        other.erase("events", "ann", 0, 7)
        other.apply_users("users", attributes, 3)
        assert state.user("ann")["country"] == "FI"
        assert dump(state).differences(dump(other)) == []


def test_an_erasure_says_whether_there_was_a_history(fresh_state):
    with fresh_state(SETTINGS) as state:
        assert state.erase("events", "nobody", 0, 0) is False
        feed(state, [Erasure("nobody"), Event("ann", "i1", "follow", 0)], [])
        assert state.erase("events", "ann", 2, 0) is True
        assert state.erase("events", "ann", 3, 0) is False
        assert state.erase("events", "ann", 3, 0) is None, "applied before"
        assert state.erased == {"events": 3}
        assert state.erasing
        state.commit()
        assert not state.erasing


def test_a_batch_without_events_only_moves_the_position(fresh_state):
    with fresh_state(SETTINGS) as state:
        apply_in_order(state, "events", Columns([]), [], 3, refused=3)
        assert state.positions == {"events": 3}
        assert state.counts == {"applied": 0, "refused": 3}


@tried(1 / 2)
@given(streams, settings_of_state, cuts)
def test_erasures_of_other_users_change_nothing_of_what_is_said_of_events(
    fresh_state, stream, setting, at
):
    """Rows are those of the whole batch, wherever erasures cut it."""
    batch = Columns(stream)
    batch.offset = 2 * batch.offset + 1
    erasures = [(2 * n, "nobody", 0) for n in sorted({1, 3, *at}) if n <= len(stream)]

    def applied(state, erasures):
        return apply_in_order(
            state, "events", batch, erasures, 2 * len(stream) + 2,
            wanted=lambda offsets: offsets >= 0, observe=100,
        )  # fmt: skip

    with fresh_state(setting) as state, fresh_state(setting) as other:
        plain, cut = applied(state, []), applied(other, erasures)
        again = applied(other, erasures)
    assert cut.too_old.tolist() == plain.too_old.tolist()
    for name, found in vars(plain.observations).items():
        np.testing.assert_array_equal(getattr(cut.observations, name), found)
    assert [one.offset for one in cut.erased] == [offset for offset, *_ in erasures]
    assert plain.applied == len(stream) - len(plain.too_old)
    assert cut.applied == plain.applied + len(erasures)
    assert (plain.skipped, cut.skipped) == (0, 0)
    assert (again.applied, again.skipped) == (0, len(stream) + len(erasures))


def test_erasing_a_long_history_grows_the_log_of_deltas(fresh_state):
    """130,000 pairs are taken back at once; a row alone has more than the table holds at first."""
    stream = [Event("ann", f"i{n}", "stream", n) for n in range(512)]
    setting = StateSettings(window=Window(bucket_ms=1, buckets=128), delta_room=1 << 8)
    wide = StateSettings(window=Window(bucket_ms=BUCKET, buckets=2), delta_room=1 << 8)
    for chosen in (setting, wide):
        with fresh_state(chosen) as state:
            feed(state, stream, [])
            state.commit()
            state.commit()  # what an idle commit leaves of the table is small
            assert len(state._deltas[0]) == 1 << 8
            assert state.co_interactions().pairs > 8_000
            state.erase("events", "ann", len(stream), 0)
            assert dump(state).pairs == {}
            assert state.histories() == 0


@pytest.mark.parametrize("short", range(8))
def test_taking_pairs_back_stops_before_the_log_of_deltas_is_full(short):
    """A log with `short` places less than the erasure needs: nothing is written behind its end."""
    length, guard = 5, np.uint64(0xDEAD)
    rows = np.zeros((length, COLUMNS), np.int64)
    rows[:, ITEM] = range(length)
    rows[:, TIME] = rows[:, STRONG] = BUCKET
    needed = length * (length + 1) // 2
    pairs, places = np.full(needed + 8, guard), np.full(needed + 8, -7, np.int32)
    room = needed - short
    log = (pairs[:room], places[:room], np.zeros(1, np.int64))
    done = erase_rows(0, rows, length, BUCKET, 0, log)
    assert (pairs[room:] == guard).all()
    assert (places[room:] == -7).all()
    # Rows take 5, 4, 3, 2 and 1 deltas; only whole rows are written.
    whole = [n for n in range(length + 1) if needed - sum(range(length - n + 1)) <= room]
    assert done == whole[-1]
    done = erase_rows(done, rows, length, BUCKET, 0, more := grown(log))
    assert done == length
    taken = {(int(pair) >> 32, int(pair) & 0xFFFFFFFF) for pair in more[0][: int(more[2][0])]}
    assert int(more[2][0]) == needed
    assert taken == {(a, b) for b in range(length) for a in range(b + 1)}


def test_the_users_bytes_leave_the_files_of_the_database(fresh_state):
    """A deletion only hides a value; until it is compacted it lies in every checkpoint."""
    user = "erin-5d41402abc4b2a76"

    stream = [Event(u, f"i{n}", "stream", n) for n in range(5) for u in ("ann", user, "zoe")]
    with fresh_state(SETTINGS) as state:
        feed(state, stream, [])
        state.apply_users("users", [(0, user, b'{"country":"Atlantis"}')], 1)
        state.commit()
        state.database.flush()
        assert files_with(state.folder, user.encode())
        state.erase("events", user, len(stream), 0)
        state.commit()
        state.database.flush()
        assert files_with(state.folder, user.encode())
        state.compact_erased()
        assert files_with(state.folder, user.encode()) == []
        assert files_with(state.folder, b"Atlantis") == []
        assert len(state.history("ann")) == 5


def files_with(folder: Path, text: bytes) -> list[Path]:
    """Files that hold a text, but for RocksDB's own log: that is never part of a checkpoint."""
    found = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("LOG"))
    return [p for p in found if text in p.read_bytes()]


@pytest.mark.parametrize("removed", [True, False])
def test_a_state_is_compacted_only_once_rocksdb_has_removed_the_files(tmp_path, caplog, removed):
    """Its threads remove them a moment later; the manifest before the change names the user."""
    user = "erin-5d41402abc4b2a76"
    with closing(PartitionState(tmp_path / "s", 0, SETTINGS)) as state:
        feed(state, [Event(user, "i1", "stream", 1)], [])
        state.commit()
        state.erase("events", user, 1, 0)
        state.commit()
        left, looks, wait = state.folder / "MANIFEST-000001", [], state._pause
        left.write_bytes(user.encode())

        def pause(seconds: float) -> None:
            looks.append(seconds)
            wait(seconds)  # RocksDB's threads remove what is really there
            if removed and len(looks) == 3:
                left.unlink()

        state._pause = pause
        state.compact_erased()
        assert state.uncompacted != removed
        assert len(looks) <= REMOVAL_TRIES
        assert ("MANIFEST-000001, which may hold an erased user" in caplog.text) != removed
        left.unlink(missing_ok=True)
    with closing(PartitionState(tmp_path / "s", 0, SETTINGS)) as again:
        assert again.uncompacted != removed
        again.compact_erased()
        assert not again.uncompacted
        assert files_with(again.folder, user.encode()) == []


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("events", [0, 3])
@pytest.mark.parametrize("killed", [False, True])
def test_no_file_names_an_erased_user_who_shares_no_file_with_others(
    tmp_path, events, flushed, killed
):
    """The deletion itself names the user; a file that overlaps no other is not merged by itself."""
    user = "erin-5d41402abc4b2a76"
    stream = [Event(user, f"i{n}", "stream", n) for n in range(events)]
    state = PartitionState(tmp_path / "s", 0, SETTINGS)
    feed(state, stream, [])
    state.commit()
    if flushed:
        state.database.flush()
    state.erase("events", user, len(stream), 0)
    state.commit()
    if killed:
        state.close()
        state = PartitionState(tmp_path / "s", 0, SETTINGS)
    state.compact_erased()
    assert files_with(tmp_path, user.encode()) == []
    state.close()


@pytest.mark.parametrize("commits_again", [False, True])
def test_a_kill_between_the_erasure_and_the_compaction_is_made_up_for(tmp_path, commits_again):
    """The commit record says that the files are not compacted, and names nobody."""
    user = "erin-5d41402abc4b2a76"
    stream = [Event(u, f"i{n}", "stream", n) for n in range(5) for u in ("ann", user, "zoe")]
    state = PartitionState(tmp_path / "s", 0, SETTINGS)
    feed(state, stream, [])
    state.apply_users("users", [(0, user, b'{"country":"Atlantis"}')], 1)
    state.commit()
    state.database.flush()
    state.erase("events", user, len(stream), 0)
    state.commit()
    state.close()  # like a kill: the next process does not know whom to compact

    again = PartitionState(tmp_path / "s", 0, SETTINGS)
    assert again.uncompacted
    if commits_again:
        feed(again, [*stream, Erasure(user), Event("ann", "i9", "stream", 9)], [])
        again.commit()
    assert files_with(tmp_path, user.encode())
    again.compact_erased()
    assert not again.uncompacted
    assert files_with(tmp_path, user.encode()) == []
    assert files_with(tmp_path, b"Atlantis") == []
    again.close()

    with closing(PartitionState(tmp_path / "s", 0, SETTINGS)) as last:
        assert not last.uncompacted, "compacted once is enough"
        assert {*dump(last).histories} == {"ann", "zoe"}


@pytest.mark.parametrize("commits", [True, False])
def test_a_crash_before_the_commit_erases_again(fresh_state, tmp_path, commits):
    stream = [Event("ann", "i1", "stream", 1_000), Event("bob", "i2", "stream", 1_000)]
    state = PartitionState(tmp_path / "s", 0, SETTINGS)
    feed(state, stream, [])
    state.commit()
    state.erase("events", "ann", 2, 0)
    if commits:
        state.commit()
    state.close()  # like a crash: what came after the commit is gone
    again = PartitionState(tmp_path / "s", 0, SETTINGS)
    assert len(again.history("ann")) == (0 if commits else 1)
    apply_records(again, "events", [*stream, Erasure("ann")], 0, 3)
    assert dump(again).differences(defined_state([*stream, Erasure("ann")], SETTINGS)) == []
    assert again.counts == {"applied": 3, "refused": 0}
    again.close()
