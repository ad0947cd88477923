"""The catalogue as all its topics make it: Segue's own and those of other owners."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from streams.admin import Log
from streams.item_mapping import ItemDecoder, own_items
from streams.item_sources import ItemSourceSettings, item_topics
from streams.keyed_records import decode_items
from streams.log_record import LogRecord
from streams.reach import AdminError
from streams.records import DeadLetter, Item
from streams.schema_wait import schemas_known
from streams.sources import SourceError
from streams.topic_reader import in_parts
from streams.topics import TopicSettings

__all__ = ["ItemCatalogue", "read_catalogue"]

logger = logging.getLogger(__name__)

#: Rank of Segue's own topic among topics; those of other owners have 0, 1, ... as in the settings.
OWN = -1

#: Keys with records of one item that are remembered in a partition. Chosen: more than the shops or
#: shelves that have an item each under a key of its own. Where each record has a new key, the first
#: ones are forgotten: they could count only if all later ones were removed.
ITEM_KEYS = 100

Place = tuple[int, int, bytes]
"""Rank of a topic, partition, and the key of a record, or of its item where keys say nothing."""


class _Said(NamedTuple):
    """The latest record at a place. value: JSON of the item; None where the record deletes it."""

    item: bytes
    time: int
    offset: int
    value: bytes | None


class ItemCatalogue:
    """Which record of an item is in force, when several topics have one.

    The rule depends on the latest record of each key and on nothing else, so that it gives the
    same in every process, in whatever order topics and partitions are read:

    1. `deleted` in Segue's own topic hides an item.
    2. Otherwise the first source, in the order of the settings, that has a record of the item
       decides. Of several partitions, the record with the latest log time decides, then that of
       the highest partition; within a partition the last one does.
    3. Otherwise Segue's own topic decides.

    Of an item at most `ITEM_KEYS` keys are remembered in a partition, those of the latest records.
    A null value removes what its key said, as if that had never been written. In Segue's own topic
    so does a record of nothing but the ids: it ends a takedown and leaves the item to its owner.

    Without sources nothing is kept: each record of Segue's own topic is in force.
    """

    def __init__(
        self, topics: TopicSettings | None = None, sources: Sequence[ItemSourceSettings] = ()
    ) -> None:
        """Start empty. Raises SourceError if what reads a source is not installed."""
        #: Records that were refused, of any topic.
        self.refused_records = 0
        self.topics = item_topics(topics or TopicSettings(), sources)
        #: Called with the records that are refused, of any topic of items of other owners.
        self.refused: Callable[[Sequence[DeadLetter]], None] = lambda _letters: None
        #: Called with a topic whenever an earlier key of an item is forgotten.
        self.key_forgotten: Callable[[str], None] = lambda _topic: None
        self._ranks = {name: number for number, name in enumerate(self.topics, OWN)}
        self._by_item = {source.topic for source in sources if not source.keyed_by_item}
        self._decoders = {source.topic: ItemDecoder(source) for source in sources}
        self._said: dict[Place, _Said] = {}
        self._places: dict[bytes, list[Place]] = {}
        self._told: set[tuple[str, str]] = set()

    @property
    def watched(self) -> tuple[str, ...]:
        """Topics whose records are told from earlier ones by their offsets; none without sources.

        A reader must end when one of them is created again: it would take new records for old.
        """
        return self.topics if self._decoders else ()

    async def prepare(
        self, records: Sequence[LogRecord], pause: Callable[[float], Awaitable[None]]
    ) -> None:
        """Have what `take` needs to read records of one topic: schemas, which a registry has.

        A registry that does not answer is asked until it does; pause: waits for so many seconds.
        """
        if records:
            await schemas_known(self._decoders.get(records[0].topic), records, pause)

    def take(self, records: Sequence[LogRecord]) -> list[Item]:
        """Take records of one topic; return the items in force of which records came.

        Without `prepare` it may block, and raise SourceError, where a schema is unknown.

        Each item is there once; those that no topic has any more are deleted.
        """
        if not records:
            return []
        topic = records[0].topic
        if not self._decoders:
            batch, letters = decode_items(records)
            self.refused_records += len(letters)
            return batch.records
        found, letters = self._decoders.get(topic, own_items)(records)
        self.refused_records += len(letters)
        if topic in self._decoders:
            self._refuse(topic, letters)
        changed: dict[bytes, None] = {}
        rank, by_item = self._ranks[topic], topic in self._by_item
        for record, item in found:
            key = item.key if by_item and item is not None else record.key or b""
            place = rank, record.partition, key
            before = self._said.get(place)
            if before is not None and record.offset < before.offset:
                continue  # read again after a lost connection
            if before is not None:
                del self._said[place]
                self._places[before.item].remove(place)
                changed[before.item] = None
            if item is not None and not (rank == OWN and _says_nothing(item)):
                value = None if item.deleted else msgspec.json.encode(item)
                self._said[place] = _Said(item.key, record.timestamp, record.offset, value)
                self._places.setdefault(item.key, []).append(place)
                self._forget_a_key(topic, item, place)
                changed[item.key] = None
        return [self._in_force(key) for key in changed]

    def decides(self, item_type: str, item_id: str) -> Item | None:
        """Return the item in force where a topic of another owner has it; deleted if hidden.

        None: Segue's own topic decides, or no topic has the item.
        """
        key = f"{item_type}\0{item_id}".encode()
        places = self._places.get(key, ())
        return self._in_force(key) if any(rank != OWN for rank, _, _ in places) else None

    def _in_force(self, key: bytes) -> Item:
        places = self._places.get(key, [])
        if not places:
            self._places.pop(key, None)
        own = self._latest(places, OWN)
        hidden = own is not None and own.value is None
        first = min((rank for rank, _, _ in places if rank != OWN), default=OWN)
        said = own if hidden else self._latest(places, first)
        if said is None or said.value is None:
            item_type, _, item_id = key.decode().partition("\0")
            return Item(item_type=item_type, item_id=item_id, deleted=True)
        return msgspec.json.decode(said.value, type=Item)

    def _latest(self, places: Sequence[Place], rank: int) -> _Said | None:
        """Return what a topic says of the item at these places; None if it says nothing."""
        of_partitions: dict[int, _Said] = {}
        for place in places:
            said, partition = self._said[place], place[1]
            before = of_partitions.get(partition)
            if place[0] == rank and (before is None or said.offset > before.offset):
                of_partitions[partition] = said
        latest = max(
            of_partitions.items(), key=lambda found: (found[1].time, found[0]), default=None
        )
        return None if latest is None else latest[1]

    def _forget_a_key(self, topic: str, item: Item, place: Place) -> None:
        """Forget the earliest key of an item in the partition of a place, if there are too many."""
        places = self._places[item.key]
        keys = [one for one in places if one[:2] == place[:2]] if len(places) > ITEM_KEYS else ()
        if len(keys) <= ITEM_KEYS:
            return
        earliest = min(keys, key=lambda one: self._said[one].offset)
        del self._said[earliest]
        places.remove(earliest)
        if (topic, "keys") not in self._told:
            self._told.add((topic, "keys"))
            logger.warning(
                "%s has more than %d keys with records of one item, %s %s: earlier ones are "
                "forgotten. Set keyed_by_item = false for this topic if keys say nothing of items",
                topic, ITEM_KEYS, item.item_type, item.item_id,
            )  # fmt: skip
        self.key_forgotten(topic)

    def _refuse(self, topic: str, letters: Sequence[DeadLetter]) -> None:
        """Count refused records, and log the first one of each reason."""
        for letter in letters:
            reason = letter.reason.value
            if (topic, reason) not in self._told:
                self._told.add((topic, reason))
                logger.warning(
                    "%s is no item (%s: %s); further records like this are counted only: "
                    "segue sources check shows them",
                    letter.source.place.decode(), reason, letter.detail,
                )  # fmt: skip
        self.refused(letters)


def _says_nothing(item: Item) -> bool:
    return item == Item(item_type=item.item_type, item_id=item.item_id)


async def read_catalogue(
    log: Log, topics: TopicSettings, sources: Sequence[ItemSourceSettings]
) -> tuple[list[Item], int]:
    """Read all topics of the catalogue to their end; return the items, and the refused records.

    The items are those that were in force last, deleted ones among them, each once. Of a topic's
    history no more than a part is in memory at a time. Raises AdminError where a topic does not
    exist or what reads a source does not work.
    """
    found: dict[bytes, Item] = {}
    try:
        catalogue = ItemCatalogue(topics, sources)
        for topic in catalogue.topics:
            async with aclosing(in_parts(log, topic)) as parts:
                async for records in parts:
                    found.update((item.key, item) for item in catalogue.take(records))
    except SourceError as error:
        raise AdminError(f"item_sources: {error}") from error
    return list(found.values()), catalogue.refused_records
