"""Checkpoints: small uploads, verified reads, and the one before when one is broken."""

import json
import random
from pathlib import Path

import pytest

from state import (
    ArtifactStore,
    Checkpoints,
    CorruptArtifact,
    Missing,
    PartitionState,
    StateSettings,
    Window,
    WrongState,
    merge_checkpoints,
    open_or_restore,
)
from state.checkpoint import OTHER_LOG
from state.commit_record import FORMAT
from state.database import META
from state.merge import merge_folders
from tests.state.dumps import dump
from tests.state.streams_of_events import Columns, Event

STREAM = [Event("ann", f"i{n}", "stream", 1_000 * n) for n in range(6)]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(ArtifactStore(str(tmp_path / "store")), keep=2)


def advance(state, upto):
    start = state.position("events") or 0
    state.apply_events("events", Columns(STREAM[start:upto], start), upto)


def test_a_restored_state_is_the_state(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        advance(state, 4)
        checkpoints.create(state, tmp_path / "scratch", 0)
        restored = open_or_restore(checkpoints, tmp_path / "copy", 0, state.settings)
        assert dump(restored).differences(dump(state)) == []
        assert restored.positions == {"events": 4}
        restored.close()


def test_a_checkpoint_is_at_the_beginning_of_a_topic_that_it_does_not_name(
    fresh_state, checkpoints, tmp_path
):
    with fresh_state() as state:
        advance(state, 4)
        name = checkpoints.create(state, tmp_path / "scratch", 0).name
    found = [checkpoints.positions(0, topic) for topic in ("events", "users")]
    assert found == [[(name, 4)], [(name, 0)]]


def test_files_that_are_in_the_store_are_not_uploaded_again(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        advance(state, 5)
        first = checkpoints.create(state, tmp_path / "scratch", 0)
        second = checkpoints.create(state, tmp_path / "scratch", 1)
        assert second.new_bytes < first.new_bytes / 2


def test_only_the_last_checkpoints_stay(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        for upto in (1, 2, 3, 4):
            advance(state, upto)
            checkpoints.create(state, tmp_path / "scratch", upto)
        names = checkpoints.names(0)
        manifests = [checkpoints.manifest(0, name) for name in names]
        assert [manifest.positions["events"] for manifest in manifests] == [3, 4]
        # Files that no kept checkpoint names are gone, and all others are there.
        named = {file["sha256"] for manifest in manifests for file in manifest.files.values()}
        stored = {p.name for p in (tmp_path / "store/checkpoints/00000/files").iterdir()}
        assert stored == named


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
    path.unlink()


def flip_a_digit(path):
    """Damage that is still JSON of the right form."""
    path.write_text(path.read_text().replace('"watermark":0', '"watermark":7'))


def newest_file(partition, old):
    """A file that only the newest checkpoint has."""
    files = (partition / "files").iterdir()
    return next(p for p in files if p.name not in old and p.stat().st_size)


def newest_manifest(partition, _old):
    return max(partition.glob("*.json"))


@pytest.mark.parametrize(
    ("broken", "damage"),
    [
        *((newest_file, damage) for damage in (flip, cut, remove)),
        *((newest_manifest, damage) for damage in (flip, cut, flip_a_digit)),
    ],
)
def test_a_broken_checkpoint_falls_back_to_the_one_before(
    fresh_state, checkpoints, tmp_path, caplog, broken, damage
):
    partition = tmp_path / "store/checkpoints/00000"
    with fresh_state() as state:
        advance(state, 2)
        checkpoints.create(state, tmp_path / "scratch", 0)
        old = {p.name for p in (partition / "files").iterdir()}
        advance(state, 5)
        checkpoints.create(state, tmp_path / "scratch", 1)
    damage(broken(partition, old))
    restored = open_or_restore(checkpoints, tmp_path / "copy", 0, StateSettings())
    assert restored.positions == {"events": 2}
    restored.close()
    assert "is broken, trying the one before" in caplog.text
    assert "restored the older checkpoint" in caplog.text


def test_checkpoints_that_are_replaced_while_one_is_fetched_are_not_missed(
    fresh_state, tmp_path, monkeypatch, caplog
):
    """Another worker goes on with the partition, and its checkpoints replace those listed."""
    store = ArtifactStore(str(tmp_path / "store"))
    checkpoints, others = Checkpoints(store, keep=2), Checkpoints(store, keep=1)
    with fresh_state() as state:
        for upto in (1, 2):
            advance(state, upto)
            checkpoints.create(state, tmp_path / "scratch", upto)
        fetch, left = checkpoints.fetch, [3, 4]

        def fetch_late(*asked):
            if left:
                upto = left.pop(0)
                advance(state, upto)
                others.create(state, tmp_path / "scratch", upto)
            return fetch(*asked)

        monkeypatch.setattr(checkpoints, "fetch", fetch_late)
        found = checkpoints.restore(0, tmp_path / "copy")
        assert found is not None
        assert found.positions == {"events": 4}
        assert "is broken" not in caplog.text


def test_a_broken_checkpoint_never_costs_a_further_local_state(fresh_state, checkpoints, tmp_path):
    settings = StateSettings()
    local = PartitionState(tmp_path / "local", 0, settings)
    advance(local, 4)
    local.commit()
    local.close()
    with fresh_state() as other:
        advance(other, 2)
        checkpoints.create(other, tmp_path / "scratch", 0)
        advance(other, 6)
        checkpoints.create(other, tmp_path / "scratch", 1)
    cut(newest_manifest(tmp_path / "store/checkpoints/00000", ()))
    found = open_or_restore(checkpoints, tmp_path / "local", 0, settings)
    assert found.positions == {"events": 4}
    found.close()


def test_without_a_whole_checkpoint_the_log_is_read_again_and_that_is_said(
    fresh_state, checkpoints, tmp_path, caplog
):
    with fresh_state() as state:
        advance(state, 2)
        checkpoints.create(state, tmp_path / "scratch", 0)
    remove(newest_file(tmp_path / "store/checkpoints/00000", ()))
    found = open_or_restore(checkpoints, tmp_path / "copy", 0, StateSettings())
    assert found.positions == {}
    found.close()
    assert "none of 1 checkpoints is whole" in caplog.text


def _files(tmp_path):
    return tmp_path / "store" / "checkpoints" / "00000" / "files"


@pytest.mark.parametrize("place", [0, 12, 40, -2])
def test_a_damaged_manifest_falls_back_to_the_one_before(
    fresh_state, checkpoints, tmp_path, caplog, place
):
    with fresh_state() as state:
        for upto in (2, 5):
            advance(state, upto)
            checkpoints.create(state, tmp_path / "scratch", upto)
    newest = tmp_path / "store/checkpoints/00000" / f"{checkpoints.names(0)[-1]}.json"
    content = bytearray(newest.read_bytes())
    content[place] ^= 1
    newest.write_bytes(content)
    manifest = checkpoints.restore(0, tmp_path / "copy")
    assert manifest is not None
    assert manifest.positions == {"events": 2}
    assert newest.stem in caplog.text


@pytest.mark.parametrize("harm", ["truncated", "flipped"])
def test_a_file_found_broken_is_uploaded_again(fresh_state, checkpoints, tmp_path, harm):
    with fresh_state() as state:
        advance(state, 5)
        checkpoints.create(state, tmp_path / "scratch", 0)
        harmed = next(p for p in _files(tmp_path).iterdir() if p.stat().st_size > 100)
        content = bytearray(harmed.read_bytes())
        content[50] ^= 1
        harmed.write_bytes(content[:50] if harm == "truncated" else content)
        if harm == "flipped":
            assert checkpoints.restore(0, tmp_path / "copy") is None  # whoever reads it finds out
        checkpoints.create(state, tmp_path / "scratch", 1)
        assert checkpoints.restore(0, tmp_path / "whole") is not None


def test_broken_checkpoints_do_not_push_out_whole_ones(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        for upto in (5, 6):
            advance(state, upto)
            checkpoints.create(state, tmp_path / "scratch", upto)
    for file in _files(tmp_path).iterdir():
        file.write_bytes(b"")
    fresh = open_or_restore(checkpoints, tmp_path / "mine", 0, StateSettings())
    assert fresh.positions == {}
    advance(fresh, 2)  # behind the broken ones, and kept all the same
    checkpoints.create(fresh, tmp_path / "scratch", 7)
    fresh.close()
    manifest = checkpoints.restore(0, tmp_path / "copy")
    assert manifest is not None
    assert manifest.positions == {"events": 2}


def test_a_death_while_a_restored_state_moves_in_leaves_a_whole_state(
    fresh_state, checkpoints, tmp_path, monkeypatch
):
    """The old state is moved aside before the restored one moves in: no step leaves half of one."""
    mine = open_or_restore(checkpoints, tmp_path / "mine", 0, StateSettings())
    advance(mine, 2)
    mine.commit()
    mine.close()
    with fresh_state() as theirs:
        advance(theirs, 5)
        checkpoints.create(theirs, tmp_path / "scratch", 0)
    for dies_after in (0, 1):
        moves = []

        def rename(self, target, moves=moves, dies_after=dies_after, really=Path.rename):
            if len(moves) == dies_after:
                raise KeyboardInterrupt
            moves.append(target)
            return really(self, target)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Path, "rename", rename)
            open_or_restore(checkpoints, tmp_path / "mine", 0, StateSettings())
    mine = open_or_restore(checkpoints, tmp_path / "mine", 0, StateSettings())
    assert mine.positions == {"events": 5}
    mine.close()


def test_two_workers_that_upload_and_prune_one_partition_leave_whole_checkpoints(
    fresh_state, checkpoints, tmp_path, monkeypatch
):
    """Another worker prunes between the upload of the files and that of their manifest."""
    other = Checkpoints(checkpoints.store, keep=2)
    with fresh_state() as mine, fresh_state() as theirs:
        advance(theirs, 2)
        other.create(theirs, tmp_path / "theirs", 0)
        advance(mine, 5)
        put = checkpoints.store.put_bytes

        def prune_first(content, path):
            with monkeypatch.context() as again:
                again.setattr(checkpoints.store, "put_bytes", put)
                advance(theirs, 3)
                other.create(theirs, tmp_path / "theirs", 1)
            put(content, path)

        with monkeypatch.context() as patched:
            patched.setattr(checkpoints.store, "put_bytes", prune_first)
            checkpoints.create(mine, tmp_path / "mine", 2)
        manifest = checkpoints.restore(0, tmp_path / "copy")
    assert manifest is not None
    assert manifest.positions == {"events": 5}


def test_uploads_that_died_are_cleared_away_after_a_day(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        advance(state, 2)
        checkpoints.create(state, tmp_path / "scratch", 0)
        left = _files(tmp_path) / "abc.part"
        left.write_bytes(b"half")
        now_ms = int(left.stat().st_mtime * 1000)
        checkpoints.create(state, tmp_path / "scratch", now_ms + 3_600_000)
        assert left.exists()
        checkpoints.create(state, tmp_path / "scratch", now_ms + 2 * 86_400_000)
        assert not left.exists()


OTHERS = {
    "state.window.bucket_ms = 86400000, not 3600000": {"window": Window(bucket_ms=3_600_000)},
    "state.window.buckets = 90, not 7": {"window": Window(buckets=7)},
    "state.graph_kinds = ['stream'], not ['follow', 'stream']": {
        "graph_kinds": ("stream", "follow")
    },
    "state.history_cap = 512, not 100": {"history_cap": 100},
}


@pytest.mark.parametrize("said", OTHERS)
def test_a_state_of_other_settings_is_refused_and_the_setting_named(
    fresh_state, checkpoints, tmp_path, said
):
    other = StateSettings(**OTHERS[said])
    with fresh_state() as state:
        advance(state, 3)
        checkpoints.create(state, tmp_path / "scratch", 0)
        state.commit()
        checkpoints.fetch(0, checkpoints.names(0)[-1], tmp_path / "local")

    refusals = [
        lambda: open_or_restore(checkpoints, tmp_path / "copy", 0, other),
        lambda: open_or_restore(checkpoints, tmp_path / "local", 0, other),
        lambda: PartitionState(tmp_path / "local", 0, other, read_only=True),
        lambda: merge_checkpoints(checkpoints, other),
    ]
    for refused in refusals:
        with pytest.raises(WrongState) as error:
            refused()
        assert said in str(error.value)
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "copy.incoming").exists()
    PartitionState(tmp_path / "local", 0, StateSettings()).close()


@pytest.mark.parametrize("found", [FORMAT - 1, FORMAT + 1])
def test_a_state_of_another_format_is_refused(checkpoints, tmp_path, monkeypatch, found):
    settings = StateSettings()
    with monkeypatch.context() as version:
        for module in ("commit_record", "stored_partition", "partition", "checkpoint"):
            version.setattr(f"state.{module}.FORMAT", found)
        state = PartitionState(tmp_path / "made", 0, settings)
        advance(state, 3)
        checkpoints.create(state, tmp_path / "scratch", 0)
        state.close()
    with pytest.raises(WrongState, match=f"format {found}; this version reads {FORMAT}"):
        PartitionState(tmp_path / "made", 0, settings)
    local = PartitionState(tmp_path / "local", 0, settings)
    advance(local, 1)
    local.commit()
    local.close()
    for folder in ("local", "copy"):
        with pytest.raises(WrongState, match=f"format {found}; this version reads {FORMAT}"):
            open_or_restore(checkpoints, tmp_path / folder, 0, settings)
    with pytest.raises(WrongState, match=f"format {found}"):
        merge_checkpoints(checkpoints, settings)
    # What could not be used has not replaced what could.
    local = PartitionState(tmp_path / "local", 0, settings)
    assert local.positions == {"events": 1}
    local.close()


def test_a_commit_record_of_another_form_is_refused_by_its_format(tmp_path):
    """Format 1 counted the runs of a bucket where format 2 lists them."""
    settings = StateSettings()
    state = PartitionState(tmp_path / "old", 0, settings)
    state.database.put(META, b'{"format":1,"fingerprint":"","partition":0,"runs":{"7":3}}')
    state.close()
    with pytest.raises(WrongState, match=f"format 1; this version reads {FORMAT}"):
        PartitionState(tmp_path / "old", 0, settings)


def test_a_manifest_from_before_there_were_digests_is_refused_by_its_format(checkpoints, tmp_path):
    checkpoints.store.put_bytes(
        b'{"partition":0,"positions":{"events":9},"watermark":0,"format":1,"fingerprint":"",'
        b'"files":{},"created_at":0}',
        "checkpoints/00000/00000000000000000009-00000000000000-0000.json",
    )
    with pytest.raises(WrongState, match=f"format 1; this version reads {FORMAT}"):
        open_or_restore(checkpoints, tmp_path / "copy", 0, StateSettings())


def test_a_damaged_commit_record_is_named(tmp_path):
    state = PartitionState(tmp_path / "damaged", 0, StateSettings())
    state.database.put(META, b'{"format":')
    state.close()
    with pytest.raises(WrongState, match="is damaged"):
        PartitionState(tmp_path / "damaged", 0, StateSettings())


def test_what_a_state_was_made_without_stays_with_it(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        state.pass_over("events", 2)
        advance(state, 4)
        state.pass_over("events", 5)
        checkpoints.create(state, tmp_path / "scratch", 0)
        advance(state, 6)
        checkpoints.create(state, tmp_path / "scratch", 1)
    restored = open_or_restore(checkpoints, tmp_path / "copy", 0, StateSettings())
    expected = (Missing("events", 0, 2), Missing("events", 4, 5))
    assert restored.missing == expected
    assert restored.positions == {"events": 6}
    assert checkpoints.manifest(0, checkpoints.names(0)[-1]).missing == expected
    restored.close()


def test_after_one_percent_of_change_few_bytes_are_new(fresh_state, checkpoints, tmp_path):
    """As a worker does it: merge runs, snapshot, upload; a day of traffic of 1 % of the users."""
    chance, day = random.Random(7), 86_400_000
    stream = [
        Event(
            f"user-{n % 1_000}", f"i{chance.randrange(2_000)}", "stream", chance.randrange(90) * day
        )
        for n in range(30_000)
    ]
    stream += [
        Event(f"user-{n % 10}", f"i{chance.randrange(2_000)}", "stream", 90 * day)
        for n in range(300)
    ]
    sizes = []
    with fresh_state() as state:
        for upto in (30_000, 30_300):
            start = state.position("events") or 0
            for at in range(start, upto, 3_000):
                end = min(at + 3_000, upto)
                state.apply_events("events", Columns(stream[at:end], at), end)
                state.commit()
            state.merge_runs()
            uploaded = checkpoints.create(state, tmp_path / "scratch", upto)
            sizes.append((uploaded.new_bytes, uploaded.manifest.bytes))
    (first, whole), (second, _) = sizes
    assert first == whole
    assert second < whole / 10


def test_the_further_state_wins_between_disk_and_store(fresh_state, checkpoints, tmp_path):
    settings = StateSettings()
    mine = open_or_restore(checkpoints, tmp_path / "mine", 0, settings)
    advance(mine, 2)
    mine.commit()
    mine.close()
    with fresh_state() as theirs:
        advance(theirs, 5)
        checkpoints.create(theirs, tmp_path / "scratch", 0)
    mine = open_or_restore(checkpoints, tmp_path / "mine", 0, settings)
    assert mine.positions == {"events": 5}
    mine.close()


def test_what_is_put_aside_is_not_restored_and_goes_with_the_next_checkpoint(
    fresh_state, checkpoints, tmp_path
):
    def aside():
        names = checkpoints.store.listing(checkpoints._folder(0))
        return [name for name in names if name.endswith(OTHER_LOG)]

    with fresh_state() as state:
        for upto in (2, 3):
            advance(state, upto)
            checkpoints.create(state, tmp_path / "scratch", 0)
        checkpoints.put_aside(0)
        assert checkpoints.names(0) == []
        assert checkpoints.restore(0, tmp_path / "into") is None
        assert len(aside()) == 2
        advance(state, 4)
        made = checkpoints.create(state, tmp_path / "scratch", 0)
    assert (checkpoints.names(0), aside()) == ([made.name], [])


def test_a_state_that_was_never_committed_adds_nothing(fresh_state):
    with fresh_state() as state:
        found = merge_folders({0: state.folder}, state.settings)
    assert (found.watermark, found.offsets, len(found.catalogue)) == (-1, {}, 0)


def test_merging_without_checkpoints_says_so(checkpoints):
    with pytest.raises(ValueError, match="has a worker run yet"):
        merge_checkpoints(checkpoints, StateSettings())


def test_partitions_that_are_all_broken_stop_the_merge(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        advance(state, 3)
        checkpoints.create(state, tmp_path / "scratch", 0)
    for file in (tmp_path / "store/checkpoints/00000/files").iterdir():
        file.write_bytes(b"")
    with pytest.raises(CorruptArtifact, match="partition 0"):
        merge_checkpoints(checkpoints, StateSettings())


def test_an_artifact_is_verified_when_it_is_fetched(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1234")
    store.publish("dynamic", "g1", folder)
    assert store.names("dynamic") == ["g1"]
    assert (store.fetch("dynamic", "g1", tmp_path / "a") / "weights").read_bytes() == b"1234"
    (tmp_path / "store/dynamic/g1/weights").write_bytes(b"1235")
    with pytest.raises(CorruptArtifact, match="sha256"):
        store.fetch("dynamic", "g1", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_files_that_are_not_needed_are_not_fetched(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("weights", "items"):
        (folder / name).write_bytes(name.encode())
    store.publish("dynamic", "g1", folder)
    (tmp_path / "store/dynamic/g1/weights").unlink()
    named = []

    def left_out(manifest):
        named.extend(manifest["files"])
        return ("weights", "missing")

    fetched = store.fetch("dynamic", "g1", tmp_path / "a", left_out)
    assert named == ["items", "weights"]
    assert (fetched / "items").read_bytes() == b"items"
    assert not (fetched / "weights").exists()
    assert json.loads((fetched / "manifest.json").read_text())["files"].keys() == set(named)


def test_a_manifest_cannot_name_files_outside_of_its_folder(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    store.put_bytes(
        b'{"files": {"../evil": {"bytes": 0, "sha256": ""}}}', "dynamic/g1/manifest.json"
    )
    with pytest.raises(CorruptArtifact, match="outside"):
        store.fetch("dynamic", "g1", tmp_path / "into")
