"""Folders of states that a worker no longer uses: they may hold users who were erased since."""

import logging
import re
import shutil
from collections.abc import Container
from pathlib import Path

from state.opening import DAMAGED, OTHER_SETTINGS

__all__ = ["LEFTOVER_DAYS", "other_log_folder", "remove_aside", "remove_leftovers"]

logger = logging.getLogger(__name__)

#: Chosen: a worker that comes back within a week goes on from its disk, and a person who examines
#: a state that was put aside has a week for it.
LEFTOVER_DAYS = 7.0
DAY_MS = 86_400_000

_STATE = re.compile(r"(\d{5})(\.[a-z-]+)?")
_OTHER_LOG = ".other-log"
#: Endings of states that were put aside: damaged ones and those of other settings
#: (`state.open_or_restore`), and those that were made from other topics.
_ASIDE = (DAMAGED, OTHER_SETTINGS, _OTHER_LOG)


def other_log_folder(state: Path) -> Path:
    """Return where the state of a folder is put aside if it was made from other topics."""
    return state.with_name(f"{state.name}{_OTHER_LOG}")


def remove_aside(state: Path) -> None:
    """Remove the states that were put aside beside a state's folder: nothing is erased in them."""
    for ending in _ASIDE:
        shutil.rmtree(state.with_name(f"{state.name}{ending}"), ignore_errors=True)


def remove_leftovers(folder: Path, in_use: Container[int], now_ms: int) -> list[Path]:
    """Remove folders of states that are a week old and not in use; returns them.

    in_use: partitions that are open here; of these only what was put aside is removed. The holder
    of the others has checkpointed them since, and would replace what lies here.
    """
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = _STATE.fullmatch(path.name)
        if not name or not path.is_dir():
            continue
        if int(name[1]) in in_use and name[2] not in _ASIDE:
            continue
        if now_ms - _changed_ms(path) > LEFTOVER_DAYS * DAY_MS:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    if removed:
        logger.info("removed unused state: %s", ", ".join(path.name for path in removed))
    return removed


def _changed_ms(folder: Path) -> float:
    """When a folder, or a file in it, was changed last: ms UTC."""
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # somebody else cleans up too
            continue
    return 1000 * max(times)
