"""Declared actions: the latest event of each kind, what is disliked now, and what was by then."""

import itertools
from contextlib import closing
from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state import Action, PartitionState, StateSettings, Window, item_key
from state.actions import ACTIONS as PREFIX
from state.commit_record import CommitRecord
from state.compare import differences
from state.database import META
from tests.state.dumps import dump
from tests.state.streams_of_events import (
    ACTIONS,
    BUCKET,
    Columns,
    Erasure,
    Event,
    cuts,
    defined_state,
    feed,
    settings_of_state,
    streams,
    streams_with_erasures,
    tried,
)

SETTINGS = StateSettings(
    window=Window(bucket_ms=BUCKET, buckets=10), delta_room=1 << 12, actions=ACTIONS[1]
)


def keys(*names: str) -> list[int]:
    return [item_key("podcast" if name < "i4" else "audiobook", name) for name in names]


@tried(1 / 3)
@given(streams_with_erasures, settings_of_state, cuts)
def test_disliked_and_known_are_what_the_definition_says(fresh_state, stream, setting, at):
    defined = defined_state(stream, setting)
    sign = {action.kind: action.sign for action in setting.actions}
    makes_known = {action.kind for action in setting.actions if action.known}
    with fresh_state(setting) as state:
        feed(state, stream, at)
        for user in ("ann", "bob", "cyd"):
            entries = {entry[0]: entry for entry in defined.histories.get(user, ())}
            marks = defined.actions.get(user, {})
            disliked = {}
            for (kind, key), time in marks.items():
                strong = entries[key][2] if key in entries else -1
                likes = [t for (k, i), t in marks.items() if i == key and sign[k] == "positive"]
                if sign[kind] == "negative" and time >= max([strong, *likes]):
                    disliked[key] = time
            _, found = state.reactions(user)
            assert found.disliked.tolist() == sorted(
                disliked, key=lambda key: (disliked[key], key), reverse=True
            )
            assert found.liked.tolist() == [key not in disliked for key in entries]
            assert found.known.tolist() == [
                bool(kinds & makes_known)
                or (entry[2] >= 0 and not kinds & set(setting.graph_kinds))
                for key, entry in entries.items()
                for kinds in ({kind for kind, item in marks if item == key},)
            ]


@tried(1 / 3)
@given(streams, settings_of_state, cuts)
def test_observations_do_not_depend_on_the_cut(fresh_state, stream, setting, at):
    def seen(cut_at: list[int]) -> list[tuple]:
        found, edges = [], sorted({0, len(stream), *(a for a in cut_at if a < len(stream))})
        with fresh_state(setting) as state:
            for begin, end in itertools.pairwise(edges):
                part = state.apply_events(
                    "events", Columns(stream[begin:end], begin), end,
                    wanted=lambda offsets: np.ones(len(offsets), bool), observe=setting.history_cap,
                ).observations  # fmt: skip
                for n, row in enumerate(part.row.tolist()):
                    entries = slice(int(part.indptr[n]), int(part.indptr[n + 1]))
                    columns = (part.item_keys, part.time, part.strong)
                    found.append((row + begin, *(c[entries].tolist() for c in columns)))
        return found

    one_by_one = seen([*range(len(stream))])
    assert seen(at) == one_by_one
    negative = setting.kinds_of_sign("negative")
    assert not any(stream[offset].kind in negative for offset, *_ in one_by_one)


def observed(state: PartitionState, stream: list[Event]) -> list[list[int]]:
    """Items of the history before each event that becomes an example."""
    part = state.apply_events(
        "events", Columns(stream), len(stream),
        wanted=lambda offsets: np.ones(len(offsets), bool), observe=512,
    ).observations  # fmt: skip
    return [c.tolist() for c in np.split(part.item_keys, part.indptr[1:-1])]


def test_an_example_does_not_see_what_was_disliked_by_then(fresh_state):
    stream = [
        Event("ann", "i0", "stream", 1_000),
        Event("ann", "i1", "stream", 2_000),
        Event("ann", "i0", "dislike", 3_000),  # no example
        Event("ann", "i2", "stream", 4_000),
        Event("ann", "i0", "stream", 5_000),  # the dislike is taken back
        Event("ann", "i3", "stream", 6_000),
    ]
    with fresh_state(SETTINGS) as state:
        assert observed(state, stream) == [
            [], keys("i0"), keys("i1"), keys("i2", "i1"), keys("i0", "i2", "i1"),
        ]  # fmt: skip


