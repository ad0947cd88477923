"""Damaged files: found on open, on read and before an upload, and replaced by a checkpoint."""

import os
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from state import (
    ArtifactStore,
    Checkpoints,
    DamagedState,
    PartitionState,
    StateSettings,
    merge_checkpoints,
    open_or_restore,
)
from state import checkpoint as checkpoint_module
from state.checked_files import check_files
from state.manifest import manifest_digest, manifest_name
from tests.state.dumps import dump
from tests.state.killed import copy_as_killed
from tests.state.streams_of_events import Columns, Event

SETTINGS = StateSettings()
USERS, EVENTS = 40, 900
STREAM = [
    Event(f"user-{n % USERS}", f"item-{n * 7 % 60}", "stream", 1_000 * n) for n in range(EVENTS)
]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(ArtifactStore(str(tmp_path / "store")), keep=2)


def advance(state, upto):
    start = state.position("events") or 0
    state.apply_events("events", Columns(STREAM[start:upto], start), upto)
    state.commit()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as a killed worker leaves it: tables, and a log (WAL) with the last commit."""
    folder = tmp_path_factory.mktemp("made")
    state = PartitionState(folder / "closed", 0, SETTINGS)
    advance(state, 300)
    state.database.flush()
    advance(state, 600)
    state.database.flush()
    advance(state, EVENTS)
    copy_as_killed(folder / "closed", folder / "killed")
    state.close()
    shutil.rmtree(folder / "closed")
    return folder / "killed"


@pytest.fixture(scope="module")
def prefixes(tmp_path_factory):
    """What the state is at each commit, by position."""
    state = PartitionState(tmp_path_factory.mktemp("oracle") / "state", 0, SETTINGS)
    found = {}
    for upto in (300, 600, EVENTS):
        advance(state, upto)
        found[upto] = dump(state)
    state.close()
    return found


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    path.write_bytes(bytes(content))


HARM = {
    "early": lambda path: flip(path, 0.1),
    "middle": lambda path: flip(path, 0.5),
    "footer": lambda path: flip(path, -10),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": Path.unlink,
}
FILES = ("*.sst", "MANIFEST-*", "CURRENT", "OPTIONS-*", "*.log", "IDENTITY", "run-*.bin")


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("files", FILES)
def test_a_damaged_file_never_stops_a_worker_for_which_there_is_a_checkpoint(
    made, prefixes, checkpoints, tmp_path, files, harm
):
    """What is opened is the state at one of its commits, the checkpoint's or a later one."""
    with_checkpoint = PartitionState(tmp_path / "other", 0, SETTINGS)
    advance(with_checkpoint, 300)
    checkpoints.create(with_checkpoint, tmp_path / "scratch", 0)
    with_checkpoint.close()
    folder = tmp_path / "00000"
    shutil.copytree(made, folder)
    for path in sorted(folder.glob(files)):
        HARM[harm](path)

    state = open_or_restore(checkpoints, folder, 0, SETTINGS)
    try:
        found = dump(state)
    except DamagedState:  # met by a read: the next opening restores
        state.close()
        state = open_or_restore(checkpoints, folder, 0, SETTINGS)
        found = dump(state)
    assert found.differences(prefixes[state.position("events")]) == []
    advance(state, EVENTS)
    assert dump(state).differences(prefixes[EVENTS]) == []
    state.close()


