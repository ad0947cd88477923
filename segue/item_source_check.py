"""Checks how records of topics of items and users map, and suggests a mapping of one of items."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from segue.item_mapping_guess import guessed_source, source_toml
from segue.settings import Settings
from segue.source_check import newest_records
from streams import (
    AdminError,
    DeadLetter,
    ItemDecoder,
    ItemSourceSettings,
    LogRecord,
    SourceError,
    UserDecoder,
    UserSourceSettings,
    producer_timed,
)
from streams.admin import partition_counts
from streams.source_topics import NO_TOPIC

__all__ = [
    "ItemSourceCheck",
    "MappedItem",
    "MappedUser",
    "check_item_sources_now",
    "suggested_item_source",
]


@dataclass(frozen=True, kw_only=True)
class MappedItem:
    """One record: its item, or the reason why it is refused.

    removes: a null value, or a deletion without ids: the item of this key goes. reason, detail: as
    in a dead letter; empty for an item. payload: the start of a refused value.
    """

    partition: int
    offset: int
    item_type: str = ""
    item_id: str = ""
    title: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False
    removes: bool = False
    reason: str = ""
    detail: str = ""
    payload: str = ""


@dataclass(frozen=True, kw_only=True)
class MappedUser:
    """One record: what it says of a user, or the reason why it is refused; as of `MappedItem`."""

    partition: int
    offset: int
    user_id: str = ""
    country: str = ""
    birth_year: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False
    reason: str = ""
    detail: str = ""
    payload: str = ""


@dataclass(frozen=True, kw_only=True)
class ItemSourceCheck:
    """Result for one topic of items or users.

    fault: a fault of the complete source, or empty. suggestion: settings in TOML of a topic that
    the settings do not have; empty otherwise. create_time: whether a topic of users keeps producer
    timestamps; erasures go by them.
    """

    topic: str
    fault: str
    records: Sequence[MappedItem | MappedUser]
    of: Literal["items", "users"] = "items"
    suggestion: str = ""
    create_time: bool = False

    @property
    def good(self) -> bool:
        """Whether the source can be read and all checked records are items."""
        return not self.fault and not any(record.reason for record in self.records)

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {**asdict(self), "good": self.good}


async def check_item_sources_now(settings: Settings, limit: int) -> list[ItemSourceCheck]:
    """Read the newest `limit` records of each source of items and users. Raises AdminError."""
    sources: list[ItemSourceSettings | UserSourceSettings] = [*settings.item_sources]
    sources += settings.user_sources
    names = [source.topic for source in sources]
    there = await asyncio.to_thread(partition_counts, settings.kafka, names) if names else {}
    of_users = [source.topic for source in settings.user_sources]
    timed = await asyncio.to_thread(producer_timed, settings.kafka, of_users) if of_users else []
    found = []
    for source in sources:
        rows: Sequence[MappedItem | MappedUser] = ()
        fault = "" if source.topic in there else NO_TOPIC
        try:
            if not fault:
                records = await newest_records(settings.kafka, source.topic, limit)
                rows = (
                    _users(source, records)
                    if isinstance(source, UserSourceSettings)
                    else _items(source, records)
                )
        except SourceError as error:
            fault = str(error)
        found.append(
            ItemSourceCheck(
                topic=source.topic, fault=fault, records=rows,
                of="users" if source.topic in of_users else "items",
                create_time=source.topic in timed,
            )
        )  # fmt: skip
    return found


async def suggested_item_source(settings: Settings, topic: str, limit: int) -> ItemSourceCheck:
    """Guess the mapping of a topic from its newest records, and check these with it.

    Raises AdminError, also where there is no such topic.
    """
    if not await asyncio.to_thread(partition_counts, settings.kafka, (topic,)):
        raise AdminError(f"there is no topic {topic}")
    records = await newest_records(settings.kafka, topic, limit)
    try:
        source = guessed_source(topic, records)
    except SourceError as error:
        return ItemSourceCheck(topic=topic, fault=str(error), records=[])
    rows = _items(source, records)
    return ItemSourceCheck(topic=topic, fault="", records=rows, suggestion=source_toml(source))


def _items(source: ItemSourceSettings, records: Sequence[LogRecord]) -> list[MappedItem]:
    """Return what records say. Raises SourceError."""
    items, letters = ItemDecoder(source)(records)
    rows = [
        MappedItem(partition=record.partition, offset=record.offset, removes=True)
        if item is None
        else MappedItem(
            partition=record.partition, offset=record.offset, item_type=item.item_type,
            item_id=item.item_id, title=item.title or "", attributes=dict(item.attributes or {}),
            deleted=item.deleted,
        )
        for record, item in items
    ]  # fmt: skip
    rows += [MappedItem(**_refusal(letter)) for letter in letters]
    return sorted(rows, key=lambda row: (row.partition, row.offset))


def _users(source: UserSourceSettings, records: Sequence[LogRecord]) -> list[MappedUser]:
    """Return what records say; null values that say nothing are left out. Raises SourceError."""
    users, letters = UserDecoder(source)(records)
    rows = [
        MappedUser(
            partition=record.partition, offset=record.offset, user_id=user.user_id,
            country=user.country or "", birth_year=user.birth_year,
            attributes=dict(user.attributes or {}), deleted=user.deleted,
        )
        for record, user in users
    ]  # fmt: skip
    rows += [MappedUser(**_refusal(letter)) for letter in letters]
    return sorted(rows, key=lambda row: (row.partition, row.offset))


def _refusal(letter: DeadLetter) -> dict[str, Any]:
    """Return what a refused record is shown with."""
    return {
        "partition": letter.source.partition, "offset": letter.source.offset,
        "reason": letter.reason.value, "detail": letter.detail, "payload": letter.payload,
    }  # fmt: skip
