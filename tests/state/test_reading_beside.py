"""A reader of a state beside its writer, whose compaction removes tables at any moment."""

from contextlib import closing

import pytest

from state import StateSettings
from state import database as module
from state.database import META, READ_ATTEMPTS, DamagedState, open_database

SETTINGS = StateSettings()


@pytest.fixture
def writer(tmp_path):
    with closing(open_database(tmp_path / "state", SETTINGS)) as database:
        batch = database.batch()
        batch.put(META + b"n", b"1")
        database.write(batch)
        database.flush()
        yield database


@pytest.mark.parametrize("races", [1, READ_ATTEMPTS - 1, READ_ATTEMPTS])
def test_tables_that_go_while_a_reader_opens_are_no_damage(tmp_path, writer, monkeypatch, races):
    really, left = module.Rdict, [races]

    def racing(*args, **options):
        if left[0]:
            left[0] -= 1
            raise Exception(
                "Corruption: Can't access /000036.sst: IO error: No such file or directory: while"
                " stat a file for size: state/000036.sst: No such file or directory"
            )
        return really(*args, **options)

    monkeypatch.setattr(module, "Rdict", racing)
    if races < READ_ATTEMPTS:
        with closing(open_database(tmp_path / "state", SETTINGS, read_only=True)) as reader:
            assert reader.get(META + b"n") == b"1"
    else:
        with pytest.raises(DamagedState):
            open_database(tmp_path / "state", SETTINGS, read_only=True)


def test_a_table_that_is_missing_for_good_is_damage(tmp_path, writer):
    for table in (tmp_path / "state").glob("*.sst"):
        table.unlink()
    with pytest.raises(DamagedState):
        open_database(tmp_path / "state", SETTINGS, read_only=True)
