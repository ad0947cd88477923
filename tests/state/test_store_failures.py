"""An artifact store that fails: attempts, what local states need it for, and what is not lost."""

import hashlib
import shutil

import pytest
from fsspec.implementations.local import LocalFileSystem

from state import (
    ArtifactStore,
    Checkpoints,
    CorruptArtifact,
    PartitionState,
    Patience,
    StateSettings,
    StoreUnavailable,
    item_key,
    merge_checkpoints,
    open_or_restore,
)
from tests.state.streams_of_events import Columns, Event

STREAM = [Event("ann", f"i{n}", "stream", 1_000 * n) for n in range(9)]
SETTINGS = StateSettings()
DAY = 86_400_000


class Failing:
    """Pauses and failures of a store whose operations fail as often as a test says."""

    def __init__(self, store, monkeypatch):
        self.pauses, self.counted, self.left = [], [], 0
        store._sleep = self.pauses.append
        store.failed = self.counted.append
        # Not the one that all stores of a process share.
        store.files = LocalFileSystem(skip_instance_cache=True)
        for name in ("put_file", "pipe_file", "get_file", "cat_file", "ls", "size", "rm_file"):
            monkeypatch.setattr(store.files, name, self._failing(getattr(store.files, name)))

    def _failing(self, really):
        def call(*args, **kwargs):
            if self.left:
                self.left -= 1
                raise ConnectionError("the network is down")
            return really(*args, **kwargs)

        return call


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "store"), patience=Patience(attempts=3))


@pytest.fixture
def failing(store, monkeypatch):
    return Failing(store, monkeypatch)


def advance(state, upto, topic="events"):
    start = state.position(topic) or 0
    state.apply_events(topic, Columns(STREAM[start:upto], start), upto)
    state.commit()


def test_each_operation_is_tried_again_with_growing_pauses_and_counted(store, failing, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    expected = {"bytes": 7, "sha256": hashlib.sha256(b"content").hexdigest()}
    operations = {
        "write": [
            lambda: store.put_bytes(b"content", "kind/a/bytes"),
            lambda: store.put_file(tmp_path / "file", "kind/a/file"),
        ],
        "read": [
            lambda: store.read_bytes("kind/a/bytes"),
            lambda: store.get_file("kind/a/file", tmp_path / "got", expected),
        ],
        "list": [lambda: store.listing("kind/a"), lambda: store.size("kind/a/file")],
        "remove": [lambda: store.remove("kind/a/file")],
    }
    for operation, calls in operations.items():
        for call in calls:
            failing.left, failing.pauses[:], failing.counted[:] = 2, [], []
            call()
            assert failing.counted == [operation] * 2
            assert failing.pauses == [0.1, pytest.approx(0.3)]
    assert store.listing("kind/a") == ["bytes"]


def test_the_last_attempt_says_what_failed(store, failing):
    failing.left = 3
    with pytest.raises(StoreUnavailable, match=r"list checkpoints.*3 times.*network is down"):
        store.listing("checkpoints")
    assert isinstance(StoreUnavailable(), OSError)


def test_what_is_not_there_is_an_answer(store, failing):
    assert store.listing("nothing") == []
    assert store.size("nothing") is None
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nothing")
    with pytest.raises(CorruptArtifact):
        store.manifest("static", "nothing")
    assert failing.counted == []


def test_a_folder_that_is_gone_is_no_empty_store(store, tmp_path):
    """As where a volume is not mounted any more: an empty state would be made in its place."""
    store._sleep = lambda _seconds: None
    store.put_bytes(b"1", "kind/a")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StoreUnavailable, match="is gone"):
        store.listing("checkpoints")


def test_local_state_opens_without_the_store(store, failing, tmp_path, caplog):
    checkpoints = Checkpoints(store)
    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    advance(state, 5)
    state.close()
    failing.left = 1_000
    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    assert state.committed == {"events": 5}
    assert "used without a look at the checkpoints" in caplog.text
    state.close()


def test_without_local_state_nothing_is_begun_in_the_place_of_a_checkpoint(
    store, failing, tmp_path
):
    checkpoints = Checkpoints(store)
    state = open_or_restore(checkpoints, tmp_path / "a", 0, SETTINGS)
    advance(state, 5)
    checkpoints.create(state, tmp_path / "scratch", 0)
    state.close()
    failing.left = 1_000
    with pytest.raises(StoreUnavailable):
        open_or_restore(checkpoints, tmp_path / "b", 0, SETTINGS)
    assert not (tmp_path / "b").exists()
    failing.left = 0
    state = open_or_restore(checkpoints, tmp_path / "b", 0, SETTINGS)
    assert state.committed == {"events": 5}
    state.close()


