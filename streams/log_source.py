"""Which record a line of the log is about: its topic, partition and offset.

A handler of records says so once (`concerning`), and every line that is written meanwhile carries
it, whichever module writes it: the state, the models, Kafka's client. Elsewhere a line has none.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from streams.log_record import LogRecord
from streams.records import DeadLetter

__all__ = ["LogSource", "concerning", "log_refused", "source_of_log"]


@dataclass(frozen=True, kw_only=True)
class LogSource:
    """Records of one partition: the first and the last of them."""

    topic: str
    partition: int
    offset: int
    last_offset: int


_source: ContextVar[LogSource | None] = ContextVar("segue_log_source", default=None)


def source_of_log() -> LogSource | None:
    """Return the records that are being handled here and now."""
    return _source.get()


@contextlib.contextmanager
def concerning(records: Sequence[LogRecord]) -> Iterator[None]:
    """Say that what is logged meanwhile is about these records of one partition; not empty."""
    first, last = records[0], records[-1]
    source = LogSource(
        topic=first.topic, partition=first.partition, offset=first.offset, last_offset=last.offset
    )
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def log_refused(logger: logging.Logger, letters: Sequence[DeadLetter]) -> None:
    """Log a line for a batch's dead letters: how many of which reason, and the first one's place.

    A line for each of them would be as many as there are bad records.
    """
    if not letters:
        return
    reasons = Counter(letter.reason.value for letter in letters)
    first = min((letter.source for letter in letters), key=lambda source: source.offset)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    extra = {"topic": first.topic, "partition": first.partition, "offset": first.offset}
    logger.info("dead letters: %s; the first is %s", told, first.place.decode(), extra=extra)