def test_a_positive_action_takes_a_dislike_back_and_a_neutral_one_does_not(fresh_state):
    for sign, expected in (("positive", []), ("neutral", keys("i0"))):
        actions = (Action(kind="dislike", sign="negative"), Action(kind="follow", sign=sign))
        with fresh_state(replace(SETTINGS, actions=actions)) as state:
            feed(state, [Event("ann", "i0", "dislike", 1), Event("ann", "i0", "follow", 2)], [])
            assert state.reactions("ann")[1].disliked.tolist() == expected


def test_signs_change_while_the_state_stays(tmp_path):
    """No rebuild: the same folder, opened with another sign of a kind that is declared."""
    stream = [Event("ann", "i0", "follow", 1), Event("ann", "i1", "dislike", 2)]
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        feed(state, stream, [])
        state.commit()
        assert state.reactions("ann")[1].disliked.tolist() == keys("i1")
    swapped = (Action(kind="dislike"), Action(kind="follow", sign="negative"))
    with closing(PartitionState(tmp_path, 0, replace(SETTINGS, actions=swapped))) as state:
        assert state.reactions("ann")[1].disliked.tolist() == keys("i0")


def test_a_dislike_leaves_with_the_window(fresh_state):
    with fresh_state(SETTINGS) as state:
        feed(state, [Event("ann", "i0", "dislike", BUCKET)], [])
        assert state.reactions("ann")[1].disliked.tolist() == keys("i0")
        feed(
            state, [Event("bob", "i1", "stream", 0), Event("bob", "i1", "stream", 11 * BUCKET)], []
        )
        assert state.reactions("ann")[1].disliked.tolist() == []


def test_an_erasure_takes_the_actions_along_from_the_files_too(tmp_path):
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        feed(state, [Event("ann-the-erased", "i0", "dislike", 1)], [])
        state.commit()
        state.database.flush()
        assert list(state.database.scan(PREFIX, PREFIX + b"\xff"))
        state.erase("events", "ann-the-erased", 1, 0)
        assert state.reactions("ann-the-erased")[1].disliked.tolist() == []
        state.commit()
        state.compact_erased()
    held = [path for path in tmp_path.iterdir() if b"ann-the-erased" in path.read_bytes()]
    assert held == []


def test_states_say_where_their_actions_differ(fresh_state):
    with fresh_state(SETTINGS) as state, fresh_state(SETTINGS) as other:
        feed(state, [Event("ann", "i0", "dislike", 1), Event("ann", "i0", "follow", 3)], [])
        feed(other, [Event("ann", "i0", "dislike", 2), Event("ann", "i0", "follow", 3)], [])
        state.commit(), other.commit()
        found = [d for d in differences(state, other) if d.part == "action"]
        assert [(d.key, d.left, d.right) for d in found] == [
            (("ann", "dislike", "podcast/i0"), "1970-01-01T00:00:00.001+00:00",
             "1970-01-01T00:00:00.002+00:00"),
        ]  # fmt: skip


def test_a_state_of_a_version_without_actions_begins_them_where_it_is(tmp_path):
    """And one that such a version went on with begins them again: it did not erase any."""
    stream = [Event("ann", "i0", "dislike", 1), Event("ann", "i1", "stream", 2)]
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        feed(state, stream, [])
        state.commit()
        assert state.actions_from == {"dislike": {}, "follow": {}}
        record = msgspec.json.decode(state.database.get(META) or b"", type=CommitRecord)
        older = msgspec.to_builtins(record)
        del older["actions_from"], older["keeps_shown"]
        state.database.put(META, msgspec.json.encode(older))
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        assert state.actions_from == {"dislike": {"events": 2}, "follow": {"events": 2}}
        assert state.reactions("ann")[1].disliked.tolist() == []
        assert dump(state).actions == {}
        assert len(state.history("ann")) == 2


@tried(1 / 10)
@given(streams, st.sampled_from(ACTIONS))
def test_declared_actions_change_nothing_else(fresh_state, stream, actions):
    with fresh_state(SETTINGS) as state, fresh_state(replace(SETTINGS, actions=())) as plain:
        feed(state, stream, [])
        feed(plain, stream, [])
        assert replace(dump(state), actions={}).differences(dump(plain)) == []
        assert dump(plain).actions == {}
    assert replace(SETTINGS, actions=actions).fingerprint() == SETTINGS.fingerprint()


def test_a_negative_action_is_no_demand_and_no_co_interaction(fresh_state):
    stream = [Event("ann", f"i{n}", "dislike", n + 1) for n in range(3)]
    with fresh_state(SETTINGS) as state:
        feed(state, [*stream, Erasure("bob")], [])
        found = dump(state)
        assert (found.pairs, found.demand) == ({}, {})
