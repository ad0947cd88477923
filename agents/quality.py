"""What a trainer found out about quality, where a console can read it: in the artifact store.

    quality/prequential/<date>.jsonl   the rows of a day of events, as on the trainer's disk
    quality/decisions.json             what the gate said of the newest bundles, oldest first

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

from state import ArtifactStore

__all__ = ["DECISIONS", "Decision", "QualityStore"]

logger = logging.getLogger(__name__)

#: Decisions that are kept: two hours of a bundle a minute.
DECISIONS = 120
_DAYS, _DECISIONS = "quality/prequential", "quality/decisions.json"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate said of a bundle.

    at: when, ms UTC; bundle, generation, static: which one, and the static bundle behind it;
    reasons: why it was refused, none if it was published; held_out: examples that it was judged
    by; hr_at_10: its own on these, served_hr_at_10: that of the bundle `served`; None where the
    two were not compared.
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


class QualityStore:
    """Reads and writes what is known of quality. One trainer writes, any number of others read.

    A store that fails is reported in the log and stops nobody: what was to be written is written
    with the next day's rows, or the next decision.
    """

    def __init__(self, store: ArtifactStore, *, keep_days: int) -> None:
        """keep_days: files of days that stay."""
        self._store, self._keep_days = store, keep_days
        self._unwritten: dict[str, Path] = {}
        self._decisions: list[dict[str, Any]] | None = None

    # The trainer's side

    def put_days(self, files: Sequence[Path]) -> None:
        """Store the files of days, and remove the oldest ones."""
        self._unwritten |= {file.name: file for file in files}
        try:
            for name, file in list(self._unwritten.items()):
                if file.exists():
                    self._store.put_bytes(file.read_bytes(), f"{_DAYS}/{name}")
                del self._unwritten[name]
            for old in self.days()[: -self._keep_days]:
                self._store.files.rm_file(f"{self._store.root}/{_DAYS}/{old}.jsonl")
        except OSError as error:
            logger.error("prequential figures could not be stored, the next may: %s", error)

    def decided(self, decision: Decision) -> None:
        """Add a decision."""
        try:
            # Another trainer on another disk may have been here before this one.
            known = self.decisions() if self._decisions is None else self._decisions
            self._decisions = [*known, asdict(decision)][-DECISIONS:]
            self._store.put_bytes(json.dumps(self._decisions).encode(), _DECISIONS)
        except OSError as error:
            logger.error("a decision could not be stored, it comes with the next: %s", error)

    # The console's side

    def days(self) -> list[str]:
        """Days with rows, ISO dates, ascending. Raises OSError."""
        folder = f"{self._store.root}/{_DAYS}"
        try:
            found = self._store.files.ls(folder, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (PurePosixPath(path) for path in found)
        return sorted(name.stem for name in names if name.suffix == ".jsonl")

    def rows(self, day: str) -> list[Mapping[str, Any]]:
        """Rows of a day; none if the day is gone. Raises OSError."""
        try:
            content = self._store.read_bytes(f"{_DAYS}/{day}.jsonl")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in content.decode().splitlines()]

    def decisions(self) -> list[dict[str, Any]]:
        """Return the newest decisions, oldest first. Raises OSError."""
        try:
            found: list[dict[str, Any]] = json.loads(self._store.read_bytes(_DECISIONS))
        except FileNotFoundError:
            return []
        return found