@pytest.mark.parametrize("harm", ["early", "middle", "footer"])
@pytest.mark.parametrize("files", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_corruption_that_is_met_on_open_is_a_damaged_state(made, tmp_path, files, harm):
    shutil.copytree(made, tmp_path / "state")
    path = sorted((tmp_path / "state").glob(files))[0]
    if files == "MANIFEST-*" and harm == "footer":
        harm = "zeros"  # an entry that was torn at the end is left out, as after a crash
    HARM[harm](path)
    for read_only in (True, False):
        with pytest.raises(DamagedState, match=str(tmp_path)):
            PartitionState(tmp_path / "state", 0, SETTINGS, read_only=read_only)


def damaged_history(folder, but=()):
    """Damage a block that holds nothing but histories, which opening and applying do not read.

    Memory cells and disks that lose a bit do not set the time of the file. Returns the files.
    """
    damaged = []
    for path in sorted(folder.glob("*.sst")):
        places = [found.start() for found in re.finditer(b"huser-", path.read_bytes())]
        if len(places) > 10 and path.name not in but:
            written = path.stat()
            flip(path, places[len(places) // 3] + 6)
            os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
            damaged.append(path)
    return damaged


def many_users(state, first=0, n=4_000):
    """Histories of users who are new, enough for blocks of their own."""
    events = [
        Event(f"user-{i:06d}", f"item-{i % 900}", "stream", 1_000 * i)
        for i in range(first, first + n)
    ]
    state.apply_events("events", Columns(events, first), first + n)
    state.commit()


def test_corruption_that_is_met_on_read_is_a_damaged_state_and_restored_by_the_next_opening(
    checkpoints, tmp_path, caplog
):
    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    many_users(state)
    checkpoints.create(state, tmp_path / "scratch", 0)
    state.close()
    damaged_history(tmp_path / "00000")

    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    with pytest.raises(DamagedState, match="checksum"):
        for number in range(4_000):
            state.history(f"user-{number:06d}")
    state.close()

    state = open_or_restore(checkpoints, tmp_path / "00000", 0, SETTINGS)
    assert "put aside as 00000.damaged" in caplog.text
    assert all(len(state.history(f"user-{n:06d}").item_keys) == 1 for n in range(4_000))
    state.close()


def test_a_reader_leaves_no_mark_in_a_folder_that_is_not_its_own(tmp_path):
    state = PartitionState(tmp_path / "state", 0, SETTINGS)
    many_users(state)
    state.close()
    damaged_history(tmp_path / "state")
    before = {path.name for path in (tmp_path / "state").iterdir()}
    state = PartitionState(tmp_path / "state", 0, SETTINGS, read_only=True)
    with pytest.raises(DamagedState):
        for number in range(4_000):
            state.history(f"user-{number:06d}")
    state.close()
    assert {path.name for path in (tmp_path / "state").iterdir()} - before <= {"LOG"}


def test_a_lock_that_another_process_holds_is_no_damage(tmp_path):
    state = PartitionState(tmp_path / "state", 0, SETTINGS)
    advance(state, 10)
    with pytest.raises(Exception, match=r"(?i)lock") as error:
        PartitionState(tmp_path / "state", 0, SETTINGS)
    assert not isinstance(error.value, DamagedState)
    state.close()


@pytest.mark.parametrize("damage", ["table", "run"])
def test_a_file_that_is_damaged_before_its_first_upload_is_not_uploaded(
    checkpoints, tmp_path, damage
):
    """The good checkpoints stay, however often the worker tries, and the next opening has one."""
    folder = tmp_path / "00000"
    state = open_or_restore(checkpoints, folder, 0, SETTINGS)
    many_users(state)
    checkpoints.create(state, tmp_path / "scratch", 0)
    good = checkpoints.names(0)
    known = {path.name for path in folder.iterdir()}
    many_users(state, 4_000)
    state.database.flush()
    if damage == "table":
        assert damaged_history(folder, but=known)
    else:
        [run] = [path for path in folder.glob("run-*.bin") if path.name not in known]
        flip(run, 0.1)
    manifest = checkpoints.snapshot(state, tmp_path / "scratch", 1)
    with pytest.raises(DamagedState):
        checkpoints.upload(manifest, tmp_path / "scratch", folder)
    assert not (tmp_path / "scratch").exists()
    for attempt in (2, 3):  # a commit or a compaction may meet the damage first
        with pytest.raises(DamagedState):
            checkpoints.create(state, tmp_path / "scratch", attempt)
    assert checkpoints.names(0) == good
    state.close()
    restored = open_or_restore(checkpoints, folder, 0, SETTINGS)
    assert restored.position("events") == 4_000
    restored.close()


def test_a_file_that_is_damaged_after_its_upload_does_not_replace_the_one_in_the_store(
    checkpoints, tmp_path
):
    folder = tmp_path / "00000"
    state = open_or_restore(checkpoints, folder, 0, SETTINGS)
    many_users(state)
    checkpoints.create(state, tmp_path / "scratch", 0)
    assert damaged_history(folder)
    many_users(state, 4_000, 200)
    checkpoints.create(state, tmp_path / "scratch", 1)
    state.close()
    restored = open_or_restore(checkpoints, tmp_path / "copy", 0, SETTINGS)
    assert restored.position("events") == 4_200
    assert all(len(restored.history(f"user-{n:06d}").item_keys) == 1 for n in range(4_200))
    restored.close()


def test_a_file_that_has_to_be_uploaded_again_is_compared_with_its_digest(checkpoints, tmp_path):
    """It is gone from the store, and damaged here: nothing may take the place of what is named."""
    folder = tmp_path / "00000"
    state = open_or_restore(checkpoints, folder, 0, SETTINGS)
    many_users(state)
    first = checkpoints.create(state, tmp_path / "scratch", 0).manifest
    [table] = damaged_history(folder)
    (tmp_path / "store/checkpoints/00000/files" / first.files[table.name]["sha256"]).unlink()
    with pytest.raises(DamagedState, match=table.name):
        checkpoints.create(state, tmp_path / "scratch", 1)
    state.close()


def test_a_file_is_hashed_once(checkpoints, tmp_path, monkeypatch):
    """Nor after a restart, nor after it was fetched from the store."""
    folder = tmp_path / "00000"
    hashed = []
    really = checkpoint_module.file_digest

    def file_digest(path):
        hashed.append(path.name)
        return really(path)

    monkeypatch.setattr(checkpoint_module, "file_digest", file_digest)
    for upto in (300, 400, 500):
        state = open_or_restore(checkpoints, folder, 0, SETTINGS)
        advance(state, upto)
        for time in (0, 1):
            checkpoints.create(state, tmp_path / "scratch", upto + time)
        state.close()
        shutil.rmtree(folder)
    state = open_or_restore(checkpoints, folder, 0, SETTINGS)
    state.close()
    state = open_or_restore(checkpoints, folder, 0, SETTINGS)
    checkpoints.create(state, tmp_path / "scratch", 600)
    state.close()
    once = [name for name in hashed if name.endswith((".sst", ".bin"))]
    assert once
    assert len(once) == len(set(once))


def test_a_checkpoint_of_an_older_version_that_holds_a_damaged_file_is_passed_over(
    checkpoints, tmp_path
):
    """It was uploaded under the digest of the damaged file: only RocksDB's checksums tell."""
    folder = tmp_path / "00000"
    state = open_or_restore(checkpoints, folder, 0, SETTINGS)
    many_users(state)
    checkpoints.create(state, tmp_path / "scratch", 0)
    state.commit()
    manifest = checkpoints.snapshot(state, tmp_path / "scratch", 1)
    state.close()
    damaged_history(tmp_path / "scratch")
    old = msgspec.structs.replace(
        manifest,
        positions={"events": 5_000},
        files={
            path.name: checkpoint_module.file_digest(path)
            for path in (tmp_path / "scratch").iterdir()
        },
    )
    for name, file in old.files.items():
        path = f"checkpoints/00000/files/{file['sha256']}"
        checkpoints.store.put_file(tmp_path / "scratch" / name, path)
    encode = msgspec.json.encode
    old = msgspec.structs.replace(old, digest=manifest_digest(encode(old)))
    checkpoints.store.put_bytes(encode(old), f"checkpoints/00000/{manifest_name(old, 9)}.json")

    assert merge_checkpoints(checkpoints, SETTINGS).offsets == {"events": {0: 4_000}}
    restored = open_or_restore(checkpoints, tmp_path / "copy", 0, SETTINGS)
    assert restored.position("events") == 4_000
    restored.close()


def test_every_block_of_a_table_is_checked(tmp_path):
    """Wherever a bit flips, except in the filter: RocksDB does without one that is damaged."""
    state = PartitionState(tmp_path / "state", 0, SETTINGS)
    many_users(state)
    state.database.link_into(tmp_path / "snapshot")
    state.close()
    (table,) = sorted((tmp_path / "snapshot").glob("*.sst"))
    content, missed = table.read_bytes(), 0
    places = range(0, len(content), len(content) // 60)
    for place in places:
        table.write_bytes(content)
        flip(table, place)
        try:
            check_files(tmp_path / "snapshot", [table.name])
        except DamagedState:
            continue
        missed += 1
    # 10 bits a key: 4,000 users and 900 items.
    assert missed <= 1 + len(places) * (4_900 * 10 / 8) / len(content)
