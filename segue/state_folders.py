"""Finds states by name: live states of workers, checkpoints, replays."""

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from segue.settings import Settings
from state import Checkpoints, CorruptArtifact, StateSettings, WrongState
from state.commit_record import read_meta
from state.database import open_database

__all__ = ["FoundState", "StateNotFound", "found_state", "replays"]

LIVE, CHECKPOINT = "live", "checkpoint"


class StateNotFound(Exception):
    """There is no state of this name; the message says what is expected."""


@dataclass(frozen=True, kw_only=True)
class FoundState:
    """A state's folders by partition, which no process writes to, and their origin."""

    name: str
    folders: dict[int, Path]
    notes: tuple[str, ...] = ()


def replays(settings: Settings) -> Path:
    """The folder of all replays, one subfolder per name."""
    return settings.folder / "replays"


@contextmanager
def found_state(settings: Settings, name: str) -> Iterator[FoundState]:
    """Find `live`, `checkpoint`, a replay, or a folder of one or all partitions.

    live:       the workers' states on disk in this data folder; for each partition the newest. For
                a running worker, its newest checkpoint is used instead, and a note says so.
    checkpoint: the newest complete checkpoint of each partition in the artifact store.
    Both can need a copy, which is in a temporary folder until the context ends.
    Raises StateNotFound, CorruptArtifact, WrongState.
    """
    with tempfile.TemporaryDirectory(prefix="segue-state-") as scratch:
        if name == LIVE:
            yield _live(settings, Path(scratch))
        elif name == CHECKPOINT:
            store = Checkpoints(settings.store())
            partitions = store.partitions()
            if not partitions:
                raise StateNotFound(
                    "the artifact store holds no checkpoint. A worker writes one after its start."
                )
            yield _restored(store, partitions, Path(scratch))
        else:
            yield _by_path(settings, name)


def _by_path(settings: Settings, name: str) -> FoundState:
    for folder in (replays(settings) / name, Path(name)):
        if folder.is_dir() and (folders := _partitions(folder, settings.state)):
            if busy := [str(place) for place in folders.values() if _locked(place)]:
                raise StateNotFound(f"{', '.join(busy)} is being written to; stop that process")
            unfinished = (
                folder.parent == replays(settings) and not (folder / "replay.json").exists()
            )
            notes = (f"{name}: this replay is incomplete",) if unfinished else ()
            return FoundState(name=name, folders=folders, notes=notes)
    raise StateNotFound(
        f"there is no state {name!r}: expected live, checkpoint, the name of a replay in "
        f"{replays(settings)}, or a folder of one or all partitions"
    )


def _live(settings: Settings, scratch: Path) -> FoundState:
    furthest: dict[int, tuple[int, Path]] = {}
    running: dict[int, Path] = {}
    for home in sorted((settings.folder / "workers").glob("*/state")):
        for partition, folder in _partitions(home, settings.state).items():
            if _locked(folder):
                running[partition] = folder
                continue
            candidate = (_sum_of_positions(folder, settings.state), folder)
            furthest[partition] = max(furthest.get(partition, candidate), candidate)
    if not furthest and not running:
        raise StateNotFound(
            f"no worker has a state in {settings.folder / 'workers'}. Check that `data` is "
            f"the same as for the workers."
        )
    folders = {number: folder for number, (_, folder) in furthest.items() if number not in running}
    if not running:
        return FoundState(name=LIVE, folders=folders)
    copies = _restored(Checkpoints(settings.store()), sorted(running), scratch)
    notes = tuple(
        f"{running[number]} belongs to a running worker: {note}"
        for number, note in zip(copies.folders, copies.notes, strict=True)
    )
    return FoundState(name=LIVE, folders=folders | copies.folders, notes=notes)


def _restored(store: Checkpoints, partitions: list[int], scratch: Path) -> FoundState:
    folders, notes = {}, []
    for partition in partitions:
        folder = scratch / f"{partition:05d}"
        manifest = store.restore(partition, folder)
        if manifest is None:
            raise CorruptArtifact(
                f"the artifact store has no complete checkpoint of partition {partition}; a "
                f"running worker writes one on SIGUSR1"
            )
        made = datetime.fromtimestamp(manifest.created_at / 1000, UTC).isoformat(" ", "seconds")
        folders[partition] = folder
        notes.append(f"partition {partition} is read from its checkpoint of {made}")
    return FoundState(name=CHECKPOINT, folders=folders, notes=tuple(notes))


def _partitions(folder: Path, settings: StateSettings) -> dict[int, Path]:
    """The partitions' folders: numbered subfolders, or the folder itself."""
    if (folder / "CURRENT").exists():
        return {_partition_of(folder, settings): folder}
    return {
        int(place.name): place
        for place in sorted(folder.iterdir())
        if place.name.isdigit() and (place / "CURRENT").exists()
    }


def _partition_of(folder: Path, settings: StateSettings) -> int:
    with contextlib.closing(open_database(folder, settings, read_only=True)) as source:
        meta = read_meta(source)
    if meta is None:
        raise WrongState(f"{folder} holds no committed state")
    return meta.partition


def _sum_of_positions(folder: Path, settings: StateSettings) -> int:
    with contextlib.closing(open_database(folder, settings, read_only=True)) as source:
        meta = read_meta(source)
    return sum(meta.positions.values()) if meta else -1


def _locked(folder: Path) -> bool:
    """Whether another process has the database open for writing.

    A database cannot be read reliably while another process writes to it.
    """
    with (folder / "LOCK").open("r+b") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
