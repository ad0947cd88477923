"""Impressions: exact counts by bucket, whatever the order, the cuts, kills and erasures."""

import itertools
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state import (
    ASSUMED_KIND,
    SHOWN_KIND,
    PartitionState,
    ShownItems,
    StateSettings,
    Window,
    item_key,
)
from state.compare import differences
from state.shown import ASSUMED, READ, SHOWN, SHOWN_PER_ENTRY, shown_of
from tests.state.conftest import SCRATCH
from tests.state.dumps import dump
from tests.state.streams_of_events import BUCKET, Columns, Erasure, Event, feed, tried

USERS = ("ann", "bob")
ITEMS = tuple(f"i{n}" for n in range(24))


@dataclass(frozen=True)
class Impression:
    user: str
    items: tuple[str, ...]
    time: int
    assumed: bool = False
    of: int = 0  # number of the list


impressions = st.builds(
    Impression,
    user=st.sampled_from(USERS),
    items=st.lists(st.sampled_from(ITEMS), min_size=1, max_size=5).map(tuple),
    time=st.integers(0, 14 * BUCKET),
    assumed=st.booleans(),
)
clocks = st.builds(
    Event, st.just("cyd"), st.just("i0"), st.just("stream"), st.integers(0, 14 * BUCKET)
)
records = st.lists(
    st.one_of(impressions, impressions, clocks, st.builds(Erasure, st.sampled_from(USERS))),
    max_size=40,
)
#: A small cap, so that users are shown more items than are remembered.
settings_of_state = st.builds(
    lambda buckets, cap: StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=buckets), history_cap=cap, delta_room=1 << 12
    ),
    st.integers(1, 14),
    st.sampled_from([1, 2, 512]),
)


def columns(shown: list[tuple[int, Impression]]) -> Columns:
    """Rows of impressions: offset and record."""
    rows = [
        (at, Event(r.user, item, ASSUMED_KIND if r.assumed else SHOWN_KIND, r.time))
        for at, r in shown
        for item in r.items
    ]
    found = Columns([event for _, event in rows])
    found.offset = np.array([at for at, _ in rows], np.int64)
    places = [place for _, r in shown for place, _ in enumerate(r.items, 1)]
    found.position = np.array(places, np.int64)
    found.list_code = np.array([r.of for _, r in shown for _ in r.items], np.int64)
    return found


def feed_all(state: PartitionState, stream: list, at: list[int]) -> None:
    """Apply records of two topics in this order, in batches that end at `at`."""
    offsets = {"events": 0, "shown": 0}
    edges = sorted({0, len(stream), *(a for a in at if a < len(stream))})
    for number, (begin, end) in enumerate(itertools.pairwise(edges)):
        for is_shown, part in itertools.groupby(
            stream[begin:end], lambda record: isinstance(record, Impression)
        ):
            batch = list(part)
            topic = "shown" if is_shown else "events"
            first = offsets[topic]
            offsets[topic] += len(batch)
            if is_shown:
                state.apply_events(
                    topic, columns(list(enumerate(batch, first))), first + len(batch)
                )
                continue
            for offset, record in enumerate(batch, first):
                if isinstance(record, Erasure):
                    state.erase(topic, record.user, offset, 0)
                else:
                    state.apply_events(topic, Columns([record], offset), offset + 1)
        if number % 2:
            state.commit()


