"""The record that makes a commit, and whether the state that it belongs to is the one wanted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from state import database
from state.database import Batch, Database
from state.runs import Runs
from state.settings import StateSettings

__all__ = [
    "FORMAT",
    "CommitRecord",
    "CountsTaken",
    "MadeFrom",
    "MadeWith",
    "Missing",
    "WrongState",
    "check_meta",
    "read_meta",
    "topics_read",
    "write_meta",
]

FORMAT = 3

#: Key of the ids of topics of whose name an earlier one was read (`MadeFrom.again`). A version
#: that does not know them leaves this key as it is, but writes the commit record without them.
_AGAIN = database.META + b"again"


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


class MadeFrom(msgspec.Struct, frozen=True):
    """Which topic a position belongs to.

    id: of the topic; empty where the log gives none. partitions: how many the topic has.
    again: whether an earlier topic of this name was read before: its offsets mean other records.
    """

    id: str = ""
    partitions: int = 0
    again: bool = False

    def log_name(self, topic: str) -> str:
        """Return what tells the records of this topic from those of earlier ones of its name.

        The topic's own name, except for a topic that was created again. No topic's name has an @.

        >>> MadeFrom(id="4f", again=True).log_name("reads"), MadeFrom(id="4f").log_name("reads")
        ('reads@4f', 'reads')
        """
        return f"{topic}@{self.id}" if self.again and self.id else topic


class CountsTaken(msgspec.Struct, frozen=True):
    """What the counts of shown and taken were made with.

    within_ms: time after an impression within which it is taken.
    since: topic -> first offset that counts; 0 where none is named.
    shown_untold, taken_untold: buckets that have changed since they were last told to others.
    by_list: whether they are made by list too; False in records of versions that did not.
    """

    within_ms: int
    since: dict[str, int] = {}
    shown_untold: tuple[int, ...] = ()
    taken_untold: tuple[int, ...] = ()
    by_list: bool = False


class CommitRecord(msgspec.Struct, frozen=True):
    """The record that makes a commit: written in the same batch as the state it belongs to.

    erased: topic -> offset of the last erasure; older checkpoints may hold who was erased.
    uncompacted: an erasure is committed, and the files of the database may still hold the user's
            bytes behind the deletion. No names: all histories and attributes are compacted.
    demand_from: topic -> offset from which live popularity was counted; None in records of
            versions that did not count it.
    demand_untold: buckets of live popularity that have changed since they were last told to others.
    made_from: topic -> which topic of that name the position belongs to; absent in records of
            versions that did not note it.
    actions_from: kind -> topic -> offset from which actions of the kind are kept; None in records
            of versions that did not keep them.
    keeps_shown: whether impressions are kept; False in records of versions that did not keep them.
    taken:  of the counts of shown and taken; None where they are not made.
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
    uncompacted: bool = False
    made_from: dict[str, MadeFrom] = {}
    actions_from: dict[str, dict[str, int]] | None = None
    keeps_shown: bool = False
    taken: CountsTaken | None = None


class _Version(msgspec.Struct):
    """What is left of a commit record of which nothing else is known."""

    format: int = 0


def read_meta(source: Database) -> CommitRecord | None:
    """The commit record of a database; None if it has none yet. Raises WrongState."""
    stored, again = source.get([database.META, _AGAIN])
    if stored is None:
        return None
    try:
        meta = msgspec.json.decode(stored, type=CommitRecord)
        known = msgspec.json.decode(again or b"{}", type=dict[str, str])
    except msgspec.DecodeError as error:
        raise WrongState(_unreadable(stored, str(source.folder), error)) from error
    made = {
        topic: msgspec.structs.replace(one, again=one.again or known.get(topic) == one.id)
        for topic, one in meta.made_from.items()
    }
    return msgspec.structs.replace(meta, made_from=made)


def write_meta(batch: Batch, meta: CommitRecord) -> None:
    """Put a commit record into a batch."""
    batch.put(database.META, msgspec.json.encode(meta))
    if again := {topic: made.id for topic, made in meta.made_from.items() if made.again}:
        batch.put(_AGAIN, msgspec.json.encode(again))


def topics_read(
    made_from: Mapping[str, MadeFrom], positions: Mapping[str, int]
) -> dict[str, MadeFrom]:
    """Which topics were read for a state, or for an earlier one in its place."""
    return {topic: made for topic, made in made_from.items() if topic in positions or made.again}


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
        f"{where} has state format {found}; this version reads {FORMAT}. Build it again from the "
        "log with this version (segue replay), or go on with the version it is from."
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
