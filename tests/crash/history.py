"""Whether one order of operations explains what clients saw, in the manner of Jepsen.

Clients of a console note each operation with the time at which they asked and the time at which
they were answered (`clients.py`). The log then says in which order the writes took place, so that
the search for an order is short: each read names the position that it reflects.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from streams import Source

__all__ = [
    "Erasure",
    "History",
    "Log",
    "PolicyRead",
    "PolicyWrite",
    "Read",
    "Shown",
    "Write",
    "violations",
]

Item = tuple[str, str]
LIMIT = 10


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Asked at `began`, answered at `ended`: seconds of the clients' clock."""

    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Write(Operation):
    """An event that the console acknowledged, with its place in the log."""

    user: str
    item: Item
    strong: bool
    place: Source


@dataclass(frozen=True, kw_only=True)
class Shown(Operation):
    """Impressions of a list that the console acknowledged, with their place in the log."""

    user: str
    items: tuple[Item, ...]
    place: Source


@dataclass(frozen=True, kw_only=True)
class Read(Operation):
    """A user's history, or a list for the user.

    asked:    the place that the answer has to reflect; None if none was named.
    topic, partition, position: what the answer reflects: the events below `position`.
    items:    of the whole history, or of the list.
    is_list:  whether it is a list.
    life:     number of the console's process; a console that starts again may go back.
    """

    user: str
    asked: Source | None
    topic: str
    partition: int
    position: int
    items: tuple[Item, ...]
    is_list: bool
    life: int


@dataclass(frozen=True, kw_only=True)
class Erasure(Operation):
    """An erasure that was asked for: its place in the log.

    held_since: when its receipt was there and the console had applied it; None if that was not
    seen.
    """

    user: str
    place: Source
    held_since: float | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyWrite(Operation):
    """A policy that a client wrote, known by the item that it puts first.

    version: its number; None if there was no answer.
    """

    item: Item
    version: int | None


@dataclass(frozen=True, kw_only=True)
class PolicyRead(Operation):
    """A list that shows by its first item which policy was in force."""

    item: Item


History = Sequence[Operation]
One = TypeVar("One", bound=Operation)


@dataclass(frozen=True)
class Log:
    """What the log holds of the clients' users, by user and in the order of offsets.

    events:   user -> (place, item, strong).
    erasures: user -> places of erasures, also of those that no client heard of.
    shown:    place -> user and items of a list that was shown.
    policies: item that a policy puts first -> its version.
    """

    events: Mapping[str, Sequence[tuple[Source, Item, bool]]]
    erasures: Mapping[str, Sequence[Source]]
    shown: Mapping[Source, tuple[str, tuple[Item, ...]]] = field(default_factory=dict)
    policies: Mapping[Item, int] = field(default_factory=dict)


def violations(history: History, log: Log) -> list[str]:
    """Return why no single order explains the history; empty if one does."""
    reads = [one for one in history if isinstance(one, Read)]
    found = [
        *_lost(history, log),
        *_too_early(reads),
        *_going_back(reads),
        *_unexplained(reads, [one for one in history if isinstance(one, Erasure)], log),
        *_reverted(
            [one for one in history if isinstance(one, PolicyRead)],
            {one.item: one for one in history if isinstance(one, PolicyWrite)},
            log.policies,
        ),
    ]
    return found[:LIMIT]


def _lost(history: History, log: Log) -> Iterator[str]:
    """An acknowledged write is in the log, at the place that was named."""
    for one in history:
        match one:
            case Write():
                is_there = (one.place, one.item, one.strong) in log.events.get(one.user, ())
            case Shown():
                is_there = log.shown.get(one.place) == (one.user, one.items)
            case _:
                continue
        if not is_there:
            yield f"{one.user}: {one} was acknowledged, and is not there"


def _too_early(reads: Sequence[Read]) -> Iterator[str]:
    """An answer reflects the place that was asked for."""
    for read in reads:
        if read.asked is not None and read.position <= read.asked.offset:
            yield f"{read.user}: asked for {read.asked}, got an answer as of {read.position}"


def _going_back(reads: Sequence[Read]) -> Iterator[str]:
    """One process never reflects less than it did in an answer that ended before."""
    by_process: dict[tuple[int, str, int], list[Read]] = defaultdict(list)
    for read in reads:
        by_process[read.life, read.topic, read.partition].append(read)
    for group in by_process.values():
        for read, latest in _after(group, lambda one: one.position):
            if read.position < latest:
                yield f"{read.user}: an answer as of {read.position} after one as of {latest}"


def _after(operations: Sequence[One], value: Callable[[One], int]) -> Iterator[tuple[One, int]]:
    """Yield each operation with the greatest value of those that ended before it began, or 0."""
    ended, latest, at = sorted(operations, key=lambda one: one.ended), 0, 0
    for one in sorted(operations, key=lambda one: one.began):
        while ended[at].ended < one.began:
            latest = max(latest, value(ended[at]))
            at += 1
        yield one, latest


def _unexplained(reads: Sequence[Read], erasures: Sequence[Erasure], log: Log) -> Iterator[str]:
    """A history is that of the named position; a list holds nothing that the user has by then."""
    held: dict[Source, float] = {
        one.place: one.held_since for one in erasures if one.held_since is not None
    }
    for read in reads:
        possible = list(_possible(read, held, log))
        if read.is_list:
            wrong = [set(read.items) & strong for _, strong in possible]
            if all(wrong):
                yield (
                    f"{read.user}: a list as of {read.position} holds {sorted(min(wrong, key=len))}"
                    ", which the user has"
                )
        elif set(read.items) not in [all_of for all_of, _ in possible]:
            expected = " or ".join(str(sorted(all_of)) for all_of, _ in possible)
            yield (
                f"{read.user}: a history as of {read.position} is {sorted(read.items)},"
                f" not {expected}"
            )


def _possible(
    read: Read, held: Mapping[Source, float], log: Log
) -> Iterator[tuple[set[Item], set[Item]]]:
    """Yield all items and strongly met items, for each set of erasures that may count.

    Those below the position count, and those whose receipt the client had seen. A reader may know
    those that come later in the log, since it reads erasures before other records.
    """
    erasures = log.erasures.get(read.user, ())
    known = sum(place.offset < read.position for place in erasures)
    known = max(
        [known]
        + [n for n, place in enumerate(erasures, 1) if held.get(place, read.began) < read.began]
    )
    for count in range(known, len(erasures) + 1):
        first = erasures[count - 1].offset if count else -1
        live = [
            (item, strong)
            for place, item, strong in log.events.get(read.user, ())
            if first < place.offset < read.position
        ]
        yield {item for item, _ in live}, {item for item, strong in live if strong}


def _reverted(
    reads: Sequence[PolicyRead], writes: Mapping[Item, PolicyWrite], log: Mapping[Item, int]
) -> Iterator[str]:
    """An acknowledged policy has its version, and a version never goes back."""
    for one in writes.values():
        if one.version not in (None, log.get(one.item)):
            yield f"policy version {one.version} was acknowledged, and is another one"
    known = [read for read in reads if read.item in log]
    for read in reads:
        written = writes.get(read.item)
        if read.item not in log or written is None or written.began > read.ended:
            yield f"a policy was in force that had not been written: first {read.item}"
    for read, latest in _after(known, lambda one: log[one.item]):
        if log[read.item] < latest:
            yield f"policy version {log[read.item]} was in force after version {latest}"
