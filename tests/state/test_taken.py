"""Shown and taken: counts equal their definition over the set of records, whatever happens."""

import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import PartitionState, StateSettings, Window
from state.canonical import taken_counts
from state.compare import differences
from state.erasure import apply_in_order
from state.shown import SHOWN_PER_ENTRY
from state.taken import ACTED, LISTS, POSITIONS, SHOWINGS
from tests.state.conftest import SCRATCH
from tests.state.dumps import dump
from tests.state.streams_of_events import BUCKET, Columns, Erasure, Event, tried
from tests.state.test_shown import ITEMS, USERS, Impression, columns, feed_all

times = st.integers(0, 14 * BUCKET)
impressions = st.builds(
    Impression,
    user=st.sampled_from(USERS),
    items=st.lists(st.sampled_from(ITEMS[:6]), min_size=1, max_size=4).map(tuple),
    time=times,
    of=st.sampled_from([0, 7, 2**31 - 1]),
)
events = st.builds(
    Event, st.sampled_from([*USERS, "cyd"]), st.sampled_from(ITEMS[:6]),
    st.sampled_from(["stream", "stream", "preview"]), times,
)  # fmt: skip
records = st.lists(
    st.one_of(impressions, events, impressions, events, st.builds(Erasure, st.sampled_from(USERS))),
    max_size=40,
)
#: A window that moves, times that reach into the next bucket and not, and a cap that is met.
settings_of_state = st.builds(
    lambda buckets, cap, within: StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=buckets), history_cap=cap, delta_room=1 << 12,
        impressions=True, taken_hours=within * BUCKET / 3_600_000,
    ),
    st.integers(1, 14), st.sampled_from([1, 2, 512]), st.sampled_from([0.01, 0.5, 2]),
)  # fmt: skip
cuts = st.lists(st.integers(0, 40), max_size=6)


