"""Files of a database as a killed process leaves them."""

import shutil
from pathlib import Path

from tests.waiting import wait_until

__all__ = ["copy_as_killed"]


def copy_as_killed(folder: Path, left: Path) -> None:
    """Copy the files of an open database, all as they are at one moment.

    RocksDB flushes and removes files in threads of its own. A copy during which a file came, went
    or grew is of no moment that ever was, and is made again.
    """

    def copied() -> bool:
        before = _listed(folder)
        try:
            shutil.copytree(folder, left)
        except shutil.Error:  # a file went away meanwhile
            unchanged = False
        else:
            unchanged = _listed(folder) == before
        if not unchanged:
            shutil.rmtree(left)
        return unchanged

    wait_until(copied, f"a copy of {folder.name} while nothing in it changes")


def _listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change, ns, of each file; one that goes away meanwhile is left out."""
    found = {}
    for file in folder.rglob("*"):
        try:
            seen = file.stat()
        except FileNotFoundError:
            continue
        found[str(file.relative_to(folder))] = seen.st_size, seen.st_mtime_ns
    return found
