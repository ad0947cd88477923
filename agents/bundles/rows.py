"""Changed item rows of bundles, as a channel follows them on the rows topic."""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from dynamic_layer import BundleRows, CorruptRows, MissingRows, RowDelta
from streams import LogRecord

__all__ = ["ROW_OUTCOMES", "FollowedRows", "channel_of_rows", "rows_key"]

logger = logging.getLogger(__name__)

RowOutcome = Literal["taken", "gap", "damaged", "generation"]
ROW_OUTCOMES: tuple[RowOutcome, ...] = get_args(RowOutcome)
#: Bundles whose rows are kept: the newest one may be announced while the one before is served.
BUNDLES = 2


def rows_key(channel: str, slot: int) -> bytes:
    """Return the key of a delta; compaction keeps the last one of each slot.

    >>> rows_key("default", 3)
    b'default/3'
    """
    return f"{channel}/{slot}".encode()


def channel_of_rows(record: LogRecord) -> str:
    """Return the channel that a record of the rows topic is for."""
    return (record.key or b"").decode(errors="replace").rpartition("/")[0]


class FollowedRows:
    """Takes the deltas of one channel in the order of the log, whichever bundle is served.

    Guaranteed: however often and from wherever the topic is read, the same deltas give the same
    rows; a delta that is damaged, of an earlier bundle, or does not follow the one before changes
    nothing and is counted. The next cumulative delta, or the next bundle, repairs that.
    """

    def __init__(self, channel: str) -> None:
        """Follow a channel; nothing is known yet."""
        self.channel = channel
        self._of_bundles: dict[tuple[int, int], BundleRows | None] = {}
        #: Called with the outcome of each delta, its number of rows, and when it was made, ms UTC.
        self.counted: Callable[[RowOutcome, int, int], None] = lambda _outcome, _rows, _at: None

    def of(self, made: tuple[int, int]) -> BundleRows | None:
        """Return the rows that take the place of a bundle's own; None where there are none.

        made: generation and creation time of the bundle.
        """
        return self._of_bundles.get(made)

    def take(self, records: Sequence[LogRecord]) -> set[tuple[int, int]]:
        """Take records of the topic; return the bundles whose rows changed."""
        changed = set()
        for record in records:
            if record.value is None or channel_of_rows(record) != self.channel:
                continue
            try:
                delta = RowDelta.unpack(record.value)
            except CorruptRows as error:
                logger.error(
                    "rows at %s/%d offset %d are refused: %s",
                    record.topic, record.partition, record.offset, error,
                )  # fmt: skip
                self.counted("damaged", 0, 0)
                continue
            if self._take(delta):
                changed.add(delta.made)
        return changed

    def _take(self, delta: RowDelta) -> bool:
        known = self._of_bundles
        if delta.made not in known:
            if len(known) == BUNDLES and delta.made < min(known):
                self.counted("generation", len(delta.keys), delta.sequence)
                return False
            known[delta.made] = None
            for old in sorted(known)[:-BUNDLES]:
                del known[old]
        before = known[delta.made]
        try:
            after = BundleRows.after(before, delta)
        except MissingRows as error:
            logger.warning("rows of generation %d are refused: %s", delta.made[0], error)
            self.counted("gap", len(delta.keys), delta.sequence)
            return False
        if after is before:
            return False
        known[delta.made] = after
        self.counted("taken", len(delta.keys), delta.sequence)
        return True
