"""Checkpoints: small uploads, verified reads, and the one before when one is broken."""

from pathlib import Path

import pytest

from state import (
    ArtifactStore,
    Checkpoints,
    CorruptArtifact,
    StateSettings,
    Window,
    WrongState,
    merge_checkpoints,
)
from state.dump import dump
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
        restored = checkpoints.open_or_restore(tmp_path / "copy", 0, state.settings)
        assert dump(restored).differences(dump(state)) == []
        assert restored.positions == {"events": 4}
        restored.close()


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
        assert [checkpoints.manifest(0, n).positions["events"] for n in names] == [3, 4]


def test_a_broken_checkpoint_falls_back_to_the_one_before(
    fresh_state, checkpoints, tmp_path, caplog
):
    with fresh_state() as state:
        advance(state, 2)
        checkpoints.create(state, tmp_path / "scratch", 0)
        old = {p.name for p in (tmp_path / "store/checkpoints/00000/files").iterdir()}
        advance(state, 5)
        checkpoints.create(state, tmp_path / "scratch", 1)
        newest = next(
            p
            for p in (tmp_path / "store/checkpoints/00000/files").iterdir()
            if p.name not in old and p.stat().st_size
        )
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(bytes(content))
        manifest = checkpoints.restore(0, tmp_path / "copy")
        assert manifest is not None
        assert manifest.positions == {"events": 2}
        assert "is broken" in caplog.text


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
    fresh = checkpoints.open_or_restore(tmp_path / "mine", 0, StateSettings())
    assert fresh.positions == {}
    advance(fresh, 2)  # behind the broken ones, and kept all the same
    checkpoints.create(fresh, tmp_path / "scratch", 7)
    fresh.close()
    manifest = checkpoints.restore(0, tmp_path / "copy")
    assert manifest is not None
    assert manifest.positions == {"events": 2}


def test_a_broken_checkpoint_does_not_replace_a_further_local_state(
    fresh_state, checkpoints, tmp_path
):
    mine = checkpoints.open_or_restore(tmp_path / "mine", 0, StateSettings())
    with fresh_state() as theirs:
        advance(theirs, 2)
        checkpoints.create(theirs, tmp_path / "scratch", 0)
        advance(mine, 4)
        mine.commit()
        advance(theirs, 6)
        checkpoints.create(theirs, tmp_path / "scratch", 1)
    mine.close()
    newest = tmp_path / "store/checkpoints/00000" / f"{checkpoints.names(0)[-1]}.json"
    newest.write_bytes(b"")
    mine = checkpoints.open_or_restore(tmp_path / "mine", 0, StateSettings())
    assert mine.positions == {"events": 4}
    mine.close()


def test_a_death_while_a_restored_state_moves_in_leaves_a_whole_state(
    fresh_state, checkpoints, tmp_path, monkeypatch
):
    """The old state is moved aside before the restored one moves in: no step leaves half of one."""
    mine = checkpoints.open_or_restore(tmp_path / "mine", 0, StateSettings())
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
            checkpoints.open_or_restore(tmp_path / "mine", 0, StateSettings())
    mine = checkpoints.open_or_restore(tmp_path / "mine", 0, StateSettings())
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


def test_a_state_of_other_settings_is_refused(fresh_state, checkpoints, tmp_path):
    with fresh_state() as state:
        advance(state, 3)
        checkpoints.create(state, tmp_path / "scratch", 0)
    other = StateSettings(window=Window(buckets=7))
    with pytest.raises(WrongState, match="other settings"):
        checkpoints.open_or_restore(tmp_path / "copy", 0, other)


def test_the_further_state_wins_between_disk_and_store(fresh_state, checkpoints, tmp_path):
    settings = StateSettings()
    mine = checkpoints.open_or_restore(tmp_path / "mine", 0, settings)
    advance(mine, 2)
    mine.commit()
    mine.close()
    with fresh_state() as theirs:
        advance(theirs, 5)
        checkpoints.create(theirs, tmp_path / "scratch", 0)
    mine = checkpoints.open_or_restore(tmp_path / "mine", 0, settings)
    assert mine.positions == {"events": 5}
    mine.close()


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


def test_a_manifest_cannot_name_files_outside_of_its_folder(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    store.put_bytes(
        b'{"files": {"../evil": {"bytes": 0, "sha256": ""}}}', "dynamic/g1/manifest.json"
    )
    with pytest.raises(CorruptArtifact, match="outside"):
        store.fetch("dynamic", "g1", tmp_path / "into")
