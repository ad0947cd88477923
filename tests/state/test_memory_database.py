"""RocksDB and its twin in memory give the same answers; a partition's state runs on either."""

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from state import PartitionState, StateSettings
from state.database import DamagedState, open_database
from tests.state.conftest import SCRATCH
from tests.state.dumps import dump
from tests.state.killed import copy_as_killed
from tests.state.memory_database import Disks
from tests.state.streams_of_events import (
    cuts,
    feed,
    records_with_erasures,
    settings_of_state,
    tried,
)

#: Few, so that calls meet: prefixes of each other, the lowest and the highest byte.
KEYS = st.sampled_from([b"\x00", b"a", b"a\x00", b"ab", b"b", b"\xfe", b"\xff", b"\xff\xff"])
VALUES = st.binary(max_size=40)
SETTINGS = StateSettings(write_buffer_bytes=1 << 16, block_cache_bytes=1 << 16)
EVERYTHING = (b"", b"\xff" * 3)


class Twins(RuleBasedStateMachine):
    """A database on disk and its twin, given the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=SCRATCH))
        self.disks = Disks()
        self.copies = 0

    @initialize()
    def begin(self) -> None:
        self.folder = self.home / "first"
        self.open()

    def open(self) -> None:
        self.real = open_database(self.folder, SETTINGS)
        self.twin = self.disks.open(self.folder, SETTINGS)

    @rule(writes=st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=8))
    def write(self, writes) -> None:
        for database in (self.real, self.twin):
            batch = database.batch()
            for key, value in writes:
                batch.delete(key) if value is None else batch.put(key, value)
            database.write(batch)

    @rule(key=KEYS, value=VALUES)
    def put(self, key, value) -> None:
        for database in (self.real, self.twin):
            database.put(key, value)

    @rule(keys=st.lists(KEYS, max_size=5))
    def get(self, keys) -> None:
        assert self.real.get(keys) == self.twin.get(keys)
        for key in keys:
            assert self.real.get(key) == self.twin.get(key)

    @rule(ends=st.tuples(KEYS, KEYS))
    def scan(self, ends) -> None:
        first, end = min(ends), max(ends)
        assert list(self.real.scan(first, end)) == list(self.twin.scan(first, end))

    @rule(key=KEYS)
    def scan_while_it_is_written(self, key) -> None:
        found = []
        for database in (self.real, self.twin):
            rows = database.scan(*EVERYTHING)
            first = next(rows, None)
            database.put(key, b"later")
            found.append((first, *rows))
        assert found[0] == found[1]

    @rule(ends=st.tuples(KEYS, KEYS))
    def rewrite(self, ends) -> None:
        for database in (self.real, self.twin):
            database.flush()
            database.rewrite(min(ends), max(ends))

    @rule()
    def close_and_open(self) -> None:
        self.real.close()
        self.twin.close()
        self.open()

    @rule()
    def the_process_is_killed(self) -> None:
        """What another process finds: the files as they are, without a flush and a close."""
        left = self.home / f"left-{self.copies}"
        self.copies += 1
        copy_as_killed(self.folder, left)
        with closing(open_database(left, SETTINGS)) as found:
            assert list(found.scan(*EVERYTHING)) == list(self.twin.scan(*EVERYTHING))

    @rule(key=KEYS)
    def go_on_from_a_link(self, key) -> None:
        link = self.home / f"link-{self.copies}"
        self.copies += 1
        for database in (self.real, self.twin):
            database.link_into(link)
            database.put(key, b"not in the link")
            with pytest.raises(Exception, match=r".+"):
                database.link_into(link)
            database.close()
        self.folder = link
        self.open()

    @rule(key=KEYS)
    def read_beside_the_writer(self, key) -> None:
        readers = (
            open_database(self.folder, SETTINGS, read_only=True),
            self.disks.open(self.folder, SETTINGS, read_only=True),
        )
        for writer, reader in zip((self.real, self.twin), readers, strict=True):
            before = list(writer.scan(*EVERYTHING))
            writer.put(key, b"after the reader")
            assert list(reader.scan(*EVERYTHING)) == before
            with pytest.raises(Exception, match=r".+"):
                reader.put(key, b"")
            reader.close()

    @rule()
    def there_is_one_writer(self) -> None:
        for opened in (open_database, self.disks.open):
            with pytest.raises(Exception, match=r".+") as refused:
                opened(self.folder, SETTINGS)
            assert not isinstance(refused.value, DamagedState)

    @invariant()
    def they_are_equal(self) -> None:
        if hasattr(self, "real"):
            assert list(self.real.scan(*EVERYTHING)) == list(self.twin.scan(*EVERYTHING))

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.real.close()
        shutil.rmtree(self.home)


TestTwins = tried(0.1, steps=30)(Twins).TestCase


def test_no_byte_of_what_was_removed_stays_after_a_rewrite(tmp_path):
    disks, folder = Disks(), tmp_path / "state"
    key, value, kept = b"h-name-of-a-person", b"what-the-person-had", b"h-another"
    for database in (open_database(folder, SETTINGS), disks.open(folder, SETTINGS)):
        with closing(database):
            database.put(key, value)
            database.put(kept, b"stays")
            database.flush()
            batch = database.batch()
            batch.delete(key)
            database.write(batch)
            database.rewrite(b"h", b"i")
            assert list(database.scan(b"h", b"i")) == [(kept, b"stays")]
    held = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert kept in held
    assert key not in held
    assert value not in held
    assert disks.folders[folder].traces == []


@tried(0.3)
@given(st.lists(records_with_erasures, max_size=60), settings_of_state, cuts)
def test_a_partition_is_the_same_on_its_twin(fresh_state, stream, setting, at):
    disks = Disks()
    with (
        fresh_state(setting) as state,
        tempfile.TemporaryDirectory(dir=SCRATCH) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("state.database.open_database", disks.open)
        twin = PartitionState(Path(folder), 0, setting)
        for one in (state, twin):
            feed(one, stream, at)
            one.commit()
        assert dump(state).differences(dump(twin)) == []
        twin.close()
        # What was committed is all that a process which opens it again needs.
        twin = PartitionState(Path(folder), 0, setting)
        assert dump(state).differences(dump(twin)) == []
        twin.close()
