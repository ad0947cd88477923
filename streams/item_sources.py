"""Catalogue topics of other owners: where they are, and what their fields mean to us."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from streams.mapped_rows import check_paths, path_or_none
from streams.sources import (
    AvroSettings,
    SourceSettings,
    ValueMapping,
    check_avro,
    check_topic,
    path_of,
)
from streams.topics import TopicSettings

__all__ = [
    "DeletedMapping",
    "ItemSourceSettings",
    "NumberUnit",
    "check_item_sources",
    "item_topics",
]

NumberUnit = Literal["ms", "s", "us", "auto"]
"""Units of times that are numbers, as in `streams.sources`."""


@dataclass(frozen=True, kw_only=True)
class DeletedMapping:
    """Which records say that an item is deleted.

    field:  path of a field; empty means that no record says so by a field.
    values: its values that mean deleted, as text; `true` is JSON's.
    id:     path of the id in a record that deletes; empty means that of other records.
    """

    field: str = "deleted"
    values: tuple[str, ...] = ("true",)
    id: str = ""

    def __post_init__(self) -> None:
        """Refuse a field without values."""
        if self.field:
            path_of(self.field)
            path_or_none(self.id)
            if not self.values:
                raise ValueError("deleted.values: expected at least one value of the field")


@dataclass(frozen=True, kw_only=True)
class ItemSourceSettings:
    """One topic of items, and the mapping of its records. The defaults read Segue's own records.

    topic:         name of the topic; any number of partitions, compacted or not.
    format:        json, or avro in the wire format of a schema registry (extra `avro`).
    keyed_by_item: whether each key stands for one item, as in compacted topics and change
                   streams. A record then replaces what its key said before, and a null value
                   removes it. If false, keys are ignored and null values are refused.
    item_id:       path of the item id, text or a whole number; empty means that the record's key
                   is the id.
    item_type:     path and names of item types, or one type for all.
    title:         path of the title; empty, here and below, means none.
    description:   path of the description.
    language:      path of the language.
    genres:        path of a list of genres.
    published_at:  path of the time of publication: text in ISO 8601, or a number.
    published_unit: unit of that number since 1970 UTC: ms, s or us; auto reads a number below
                   100,000,000,000 as s and any other as ms.
    attributes:    attributes for policies: name, or name:type, with the path of its field. Types
                   are text, number, boolean, time and list; without one, values stay unchanged.
    attribute_object: path of an object of which each member is an attribute.
    deleted:       which records say that an item is deleted.
    avro:          where Avro's schemas are.
    """

    topic: str
    format: Literal["json", "avro"] = "json"
    keyed_by_item: bool = True
    item_id: str = "item_id"
    item_type: ValueMapping = dataclasses.field(
        default_factory=lambda: ValueMapping(field="item_type")
    )
    title: str = "title"
    description: str = "description"
    language: str = "language"
    genres: str = "genres"
    published_at: str = "published_at"
    published_unit: NumberUnit = "ms"
    attributes: dict[str, str] = dataclasses.field(default_factory=dict)
    attribute_object: str = "attributes"
    deleted: DeletedMapping = dataclasses.field(default_factory=DeletedMapping)
    avro: AvroSettings = dataclasses.field(default_factory=AvroSettings)

    def __post_init__(self) -> None:
        """Refuse what could only be refused later, record by record."""
        if not self.topic:
            raise ValueError("topic: expected a name, got an empty one")
        paths = (*self.texts, "item_id", "genres", "published_at", "attribute_object")
        check_paths({name: getattr(self, name) for name in paths}, self.attributes)
        check_avro(self.format, self.avro)

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the settings that are paths of texts."""
        return "title", "description", "language"


def item_topics(topics: TopicSettings, sources: Iterable[ItemSourceSettings]) -> tuple[str, ...]:
    """Return the topics of which the catalogue is made: Segue's own, then those of other owners."""
    return (topics.catalogue, *(source.topic for source in sources))


def check_item_sources(
    sources: Iterable[ItemSourceSettings],
    events: Iterable[SourceSettings],
    topics: TopicSettings,
) -> None:
    """Raise ValueError where sources of items contradict each other or the other settings."""
    seen = {source.topic for source in events}
    for number, source in enumerate(sources):
        check_topic(f"item_sources[{number}]", source.topic, seen, topics)
