"""Where reading goes on: the position of a store, held against what the log still has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from streams.embedded import EmbeddedLog
from streams.topics import TopicSettings

Positions = Callable[[str, int], int | None]
"""(topic, partition) -> offset of the next record to read; None means the earliest there is."""

PassOver = Callable[[str, int, int], None]
"""(topic, partition, offset): go on at `offset`, and remember that what lies before is missing."""


class PositionError(RuntimeError):
    """The log does not hold the record that a store needs next: deleted, or of another log."""


class LogChanged(PositionError):
    """A topic is not the one that a store was made from, or keys find other partitions now.

    another_topic: whether it is another topic of that name, which can be read from its beginning.
    """

    def __init__(self, message: str, *, another_topic: bool = False) -> None:
        """Say what has changed, and what to do."""
        super().__init__(message)
        self.another_topic = another_topic


@dataclass(frozen=True, kw_only=True)
class TopicIdentity:
    """What makes a topic the one that a position belongs to.

    id:         of the topic; a topic that is deleted and created again has another one. Empty
                where the broker gives none (Apache Kafka before 2.8).
    partitions: how many the topic has; the partition of a key depends on it.
    """

    topic: str
    id: str
    partitions: int

    def is_another_than(self, known: str) -> bool:
        """Whether a topic of a known id is another one; an empty id says nothing.

        >>> now = TopicIdentity(topic="reads", id="b", partitions=1)
        >>> now.is_another_than("a"), now.is_another_than("b"), now.is_another_than("")
        (True, False, False)
        """
        return bool(known and self.id and known != self.id)


def check_topology(log: Mapping[str, TopicIdentity], topics: TopicSettings) -> None:
    """Raise LogChanged unless each topic has as many partitions as the settings say."""
    for found in log.values():
        _check_partitions(found, topics.partitions, f"{topics.prefix}.")


def _check_partitions(found: TopicIdentity, partitions: int, own: str) -> None:
    """own: what the names of Segue's own topics begin with."""
    if found.partitions == partitions:
        return
    fault = (
        f"topic {found.topic} has {found.partitions} partitions and topics.partitions is "
        f"{partitions}: Kafka puts the next records of a user into another partition than those "
        "before, apart from the user's history. "
    )
    if found.topic.startswith(own):
        most = max(found.partitions, partitions)
        raise LogChanged(
            f"{fault}Stop everything that writes to the topics, then run: segue topics grow "
            f"--partitions {most} (docs/add-partitions.md)"
        )
    raise LogChanged(
        f"{fault}Read this source by segue rekey (keyed_by_user = false), which brings a user's "
        "records together; or, if its owner has written it once more in its present partitions, "
        f"grow Segue's own topics: segue topics grow --partitions {found.partitions} "
        "(docs/add-partitions.md)"
    )


def check_identity(made: TopicIdentity | None, found: TopicIdentity, partition: int) -> None:
    """Raise LogChanged if a partition's state was made from another topic than the one found.

    made: what the state says; None, or an empty id, where it says nothing.
    """
    if made is None:
        return
    if found.is_another_than(made.id):
        raise LogChanged(
            f"the state of {found.topic}/{partition} was made from another topic of this name: "
            f"its id was {made.id}, and it is {found.id} now. The topic was deleted and created "
            "again, or this is another cluster, so that the state's position means nothing here. "
            f"{_BEGIN_AGAIN}",
            another_topic=True,
        )
    if made.partitions and made.partitions != found.partitions:
        raise LogChanged(
            f"the state of {found.topic}/{partition} was made while the topic had "
            f"{made.partitions} partitions, and it has {found.partitions} now: some of its users "
            "belong to other partitions. Of Segue's own topics: stop everything that writes to "
            f"them, then run segue topics grow --partitions {found.partitions}; a topic of another "
            "owner is read by segue rekey from now on (docs/add-partitions.md)"
        )


_BEGIN_AGAIN = (
    "Connect to the cluster it was made from; or build the state again from this topic: "
    "segue worker --begin-again, which puts the old state and its checkpoints aside"
)


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
                f"{self._needs(position)} ends at offset {self.end}: the topic was created again, "
                f"or the state belongs to another cluster. {_BEGIN_AGAIN}"
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

    def nearest(self, committed: int | None) -> int:
        """Offset at which reading begins for a group that committed `committed`, or nothing.

        The earliest record where the log does not hold that offset: its records have expired, or
        the topic was recreated.

        >>> held = Held(topic="t", partition=0, first=10, end=20)
        >>> [held.nearest(offset) for offset in (None, 3, 12, 20, 21)]
        [10, 10, 12, 20, 10]
        """
        return committed if committed and self.first <= committed <= self.end else self.first

    def _needs(self, position: int) -> str:
        return (
            f"the state of {self.topic}/{self.partition} goes on at offset {position}, but the "
            "partition"
        )