def defined(stream: list, setting: StateSettings) -> tuple[dict, dict, dict]:
    """Users' rows, and the counts, from the set of all records at once; the counts by list too."""
    watermark = max((r.time // BUCKET for r in stream if isinstance(r, Event)), default=-1)
    first = max(watermark - setting.window.buckets + 1, 0)
    kept: dict[str, tuple] = {}
    shown, taken, of_lists = Counter(), Counter(), Counter()
    for user in (*USERS, "cyd"):
        erased = max((at for at, r in enumerate(stream) if r == Erasure(user)), default=-1)
        own = [r for r in stream[erased + 1 :] if not isinstance(r, Erasure) and r.user == user]
        acted = {(r.key, r.time) for r in own if isinstance(r, Event) and r.kind == "stream"}
        seen: dict[tuple[int, int], tuple[int, int, int]] = {}
        for record in own:
            if isinstance(record, Impression):
                for place, item in enumerate(record.items, 1):
                    key = Event(user, item, "stream", 0).key
                    mine = (record.time, place, record.of)
                    slot = (key, record.time // BUCKET)
                    seen[slot] = min(seen.get(slot, mine), mine)
        rows = [(key, time, ACTED, 0) for key, time in acted]
        rows += [(key, *first_seen) for (key, _), first_seen in seen.items()]
        rows = [row for row in rows if row[1] // BUCKET >= first]
        most, floor = SHOWN_PER_ENTRY * setting.history_cap, 0
        while sum(time // BUCKET >= floor for _, time, _, _ in rows) > most:
            floor += 1
        rows = [row for row in rows if row[1] // BUCKET >= floor]
        if rows:
            kept[user] = tuple(sorted(rows))
        for key, time, place, of in rows:
            if place != ACTED:
                cell = (time // BUCKET, key, place)
                is_taken = any(
                    other == key and at == ACTED and time <= when <= time + setting.taken_ms
                    for other, when, at, _ in rows
                )
                shown[cell] += 1
                taken[cell] += is_taken
                if of:
                    of_lists[time // BUCKET, of, "shown"] += 1
                    of_lists[time // BUCKET, of, "taken"] += is_taken
    return kept, {cell: (count, taken[cell]) for cell, count in shown.items()}, +of_lists


def by_list(state: PartitionState) -> dict:
    """Committed counts by bucket and list."""
    found = Counter()
    for bucket in range(20):
        for of, (shown, taken) in state.taken.by_list(bucket).items():
            found[bucket, of, "shown"], found[bucket, of, "taken"] = shown, taken
    return +found


def check(state: PartitionState, stream: list) -> None:
    showings, counts, of_lists = defined(stream, state.settings)
    found = dump(state)
    assert (found.showings, found.taken) == (showings, counts)
    assert by_list(state) == of_lists


@tried(1 / 3)
@given(records, settings_of_state, cuts)
def test_counts_equal_their_definition(fresh_state, stream, setting, at):
    with fresh_state(setting) as state:
        feed_all(state, stream, at)
        assert taken_counts(state) == defined(stream, setting)[1], "before a commit"
        check(state, stream)


@pytest.mark.parametrize("at", [[], [1, 2]])
def test_of_a_user_who_is_shown_very_much_whole_days_are_forgotten(fresh_state, at):
    """Eight rows count here: five of each of two days, and one of a third."""
    setting = StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=10), history_cap=1, delta_room=1 << 12,
        impressions=True,
    )  # fmt: skip
    stream = [
        Impression("ann", items, day * BUCKET + 500)
        for day, items in enumerate((ITEMS[:5], ITEMS[5:10], ITEMS[:1]))
    ]
    with fresh_state(setting) as state:
        feed_all(state, stream, at)
        check(state, stream)
        assert len(defined(stream, setting)[0]["ann"]) == 6


@tried(1 / 4)
@given(records, settings_of_state, cuts, st.randoms(use_true_random=False))
def test_neither_order_nor_kills_nor_what_is_written_twice_change_anything(
    stream, setting, at, chance
):
    shuffled = [r for r in stream if not isinstance(r, Erasure)]
    shuffled += chance.sample(shuffled, len(shuffled) // 3)
    chance.shuffle(shuffled)
    topics = {
        "shown": [r for r in shuffled if isinstance(r, Impression)],
        "events": [r for r in shuffled if isinstance(r, Event)],
    }
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        state = PartitionState(Path(folder), 0, setting)
        try:
            for at_most in (*at, 60, 60):
                for topic, part in topics.items():
                    # What was applied before comes again, as after a rebalance.
                    begin = max(0, (state.position(topic) or 0) - chance.randrange(4))
                    end = min(len(part), begin + at_most)
                    batch = part[begin:end]
                    if topic == "shown" and batch:
                        state.apply_events(topic, columns(list(enumerate(batch, begin))), end)
                    elif batch:
                        state.apply_events(topic, Columns(batch, begin), end)
                if chance.random() < 0.5:
                    state.commit()
                if chance.random() < 0.3:
                    state.close()
                    state = PartitionState(Path(folder), 0, setting)
            done = {topic: part[: state.position(topic) or 0] for topic, part in topics.items()}
            check(state, [r for part in done.values() for r in part])
        finally:
            state.close()


@tried(1 / 6)
@given(records, settings_of_state, cuts)
def test_told_counts_add_up_to_the_counts(stream, setting, at):
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        kept: tuple[dict, dict] = ({}, {})
        for begin, end in zip([0, *sorted(at)], [*sorted(at), len(stream)], strict=True):
            with closing(PartitionState(Path(folder), 0, setting)) as state:
                # The topics go on where the last life committed.
                feed_on(state, stream, begin, end)
                for blocks, known in zip(state.taken.tell(), kept, strict=True):
                    for block in blocks:
                        rows = zip(
                            block.keys.tolist(), block.markets.tolist(), block.counts.tolist(),
                            strict=True,
                        )  # fmt: skip
                        known[block.bucket] = {
                            (block.bucket, key, place): n for key, place, n in rows if block.live
                        }
                state.commit()
                assert not any(map(len, state.taken.tell()))
        counts = defined(stream, setting)[1]
        shown, taken = ({c: n for of in side.values() for c, n in of.items()} for side in kept)
        assert shown == {cell: n for cell, (n, _) in counts.items()}
        assert taken == {cell: n for cell, (_, n) in counts.items() if n}


def feed_on(state: PartitionState, stream: list, begin: int, end: int) -> None:
    """Apply records of two topics, whose offsets are their places in the stream."""
    for place, record in enumerate(stream[begin:end], begin):
        if isinstance(record, Impression):
            state.apply_events("shown", columns([(place, record)]), place + 1)
        elif isinstance(record, Erasure):
            state.erase("events", record.user, place, 0)
        else:
            state.apply_events("events", Columns([record], place), place + 1)


@tried(1 / 8)
@given(records, settings_of_state, cuts)
def test_they_change_nothing_else_and_cost_nothing_where_they_are_not_made(
    fresh_state, stream, setting, at
):
    with fresh_state(setting) as state, fresh_state(replace(setting, impressions=False)) as other:
        feed_all(state, stream, at)
        feed_all(other, stream, at)
        assert replace(dump(state), showings={}, taken={}).differences(dump(other)) == []
        assert not list(other.database.scan(SHOWINGS, SHOWINGS + b"\xff"))
        assert list(differences(state, other)) == []
    assert setting.fingerprint() == replace(setting, impressions=False).fingerprint()


SETTINGS = StateSettings(
    window=Window(bucket_ms=BUCKET, buckets=10), delta_room=1 << 12, impressions=True,
    taken_hours=BUCKET / 3_600_000,
)  # fmt: skip
KEY = Event("ann", "i1", "stream", 0).key
SEEN = Impression("ann", ("i2", "i1"), 500)


def test_what_a_person_expects(fresh_state):
    for acts, counts in (
        ([], (1, 0)),
        ([Event("ann", "i1", "stream", 500)], (1, 1)),
        ([Event("ann", "i1", "stream", 1_500)] * 2, (1, 1)),
        ([Event("ann", "i1", "stream", 1_501)], (1, 0)),
        ([Event("ann", "i1", "stream", 499)], (1, 0)),
        ([Event("ann", "i1", "preview", 500)], (1, 0)),
        ([Event("bob", "i1", "stream", 500)], (1, 0)),
        # Shown again on the same day, and on the next one.
        ([SEEN, Impression("ann", ("i1",), 700)], (1, 0)),
    ):
        with fresh_state(SETTINGS) as state:
            feed_all(state, [SEEN, *acts], [])
            assert taken_counts(state)[0, KEY, 2] == counts, acts
    with fresh_state(SETTINGS) as state:
        feed_all(state, [SEEN, Impression("ann", ("i1",), 1_000)], [])
        assert taken_counts(state)[1, KEY, 1] == (1, 0)


def test_a_showing_is_of_the_list_of_the_first_impression(fresh_state):
    stream = [
        Impression("ann", ("i1",), 700, of=7), Impression("ann", ("i1", "i2"), 500, of=9),
        Impression("ann", ("i2",), 500, of=8), Impression("bob", ("i1",), 500),
        Event("ann", "i1", "stream", 600),
    ]  # fmt: skip
    with fresh_state(SETTINGS) as state:
        feed_all(state, stream, [])
        assert state.taken.by_list(0) == {}, "before a commit"
        state.commit()
        # i2 stands at position 2 of one list and at position 1 of the other, at the same time.
        assert state.taken.by_list(0) == {9: (1, 1), 8: (1, 0)}


def test_a_batch_with_an_erasure_keeps_the_lists_of_its_rows(fresh_state):
    shown = [(0, Impression("ann", ("i1",), 500, of=7)), (2, Impression("ann", ("i2",), 600, of=9))]
    with fresh_state(SETTINGS) as state:
        apply_in_order(state, "shown", columns(shown), [(1, "ann", 0)], 3)
        state.commit()
        assert state.taken.by_list(0) == {9: (1, 0)}


def test_what_an_earlier_version_counted_is_of_unknown_lists(tmp_path):
    """It writes rows without lists, and commit records that say nothing of them."""
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        feed_all(state, [Impression("ann", ("i1", "i2"), 500, of=7)], [])
        state.commit()
        earlier = msgspec.structs.replace(state._meta.taken, by_list=False)
        state._write(state.database.batch(), msgspec.structs.replace(state._meta, taken=earlier))
    with closing(PartitionState(tmp_path, 0, SETTINGS, read_only=True)) as state:
        assert state.taken.by_list(0) == {}
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        batch = columns([(1, Impression("ann", ("i2", "i3"), 400, of=8))])
        state.apply_events("shown", batch, 2)
        state.commit()
        assert state.taken.by_list(0) == {8: (2, 0)}
        assert sum(n for n, _ in taken_counts(state).values()) == 3
        state.erase("events", "ann", 1, 0)
        state.commit()
        assert (state.taken.by_list(0), taken_counts(state)) == ({}, {})
        assert not list(state.database.scan(LISTS, LISTS + b"\xff"))


def test_positions_far_down_are_counted_together(fresh_state):
    with fresh_state(SETTINGS) as state:
        batch = columns([(0, SEEN)])
        batch.position = np.array([300, 99_999])
        state.apply_events("shown", batch, 1)
        assert [position for _, _, position in taken_counts(state)] == [POSITIONS] * 2


def test_an_erasure_takes_a_user_out_of_the_counts_and_out_of_the_files(tmp_path):
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        gone = Impression("ann-the-erased", ("i1",), 1)
        feed_all(state, [gone, Impression("bob", ("i1",), 2)], [])
        feed_all_events(state, Event("ann-the-erased", "i1", "stream", 2))
        assert taken_counts(state) == {(0, KEY, 1): (2, 1)}
        state.commit()
        state.erase("events", "ann-the-erased", 1, 0)
        assert taken_counts(state) == {(0, KEY, 1): (1, 0)}
        state.commit()
        state.compact_erased()
    held = [path for path in tmp_path.iterdir() if b"ann-the-erased" in path.read_bytes()]
    assert held == []


def feed_all_events(state: PartitionState, *found: Event) -> None:
    at = state.position("events") or 0
    state.apply_events("events", Columns([*found], at), at + len(found))


def test_other_settings_begin_at_zero_and_others_are_told(tmp_path):
    """Turned on, given another time, turned off, and on again."""
    with closing(PartitionState(tmp_path, 0, replace(SETTINGS, impressions=False))) as state:
        feed_all(state, [SEEN], [])
        state.commit()
        assert (state.taken.since, taken_counts(state)) == (None, {})
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        assert state.taken.since == {"shown": 1}
        state.apply_events("shown", columns([(1, SEEN)]), 2)
        state.taken.tell()
        state.commit()
        assert taken_counts(state)[0, KEY, 2] == (1, 0)
    with closing(PartitionState(tmp_path, 0, replace(SETTINGS, taken_hours=1))) as state:
        assert (state.taken.since, taken_counts(state)) == ({"shown": 2}, {})
        told, _ = state.taken.tell()
        assert [(block.bucket, block.live, len(block.keys)) for block in told] == [(0, True, 0)]
        state.apply_events("shown", columns([(2, SEEN)]), 3)
        state.commit()
    with closing(PartitionState(tmp_path, 0, replace(SETTINGS, impressions=False))) as state:
        assert not list(state.database.scan(SHOWINGS, SHOWINGS + b"\xff"))
    with closing(PartitionState(tmp_path, 0, replace(SETTINGS, taken_hours=1))) as state:
        assert (state.taken.since, taken_counts(state)) == ({"shown": 3}, {})


def test_a_state_asks_for_a_commit_where_counts_were_told_of_which_none_says_so(tmp_path):
    for acts in ([], [Event("ann", "i1", "stream", 600)]):
        folder = tmp_path / str(len(acts))
        with closing(PartitionState(folder, 0, SETTINGS)) as state:
            feed_all(state, [SEEN, *acts], [])
            state.commit()
            assert not state.telling
        with closing(PartitionState(folder, 0, SETTINGS)) as state:
            assert not state.telling, "nothing was told since that the commit does not know"
            state.taken.tell()
            assert state.telling
            state.commit()
            assert not state.telling


def test_states_say_where_their_counts_differ(fresh_state):
    with fresh_state(SETTINGS) as state, fresh_state(SETTINGS) as other:
        for one, at in ((state, 500), (other, 600)):
            feed_all(one, [Impression("ann", ("i1",), at)], [])
            feed_all_events(one, Event("ann", "i1", "stream", 550))
            one.commit()
        found = [(d.part, d.left, d.right) for d in differences(state, other) if d.part != "shown"]
        assert found == [
            ("showing", "shown at position 1", None),
            ("showing", None, "shown at position 1"),
            ("taken", {"shown": 1, "taken": 1}, {"shown": 1, "taken": 0}),
        ]
