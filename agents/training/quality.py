"""Quality measurements of a trainer, stored in the artifact store for the console.

    quality/prequential/<date>.jsonl   the rows of a day of events, as on the trainer's disk
    quality/decisions.json             what the gate said of the newest bundles, oldest first
    quality/channels/<channel>/...     the same of the trainer of another channel than the default

Trainer and console share no disk, but both have the store. A file is replaced as a whole, so a
reader sees one state of it or the next, and nothing is lost with the trainer's machine but what
came since its last checkpoint.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dynamic_layer import OPEN_DAYS
from state import ArtifactStore
from streams import DEFAULT_CHANNEL

__all__ = ["DECISIONS", "Decision", "EveryChannel", "QualityStore"]

logger = logging.getLogger(__name__)

#: Decisions that are kept: two hours of a bundle a minute.
DECISIONS = 120
_ROOT, _CHANNELS = "quality", "quality/channels"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A decision of the gate on a bundle.

    at: when, ms UTC; bundle, generation, static: which one, and the static bundle behind it;
    reasons: why it was refused, none if it was published; held_out: examples that it was judged
    by; hr_at_10: its own on these, served_hr_at_10: that of the bundle `served`; None where the
    two were not compared. popularity_types: item types that it serves by live popularity.
    after_both: whether all of the examples came after the bundles that were compared were made.
    """

    at: int
    bundle: str
    generation: int
    static: str | None
    reasons: Sequence[str]
    held_out: int
    served: str | None
    hr_at_10: float | None
    served_hr_at_10: float | None
    popularity_types: Sequence[str] = ()
    after_both: bool = False


class QualityStore:
    """Reads and writes what is known of a channel's quality. One trainer writes, others read.

    A failing store is logged and does not block: the data is written with the next day's rows, or
    the next decision.
    """

    def __init__(
        self, store: ArtifactStore, *, keep_days: int, channel: str = DEFAULT_CHANNEL
    ) -> None:
        """keep_days: files of days that stay."""
        self._store, self._keep_days = store, keep_days
        root = _ROOT if channel == DEFAULT_CHANNEL else f"{_CHANNELS}/{channel}"
        self._days, self._file = f"{root}/prequential", f"{root}/decisions.json"
        self._unwritten: dict[str, Path] = {}
        self._decisions: list[dict[str, Any]] | None = None

    # The trainer's side

    def put_days(self, files: Sequence[Path]) -> None:
        """Store the files of days, and remove the oldest ones."""
        self._unwritten |= {file.name: file for file in files}
        try:
            for name, file in list(self._unwritten.items()):
                if file.exists():
                    self._store.put_bytes(file.read_bytes(), f"{self._days}/{name}")
                del self._unwritten[name]
            for old in self.days()[: -self._keep_days]:
                self._store.remove(f"{self._days}/{old}.jsonl")
        except OSError as error:
            logger.error(
                "prequential figures could not be stored; retrying with the next ones: %s", error
            )

    def decided(self, decision: Decision) -> None:
        """Add a decision."""
        try:
            # Another trainer on another disk may have been here before this one.
            known = self.decisions() if self._decisions is None else self._decisions
            self._decisions = [*known, asdict(decision)][-DECISIONS:]
            self._store.put_bytes(json.dumps(self._decisions).encode(), self._file)
        except OSError as error:
            logger.error("a decision could not be stored; retrying with the next one: %s", error)

    # The console's side

    def days(self) -> list[str]:
        """Days with rows, ISO dates, ascending. Raises OSError."""
        names = _listed(self._store, self._days)
        return sorted(name.stem for name in names if name.suffix == ".jsonl")

    def rows(self, day: str) -> list[Mapping[str, Any]]:
        """Rows of a day; none if the day is gone. Raises OSError."""
        try:
            content = self._store.read_bytes(f"{self._days}/{day}.jsonl")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in content.decode().splitlines()]

    def decisions(self) -> list[dict[str, Any]]:
        """Return the newest decisions, oldest first. Raises OSError."""
        try:
            found: list[dict[str, Any]] = json.loads(self._store.read_bytes(self._file))
        except FileNotFoundError:
            return []
        return found


class EveryChannel:
    """Reads what the trainers of all channels left; days that are over are read once."""

    def __init__(self, store: ArtifactStore, *, keep_days: int) -> None:
        """keep_days: as of `QualityStore`."""
        self._store, self._keep_days = store, keep_days
        self._over: dict[tuple[str, str], list[Mapping[str, Any]]] = {}

    def of(self, channel: str) -> QualityStore:
        """Return what is known of one channel."""
        return QualityStore(self._store, keep_days=self._keep_days, channel=channel)

    def channels(self) -> list[str]:
        """Channels of which anything is known, the default one first. Raises OSError."""
        return [DEFAULT_CHANNEL, *sorted(path.name for path in _listed(self._store, _CHANNELS))]

    def rows(self, most: int) -> list[Mapping[str, Any]]:
        """Rows of the newest days, of all channels. Raises OSError."""
        of = {channel: self.of(channel) for channel in self.channels()}
        days = {channel: store.days() for channel, store in of.items()}
        newest = sorted(set().union(*days.values()))[-most:]
        known, self._over = self._over, {}
        found: list[Mapping[str, Any]] = []
        for channel, store in of.items():
            for day in sorted(set(days[channel]) & set(newest)):
                place = (channel, day)
                rows = known[place] if place in known else store.rows(day)
                # A trainer may still write the last days that it has begun.
                if day not in days[channel][-OPEN_DAYS:]:
                    self._over[place] = rows
                found += rows
        return found

    def decisions(self) -> list[dict[str, Any]]:
        """Return the newest decisions on all channels, oldest first. Raises OSError."""
        found = [one for channel in self.channels() for one in self.of(channel).decisions()]
        return sorted(found, key=lambda one: int(one["at"]))[-DECISIONS:]


def _listed(store: ArtifactStore, folder: str) -> list[PurePosixPath]:
    """What lies in a folder of the store; nothing if it is not there."""
    return [PurePosixPath(name) for name in store.listing(folder)]
