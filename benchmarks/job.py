"""What the throughput benchmark needs to know of a job, and what several jobs share."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

from rocksdict import AccessType, Options, Rdict

from benchmarks.commits import Commit
from benchmarks.listening import MASK, Totals, item_hash, pair_mix
from streams import KafkaSettings, TopicSettings

__all__ = [
    "COMMIT_MS",
    "BenchError",
    "Done",
    "Job",
    "Place",
    "Size",
    "done_in",
    "named",
    "said",
    "summed",
    "table_of",
]

COMMIT_MS = 5_000
"""Every job commits every five seconds, as `segue worker` does: equal promises after a crash."""

Size = Literal["events", "peer_events", "faust_events"]
"""The field of `throughput.Plan` that says how many events a job gets."""


class BenchError(Exception):
    """A job cannot be measured, or did something else than the others; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run happens: the broker, the topics, a consumer group and a folder of its own."""

    kafka: KafkaSettings
    topics: TopicSettings
    group: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Done:
    """So many events are in the result, since a time in ms UTC."""

    events: int
    at_ms: int


class Job(Protocol):
    """A program that reads the events topic.

    size:  how many events it gets.
    peer:  whether it is software of others that does the work of Segue.
    tells: whether its output says how far it is (`done`); else the group's commits do.
    """

    name: str
    size: Size
    peer: bool
    tells: bool

    def prepare(self) -> None:
        """Build what is missing, once. Raises BenchError where that cannot be done here."""

    def command(self, place: Place, number: int) -> list[str]:
        """Return the command of the group's process `number`."""

    def started_ms(self, log: str, commits: Sequence[Commit]) -> int | None:
        """Tell from a process's output or commits when it began to consume; None: not yet."""

    def done(self, log: str) -> Done | None:
        """Tell from the output how far a job that `tells` is; None: nothing is done yet."""

    def totals(self, place: Place, logs: list[str]) -> Totals | None:
        """Sum the pair counts that ended processes left; None where the job counts nothing."""


def said(log: str, name: str) -> int | None:
    """Return the first value of a name among the JSON lines of an output."""
    found = (line[name] for line in _lines(log) if name in line)
    return next((int(value) for value in found), None)


def done_in(log: str) -> Done | None:
    """Return the last line `{"events": n, "at": ms}` of an output."""
    found = [line for line in _lines(log) if "events" in line]
    return Done(events=int(found[-1]["events"]), at_ms=int(found[-1]["at"])) if found else None


def _lines(log: str) -> Iterator[dict[str, int]]:
    for line in log.splitlines():
        # The last line may not be written to its end yet.
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)


def table_of(folder: Path) -> Rdict:
    """Open a peer's RocksDB for reading, keys and values as bytes."""
    return Rdict(str(folder), Options(raw_mode=True), access_type=AccessType.read_only())


def summed(parts: Sequence[Totals]) -> Totals:
    """Return the totals of all partitions together."""
    return Totals(
        count=sum(part.count for part in parts),
        checksum=sum(part.checksum for part in parts) & MASK,
    )


def named(counts: Iterator[tuple[int, str, str, int]]) -> Totals:
    """Sum counts given as (bucket, item, item, count), items named `type/id`."""
    count = checksum = 0
    for bucket, a, b, number in counts:
        count += number
        checksum += number * pair_mix(bucket, _hash_of(a), _hash_of(b))
    return Totals(count=count, checksum=checksum & MASK)


@cache
def _hash_of(name: str) -> int:
    item_type, _, item_id = name.partition("/")
    return item_hash(item_type, item_id)