def test_an_upload_that_fails_in_any_place_leaves_the_checkpoints_whole(store, failing, tmp_path):
    """The store fails from the n-th operation on, for every n; then the upload is repeated."""
    store._patience = Patience(attempts=1)
    checkpoints = Checkpoints(store, keep=2)
    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    really, calls = store._tried, 0

    def counted(operation, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > allowed:
            raise StoreUnavailable("away")
        return really(operation, *args, **kwargs)

    allowed, failures = 0, 0
    store._tried = counted
    for upto in range(1, 9):
        advance(state, upto)
        while True:
            calls = 0
            try:
                checkpoints.create(state, tmp_path / "scratch", upto)
            except StoreUnavailable:
                failures += 1
                allowed += 5
                with_all = Checkpoints(ArtifactStore(store.url))
                if upto > 1:
                    restored = with_all.restore(0, tmp_path / "copy")
                    assert restored.positions["events"] in (upto - 1, upto)
                    shutil.rmtree(tmp_path / "copy")
                continue
            allowed = upto
            break
    assert failures > 16
    state.close()


# Which of two states is used


def two_topics(folder, events, users):
    """A state that has read so many events and users."""
    state = PartitionState(folder, 0, SETTINGS)
    advance(state, events)
    state.apply_users("users", [(n, f"u{n}", b"{}") for n in range(users)], users)
    state.commit()
    return state


LOCAL = (4, 4)


@pytest.mark.parametrize(
    ("theirs", "taken"),
    [
        ((4, 4), False),  # equal
        ((3, 8), False),  # a greater sum, but behind on events
        ((8, 3), False),  # a greater sum, but behind on users
        ((3, 4), False),
        ((4, 5), True),
        ((5, 4), True),
        ((7, 7), True),
    ],
)
def test_a_checkpoint_replaces_local_state_only_if_it_is_behind_on_no_topic(
    store, tmp_path, theirs, taken
):
    checkpoints = Checkpoints(store)
    state = two_topics(tmp_path / "theirs", *theirs)
    checkpoints.create(state, tmp_path / "scratch", 0)
    state.close()
    two_topics(tmp_path / "00000", *LOCAL).close()
    (tmp_path / "00000" / "here").touch()
    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    assert (tmp_path / "00000" / "here").exists() is not taken
    events, users = theirs if taken else LOCAL
    assert state.committed == {"events": events, "users": users}
    state.close()


def test_an_older_checkpoint_that_is_ahead_on_all_topics_is_found_behind_one_that_is_not(
    store, tmp_path
):
    checkpoints = Checkpoints(store)
    for events, users in ((5, 5), (1, 20)):
        state = two_topics(tmp_path / f"theirs-{events}", events, users)
        checkpoints.create(state, tmp_path / "scratch", 0)
        state.close()
    two_topics(tmp_path / "00000", *LOCAL).close()
    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    assert state.committed == {"events": 5, "users": 5}
    state.close()


def test_a_topic_that_one_of_two_states_does_not_know_counts_from_its_beginning(store, tmp_path):
    checkpoints = Checkpoints(store)
    state = two_topics(tmp_path / "theirs", 9, 0)
    checkpoints.create(state, tmp_path / "scratch", 0)
    state.close()
    two_topics(tmp_path / "00000", *LOCAL).close()
    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    assert state.committed == {"events": 4, "users": 4}
    state.close()


# Merging


@pytest.mark.parametrize("ahead", [0, 1])
def test_partitions_whose_watermarks_differ_are_merged_in_the_window_of_the_later_one(
    store, tmp_path, ahead
):
    """What has left that window counts nowhere, also not where a partition's clock is behind."""
    checkpoints = Checkpoints(store)
    watermark = SETTINGS.window.buckets + 4
    first = SETTINGS.window.first_live(watermark)
    pairs = {
        1 - ahead: [(first - 1, "gone", "gone too"), (first, "first", "first too")],
        ahead: [(watermark, "last", "last too")],
    }
    for partition, seen in pairs.items():
        state = PartitionState(tmp_path / str(partition), partition, SETTINGS)
        events = [
            Event(f"user-{partition}-{day}", item, "stream", day * DAY)
            for day, *pair in seen
            for item in pair
        ]
        state.apply_events("events", Columns(events, 0), len(events))
        checkpoints.create(state, tmp_path / "scratch", 0)
        state.close()
    merged = merge_checkpoints(checkpoints, SETTINGS)
    assert merged.watermark == watermark
    counts = merged.co_interactions
    found = {
        tuple(sorted((int(counts.item_keys[a]), int(counts.item_keys[b])))): int(n)
        for a, b, n in zip(counts.left, counts.right, counts.count, strict=True)
    }
    kept = [("first", "first too"), ("last", "last too")]
    expected = {}
    for pair in kept:
        one, other = sorted(item_key(Event("", item, "", 0).item_type, item) for item in pair)
        expected |= {(one, one): 1, (one, other): 1, (other, other): 1}
    assert found == expected
