"""The record that makes a commit, and whether the state that it belongs to is the one wanted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
from rocksdict import Rdict

from state import database
from state.runs import Runs
from state.settings import StateSettings

__all__ = ["FORMAT", "CommitRecord", "MadeWith", "Missing", "WrongState", "check_meta", "read_meta"]

FORMAT = 3


class WrongState(Exception):
    """A state directory belongs to other settings, another partition or another format."""


class MadeWith(Protocol):
    """What a state was made with and for, as its commit record and its checkpoints say."""

    @property
    def format(self) -> int: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102


class Missing(msgspec.Struct, frozen=True):
    """Records of a topic that a state was made without: offsets `first` to `end - 1`.

    The log had deleted them, or a replay began behind them.
    """

    topic: str
    first: int
    end: int


class CommitRecord(msgspec.Struct, frozen=True):
    """The record that makes a commit: written in the same batch as the state it belongs to.

    erased: topic -> offset of the last erasure; older checkpoints may hold who was erased.
    demand_from: topic -> offset from which live popularity was counted; None in records of
            versions that did not count it.
    demand_untold: buckets of live popularity that have changed since they were last told to others.
    """

    format: int
    fingerprint: str
    partition: int
    positions: dict[str, int] = {}
    watermark: int = -1
    items: int = 0
    run: int = 0
    runs: Runs = ()
    applied: int = 0
    refused: int = 0
    behind: dict[str, int] = {}
    missing: tuple[Missing, ...] = ()
    settings: dict[str, Any] = {}
    erased: dict[str, int] = {}
    demand_from: dict[str, int] | None = None
    demand_untold: tuple[int, ...] = ()


class _Version(msgspec.Struct):
    """What is left of a commit record of which nothing else is known."""

    format: int = 0


def read_meta(source: Rdict) -> CommitRecord | None:
    """The commit record of a database; None if it has none yet. Raises WrongState."""
    stored = source.get(database.META)
    try:
        return msgspec.json.decode(stored, type=CommitRecord) if stored else None
    except msgspec.DecodeError as error:
        raise WrongState(_unreadable(stored, source.path(), error)) from error


def check_meta(made: MadeWith, partition: int, settings: StateSettings, where: Path | str) -> None:
    """Raise WrongState unless the state at `where` was made as it is about to be used."""
    if made.format != FORMAT:
        raise WrongState(_other_format(where, made.format))
    if made.fingerprint != settings.fingerprint():
        raise WrongState(
            f"{where} was made with other settings: "
            f"{_unlike(made.settings, settings.meaning()) or made.fingerprint}. Use those, or "
            "another directory."
        )
    if made.partition != partition:
        raise WrongState(f"{where} holds partition {made.partition}, not {partition}")


def _unreadable(stored: bytes, where: str, error: Exception) -> str:
    """Why a commit record is not as ours are."""
    try:
        found = msgspec.json.decode(stored, type=_Version).format
    except msgspec.DecodeError:
        found = FORMAT
    return (
        f"the commit record in {where} is damaged: {error}"
        if found == FORMAT
        else _other_format(where, found)
    )


def _other_format(where: Path | str, found: int) -> str:
    return (
        f"{where} has state format {found}; this version reads {FORMAT}. Make it anew from the log "
        "with this version (segue replay), or go on with the version it is from."
    )


def _unlike(made: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "state") -> str:
    """Name the settings that differ, with both values."""
    found = []
    for name, value in made.items():
        mine = wanted.get(name)
        if isinstance(value, Mapping) and isinstance(mine, Mapping):
            found.append(_unlike(value, mine, f"{path}.{name}"))
        elif value != mine:
            found.append(f"{path}.{name} = {value}, not {mine}")
    return "; ".join(text for text in found if text)
