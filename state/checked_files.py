"""Files of a snapshot: their own checksums are compared, and each file is hashed once.

RocksDB keeps a checksum of each block of a table file (SST), and a run's file has checksums of its
own. They were made with the content, a sha256 is made at the upload: only the former tell whether
the file is as it was written.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rocksdict import Options, Rdict

from state.database import DamagedState, open_database
from state.run_files import RunFile
from state.settings import StateSettings

__all__ = ["KnownFiles", "check_files"]

#: Files that are written once and never changed: tables and runs.
WRITTEN_ONCE = (".sst", ".bin")
#: Beside a partition's folder: the digests of its files.
SUFFIX = ".digests"


class KnownFiles:
    """Digests of a state's files that are written once, by name, size and time of writing.

    They lie in a file beside the state's folder, since a restart need not hash the state either. A
    hard link has the time of its file, so a snapshot's files are known. The time is part of the
    key because another state of the partition, made on another machine, has files of the same
    names.
    """

    def __init__(self, state: Path) -> None:
        """Read what is known of the state in a folder; nothing if that cannot be read."""
        self._file = state.with_name(f"{state.name}{SUFFIX}")
        self._known: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(OSError, ValueError):
            self._known = json.loads(self._file.read_text())

    def digest(self, path: Path) -> dict[str, Any] | None:
        """Size in bytes and sha256 of a file if it is known."""
        found = self._known.get(path.name)
        if found is None or found["written"] != _written(path):
            return None
        return {"bytes": found["written"][0], "sha256": found["sha256"]}

    def keep(self, files: Iterable[tuple[Path, dict[str, Any]]]) -> None:
        """Know these files, and no others, from now on."""
        self._known = {
            path.name: {"written": _written(path), "sha256": digest["sha256"]}
            for path, digest in files
            if path.suffix in WRITTEN_ONCE
        }
        part = self._file.with_name(f"{self._file.name}.part")
        with contextlib.suppress(OSError):  # then they are hashed once more
            part.write_text(json.dumps(self._known))
            part.replace(self._file)


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Compare the checksums in some files of a database's folder; raises DamagedState.

    The database is opened, too, which checks its manifest and the ends of all of its tables.
    """
    chosen = [folder / name for name in names]
    with contextlib.closing(open_database(folder, StateSettings(), read_only=True)):
        pass
    for path in chosen:
        if path.suffix == ".bin":
            RunFile(path).check()
    if tables := [path for path in chosen if path.suffix == ".sst"]:
        _check_tables(folder, tables)


def _check_tables(folder: Path, tables: list[Path]) -> None:
    """Have RocksDB read tables.

    It has no call that checks one file. Its repair reads every block of the tables in a folder,
    and moves damaged ones to `lost`: so it is given a folder of links to these tables alone.
    """
    with _emptied(folder.with_name(f"{folder.name}.tables")) as place:
        for table in tables:
            try:
                os.link(table, place / table.name)
            except OSError:
                shutil.copyfile(table, place / table.name)
        Rdict.repair(str(place), Options(raw_mode=True))
        lost = sorted(path.name for path in (place / "lost").glob("*.sst"))
        if lost:
            raise DamagedState(f"{folder}: RocksDB cannot read {', '.join(lost)}")


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, and remove it afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _written(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
