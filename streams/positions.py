"""Where reading goes on: the position of a store, held against what the log still has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from streams.embedded import EmbeddedLog

Positions = Callable[[str, int], int | None]
"""(topic, partition) -> offset of the next record to read; None means the earliest there is."""

PassOver = Callable[[str, int, int], None]
"""(topic, partition, offset): go on at `offset`, and remember that what lies before is missing."""


class PositionError(RuntimeError):
    """The log does not hold the record that a store needs next: deleted, or of another log."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a log holds of a partition: the offsets from `first` up to, not including, `end`."""

    topic: str
    partition: int
    first: int
    end: int

    @classmethod
    def by_embedded(cls, log: EmbeddedLog, topic: str, partition: int) -> Self:
        """What the embedded log holds."""
        return cls(
            topic=topic,
            partition=partition,
            first=log.first_offset(topic, partition),
            end=log.end_offset(topic, partition),
        )

    def check(self, position: int) -> None:
        """Raise PositionError, with the ways out, unless reading can go on at `position`."""
        if position > self.end:
            raise PositionError(
                f"{self._needs(position)} ends at offset {self.end}: the topic was made anew, or "
                "the state belongs to another cluster. Connect to the cluster it was made from; "
                "or, to begin anew, move the state and the checkpoints of this partition away"
            )
        if position < self.first:
            raise PositionError(
                f"{self._needs(position)} begins at offset {self.first}: the log has deleted "
                f"{self.first - position:,} records ({position} to {self.first - 1}) that this "
                "state has not applied. Restore the topic from a copy that still has them; or go "
                "on without them by `segue worker --accept-gap`, which records the gap in the "
                "state for good"
            )

    def start(self, position: int | None, pass_over: PassOver, *, accept_gap: bool = False) -> int:
        """Offset at which reading begins for a store at `position` (None: nothing applied yet).

        A store that begins later than its log once did, or goes on behind an accepted gap, is
        told by `pass_over`. Raises PositionError.
        """
        if position is None and self.first == 0:
            return 0
        if position is None or (accept_gap and position < self.first):
            pass_over(self.topic, self.partition, self.first)
            return self.first
        self.check(position)
        return position

    def _needs(self, position: int) -> str:
        return (
            f"the state of {self.topic}/{self.partition} goes on at offset {position}, but the "
            "partition"
        )
