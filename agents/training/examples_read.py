"""How far the trainer has read the examples topic, and of which topic of that name."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from streams import Held, LogChanged, LogRecord, TopicIdentity

__all__ = ["ExamplesRead"]

logger = logging.getLogger(__name__)

Place = tuple[str, int]


class ExamplesRead:
    """Next offset of each partition; positions of a topic that was created again do not count."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.positions: dict[Place, int] = {}
        self._ids: dict[str, str] = {}

    def begin(self, found: Mapping[str, TopicIdentity], held: Iterable[Held]) -> None:
        """Forget positions that mean nothing in the log as it is now.

        found: the topics as they are; held: what the log holds of their partitions. A recreated
        topic is read from its beginning, and a partition that lost its newest records from its end:
        examples that are gone are a loss, those that come after must not be.
        """
        for topic, its in found.items():
            known = self._ids.get(topic, "")
            if its.is_another_than(known):
                logger.warning(
                    "%s was created again: it is read from its beginning; what was learned from "
                    "the earlier topic stays", topic,
                )  # fmt: skip
                self.positions = {
                    place: at for place, at in self.positions.items() if place[0] != topic
                }
            self._ids[topic] = its.id or known
        for part in held:
            place = (part.topic, part.partition)
            if self.positions.get(place, 0) > part.end:
                logger.warning(
                    "%s/%d ends at offset %d, and was read to %d: reading goes on at its end",
                    part.topic, part.partition, part.end, self.positions[place],
                )  # fmt: skip
                self.positions[place] = part.end

    def check(self, found: Mapping[str, TopicIdentity]) -> None:
        """Raise LogChanged if a topic that is being read is another one now."""
        for topic, its in found.items():
            if its.is_another_than(self._ids.get(topic, "")):
                raise LogChanged(
                    f"{topic} was deleted and created again. Start the trainer again: it goes on "
                    "from its checkpoint and reads the new topic from its beginning",
                    another_topic=True,
                )

    def has(self, record: LogRecord) -> bool:
        """Whether a record was read before."""
        return record.offset < self.positions.get((record.topic, record.partition), 0)

    def note(self, record: LogRecord) -> None:
        """Go on behind a record."""
        self.positions[record.topic, record.partition] = record.offset + 1

    def notes(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {
            "positions": [[*place, offset] for place, offset in self.positions.items()],
            "topic_ids": dict(self._ids),
        }

    def recall(self, notes: Mapping[str, Any]) -> None:
        """Go on with the notes of a checkpoint; earlier versions noted no ids."""
        self.positions = {(topic, part): offset for topic, part, offset in notes["positions"]}
        self._ids = dict(notes.get("topic_ids", {}))