def defined_shown(stream: list, setting: StateSettings) -> dict:
    """What each user was shown, from the set of all records at once."""
    watermark = max((r.time // BUCKET for r in stream if isinstance(r, Event)), default=-1)
    first = max(watermark - setting.window.buckets + 1, 0)
    found = {}
    for user in USERS:
        erased = [at for at, r in enumerate(stream) if r == Erasure(user)]
        own = [
            (item, r.time, r.assumed)
            for r in stream[max(erased, default=-1) + 1 :]
            if isinstance(r, Impression) and r.user == user
            for item in r.items
        ]
        # The first bucket from which on the user was shown no more items than are remembered.
        most, floor = SHOWN_PER_ENTRY * setting.history_cap, 0
        while len({item for item, time, _ in own if time // BUCKET >= floor}) > most:
            floor += 1
        kept = [row for row in own if row[1] // BUCKET >= max(floor, first)]
        counts = Counter((item, time // BUCKET) for item, time, assumed in kept if not assumed)
        # All that are assumed of a bucket count once.
        counts.update({(item, time // BUCKET): ASSUMED for item, time, assumed in kept if assumed})
        items = {
            item_key("podcast" if item < "i4" else "audiobook", item): (
                max(time for other, time, _ in kept if other == item),
                tuple(sorted((b, n) for (other, b), n in counts.items() if other == item)),
            )
            for item in {item for item, _, _ in kept}
        }
        if items:
            found[user] = items
    return found


cuts = st.lists(st.integers(0, 40), max_size=6)


@tried(1 / 2)
@given(records, settings_of_state, cuts)
def test_impressions_equal_their_definition(fresh_state, stream, setting, at):
    with fresh_state(setting) as state:
        feed_all(state, stream, at)
        assert dump(state).shown == defined_shown(stream, setting)
        # A record that is no good event anywhere counts once; one behind the window is refused.
        assert sum(state.counts.values()) == len(stream)


@tried(1 / 4)
@given(records, settings_of_state, cuts, st.randoms(use_true_random=False))
def test_neither_order_nor_kills_nor_redelivery_change_anything(stream, setting, at, chance):
    """Records of one user keep their order around an erasure; others come in any order."""
    shuffled = [r for r in stream if not isinstance(r, Erasure)]
    chance.shuffle(shuffled)
    shown = [r for r in shuffled if isinstance(r, Impression)]
    rest = [r for r in shuffled if isinstance(r, Event)]
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        state = PartitionState(Path(folder), 0, setting)
        try:
            for at_most in (*at, 40, 40):
                for topic, part in (("shown", shown), ("events", rest)):
                    # What was applied before comes again, as after a rebalance.
                    begin = max(0, (state.position(topic) or 0) - chance.randrange(4))
                    end = min(len(part), begin + at_most)
                    if end > begin:
                        batch = (
                            columns(list(enumerate(part[begin:end], begin)))
                            if topic == "shown"
                            else Columns(part[begin:end], begin)
                        )
                        state.apply_events(topic, batch, end)
                if chance.random() < 0.5:
                    state.commit()
                if chance.random() < 0.3:
                    state.close()
                    state = PartitionState(Path(folder), 0, setting)
            done = [state.position(topic) or 0 for topic in ("shown", "events")]
            applied = [*shown[: done[0]], *rest[: done[1]]]
            assert dump(state).shown == defined_shown(applied, setting)
        finally:
            state.close()


@tried(1 / 6)
@given(records, settings_of_state, cuts)
def test_impressions_change_nothing_else(fresh_state, stream, setting, at):
    """No history, no pair, no demand, no watermark."""
    rest = [r for r in stream if not isinstance(r, Impression)]
    with fresh_state(setting) as state, fresh_state(setting) as without:
        feed_all(state, stream, at)
        feed_all(without, rest, at)
        assert replace(dump(state), shown={}).differences(dump(without)) == []
    assert setting.fingerprint() == replace(setting, delta_room=1 << 13).fingerprint()


def defined_before(stream: list, setting: StateSettings, user: str, at_ms: int) -> dict:
    """Item key -> impressions in the buckets that had ended, and when the last of these ended."""
    found = {}
    for key, (_, buckets) in defined_shown(stream, setting).get(user, {}).items():
        ended = {b: n % ASSUMED + n // ASSUMED for b, n in buckets if (b + 1) * BUCKET <= at_ms}
        if ended:
            found[key] = (sum(ended.values()), (max(ended) + 1) * BUCKET)
    newest = sorted(found, key=lambda key: (-found[key][1], key))[:READ]
    return {key: found[key] for key in newest}


@tried(1 / 4)
@given(records, settings_of_state, cuts, st.integers(0, 15 * BUCKET))
def test_what_was_shown_before_a_moment_equals_its_definition(
    fresh_state, stream, setting, at, moment
):
    with fresh_state(setting) as state:
        feed_all(state, stream, at)
        for user in USERS:
            found = state.shown(user).before(moment)
            rows = zip(found.count.tolist(), found.end.tolist(), strict=True)
            assert found.items.tolist() == sorted(found.items.tolist())
            assert dict(zip(found.items.tolist(), rows, strict=True)) == defined_before(
                stream, setting, user, moment
            )


def test_of_many_items_those_shown_last_are_read(fresh_state):
    names = tuple(f"n{number}" for number in range(READ + 40))
    stream = [Impression("ann", names[:50], 500), Impression("ann", names[40:], 1_500)]
    with fresh_state(SETTINGS) as state:
        feed_all(state, stream, [])
        found = state.shown("ann").before(2_000)
        assert len(found.items) == READ
        assert set(found.end.tolist()) == {2_000}
        expected = defined_before(stream, SETTINGS, "ann", 2_000)
        assert found.items.tolist() == sorted(expected)
        assert len(state.shown("ann").before(1_999).items) == 50


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=12
    ),
    st.integers(0, 7),
)
def test_rows_of_an_item_are_summed_wherever_they_stand(rows, ended):
    """rows: item key, bucket, impressions; `ended`: buckets that have ended."""
    items, begin, count = np.array(rows, np.int64).T
    shown = ShownItems(
        items=items.astype(np.uint64), begin=begin * BUCKET, count=count, bucket_ms=BUCKET
    )
    found = shown.before(ended * BUCKET)
    own = {key: [(b, n) for other, b, n in rows if other == key and b < ended] for key in range(5)}
    assert list(
        zip(found.items.tolist(), found.end.tolist(), found.count.tolist(), strict=True)
    ) == [
        (key, (max(b for b, _ in seen) + 1) * BUCKET, sum(n for _, n in seen))
        for key, seen in own.items()
        if seen
    ]


SETTINGS = StateSettings(window=Window(bucket_ms=BUCKET, buckets=10), delta_room=1 << 12)


def test_a_user_reads_what_was_shown_inside_the_window(fresh_state):
    stream = [Impression("ann", ("i1", "i2", "i1"), 500), Impression("ann", ("i1",), 2_500)]
    with fresh_state(SETTINGS) as state:
        assert len(state.shown("ann")) == 0
        feed_all(state, stream, [])
        found = state.shown("ann")
        one, two = item_key("podcast", "i1"), item_key("podcast", "i2")
        rows = zip(found.items.tolist(), found.begin.tolist(), found.count.tolist(), strict=True)
        assert sorted(rows) == sorted([(one, 0, 2), (one, 2_000, 1), (two, 0, 1)])
        feed(state, [Event("bob", "i0", "stream", 11 * BUCKET)], [])
        assert set(state.shown("ann").items.tolist()) == {one}


def test_an_impression_behind_the_window_is_refused_once(fresh_state):
    with fresh_state(SETTINGS) as state:
        feed(state, [Event("bob", "i0", "stream", 20 * BUCKET)], [])
        old = [(0, Impression("ann", ("i1", "i2"), 0)), (1, Impression("ann", ("i3",), 20_000))]
        applied = state.apply_events("shown", columns(old), 2)
        assert (applied.applied, applied.too_old.tolist()) == (1, [0])
        assert state.counts == {"applied": 2, "refused": 1}


def test_a_refused_impression_is_named_by_its_row_of_the_whole_batch(fresh_state):
    """Also where the batch begins with records that were applied before."""
    batch = [(0, Impression("ann", ("i1", "i2"), 20 * BUCKET)), (1, Impression("ann", ("i3",), 0))]
    with fresh_state(SETTINGS) as state:
        feed(state, [Event("bob", "i0", "stream", 20 * BUCKET)], [])
        state.apply_events("shown", columns(batch[:1]), 1)
        applied = state.apply_events("shown", columns(batch), 2)
        assert (applied.applied, applied.skipped, applied.too_old.tolist()) == (0, 1, [2])


def test_an_erasure_takes_impressions_along_from_the_files_too(tmp_path):
    with closing(PartitionState(tmp_path, 0, SETTINGS)) as state:
        feed_all(state, [Impression("ann-the-erased", ("i1",), 1)], [])
        state.commit()
        state.database.flush()
        assert list(state.database.scan(SHOWN, SHOWN + b"\xff"))
        state.erase("events", "ann-the-erased", 0, 0)
        assert len(state.shown("ann-the-erased")) == 0
        state.commit()
        state.compact_erased()
    held = [path for path in tmp_path.iterdir() if b"ann-the-erased" in path.read_bytes()]
    assert held == []


def test_states_say_where_their_impressions_differ(fresh_state):
    with fresh_state(SETTINGS) as state, fresh_state(SETTINGS) as other:
        feed_all(state, [Impression("ann", ("i1", "i1"), 1)], [])
        feed_all(other, [Impression("ann", ("i1",), 1)], [])
        state.commit(), other.commit()
        last = "1970-01-01T00:00:00.001+00:00"
        assert [(d.part, d.key, d.left, d.right) for d in differences(state, other)] == [
            ("shown", ("ann", "podcast/i1"), {"last": last, "by_bucket": {0: 2}},
             {"last": last, "by_bucket": {0: 1}}),
        ]  # fmt: skip


def test_of_a_user_who_is_shown_very_much_the_oldest_days_are_forgotten_in_any_order(fresh_state):
    """Eight items are remembered here; ten were shown, five on each of two days."""
    setting = replace(SETTINGS, history_cap=1)
    first, second = ITEMS[:5], ITEMS[5:10]
    stream = [
        Impression("ann", first, 500),
        Impression("ann", second, 1_500),
        # It comes late, to a day that does not count any more; also after a restart.
        Impression("ann", (ITEMS[0], ITEMS[1]), 600),
        Impression("ann", (ITEMS[0],), 1_700),
    ]
    expected = defined_shown(stream, setting)
    assert len(expected["ann"]) == 6
    for order in itertools.permutations(stream):
        with fresh_state(setting) as state:
            feed_all(state, list(order), [1, 2, 3])
            assert dump(state).shown == expected
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        for number, record in enumerate(stream):
            with closing(PartitionState(Path(folder), 0, setting)) as state:
                state.apply_events("shown", columns([(number, record)]), number + 1)
                state.commit()
        with closing(PartitionState(Path(folder), 0, setting)) as state:
            assert dump(state).shown == expected


def test_what_earlier_versions_stored_in_the_order_of_arrival_is_put_in_order():
    """Item 7 was shown in buckets 4 and 2, then item 3 in bucket 5."""
    # 1 << 32: the number that says "assumed" in stored states; it never changes.
    parts = ([(7, 2), (3, 1)], [4_500, 5_100], [(4, 1), (2, 3), (5, 1 << 32)])
    stored = msgspec.msgpack.encode((1, [np.array(part, "<i8").tobytes() for part in parts]))
    found = shown_of(stored)
    assert found.floor == 1
    assert found.rows[:, :3].tolist() == [[3, 5, ASSUMED], [7, 2, 3], [7, 4, 1]]
    assert found.rows[[0, 2], 3].tolist() == [5_100, 4_500]
    assert found.live(5, 9).rows[:, 0].tolist() == [3]
    assert found.live(0, 1)[0] == 5, "of one item the buckets from 5 on are remembered"


def test_what_is_assumed_counts_once_a_day(fresh_state):
    """Beside what was seen; however often a list is written."""
    stream = [Impression("ann", ("i1",), 500 + n, assumed=n != 7) for n in range(9)]
    with fresh_state(SETTINGS) as state, fresh_state(SETTINGS) as other:
        feed_all(state, stream[:7], [])
        assert state.shown("ann").count.tolist() == [1]
        feed_all(other, stream, [])
        assert other.shown("ann").count.tolist() == [2]
        state.commit(), other.commit()
        [found] = [d for d in differences(state, other) if d.part == "shown"]
        assert (found.left["by_bucket"], found.right["by_bucket"]) == (
            {0: "0 and assumed"}, {0: "1 and assumed"}
        )  # fmt: skip
