"""Event topics of other owners: where they are, and what their fields mean to us."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from streams.admin import Log, partition_counts
from streams.topics import TopicSettings

Path = tuple[str, ...]
TimestampUnit = Literal["ms", "s", "us", "iso", "auto"]

SECONDS_BELOW = 100_000_000_000
"""With the unit `auto`, a number below this is seconds and any other is milliseconds: as seconds it
is the year 5138, as milliseconds March 1973. No event of today can be meant by both."""


class SourceError(RuntimeError):
    """A source cannot be read as it is configured; the message says why and what to do."""


def path_of(text: str) -> Path:
    r"""Return the names of a path; a dot that belongs to a name is written `\.`.

    >>> path_of(r"payload.user.id"), path_of(r"event\.type")
    (('payload', 'user', 'id'), ('event.type',))
    """
    names = tuple(name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", text))
    if not all(names):
        raise ValueError(f"expected names joined by dots (payload.user.id), got {text!r}")
    return names


@dataclass(frozen=True, kw_only=True)
class ValueMapping:
    """A field whose values have other names there than here.

    field:   path of the field; empty means that there is none, and `default` holds for all records.
    values:  their value -> ours; numbers are written as text. Not empty: a value that is not
             listed makes a dead letter. Empty: values are taken as they are.
    default: our value for records in which the field is missing or null; empty means that such a
             record is a dead letter.
    """

    field: str = ""
    values: dict[str, str] = dataclasses.field(default_factory=dict)
    default: str = ""

    def __post_init__(self) -> None:
        """Refuse a mapping that can give no value."""
        if self.field:
            path_of(self.field)
        elif not self.default:
            raise ValueError("expected a field, a default, or both; got neither")
        elif self.values:
            raise ValueError("values are given, but no field that they are looked up for")


@dataclass(frozen=True, kw_only=True)
class TimestampMapping:
    """When an event happened.

    field: path of the field.
    unit:  of numbers since 1970 UTC: ms, s (with a fraction or without) or us; iso for text in
           ISO 8601, which is UTC where it names no offset; auto reads text as iso, a number below
           100,000,000,000 as s and any other as ms.
    """

    field: str = "timestamp"
    unit: TimestampUnit = "ms"

    def __post_init__(self) -> None:
        """Refuse an empty path."""
        path_of(self.field)


@dataclass(frozen=True, kw_only=True)
class AvroSettings:
    """Where the schemas are that records name by number; the folder is asked first.

    schemas:           folder of files <id>.avsc; empty means none.
    registry:          URL of a schema registry, http or https; empty means none.
    registry_user:     user name for the registry; empty means that it asks for none.
    registry_password: its password; never shown in repr.
    """

    schemas: str = ""
    registry: str = ""
    registry_user: str = ""
    registry_password: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse addresses that are no URL of a registry."""
        if self.registry and not self.registry.startswith(("http://", "https://")):
            raise ValueError(f"registry: expected an http or https URL, got {self.registry!r}")


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """One topic of events, and how its records become ours. The defaults read our own records.

    topic:         its name.
    format:        json; or avro in the wire format of a schema registry (extra `avro`).
    keyed_by_user: whether each record's key is the user id in UTF-8 and its partition the one
                   that Kafka's default partitioner chooses by it. Such a topic is read in place
                   and has as many partitions as our own. Any other is re-keyed: `segue rekey`.
    user_id:       path of the user id, text or a whole number.
    item_id:       path of the item id, text or a whole number.
    item_type:     path and names of item types, or one type for all.
    kind:          path and names of kinds, or one kind for all.
    timestamp:     path and unit of the time of the event.
    avro:          where Avro's schemas are.
    """

    topic: str
    format: Literal["json", "avro"] = "json"
    keyed_by_user: bool = True
    user_id: str = "user_id"
    item_id: str = "item_id"
    item_type: ValueMapping = ValueMapping(field="item_type")
    kind: ValueMapping = ValueMapping(field="kind")
    timestamp: TimestampMapping = TimestampMapping()
    avro: AvroSettings = AvroSettings()

    def __post_init__(self) -> None:
        """Refuse what could only make dead letters."""
        if not self.topic:
            raise ValueError("topic: expected a name, got an empty one")
        for name in ("user_id", "item_id"):
            try:
                path_of(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        for one in self.paths:
            for other in self.paths:
                if len(one) < len(other) and other[: len(one)] == one:
                    raise ValueError(
                        f"{'.'.join(one)!r} is a field with a value and also lies on the path "
                        f"{'.'.join(other)!r}"
                    )
        if path_of(self.timestamp.field) in self._texts:
            raise ValueError(
                f"timestamp.field: {self.timestamp.field!r} is also the field of another setting"
            )
        if self.format == "avro" and not (self.avro.schemas or self.avro.registry):
            raise ValueError("avro: expected a folder of schemas, a registry, or both; got neither")
        if self.format != "avro" and self.avro != AvroSettings():
            raise ValueError(f"avro is set, but the format is {self.format!r}")

    @property
    def _texts(self) -> set[Path]:
        fields = (self.user_id, self.item_id, self.item_type.field, self.kind.field)
        return {path_of(text) for text in fields if text}

    @property
    def paths(self) -> set[Path]:
        """Paths of all fields that are read."""
        return self._texts | {path_of(self.timestamp.field)}

    @property
    def is_native(self) -> bool:
        """Whether the records have the form of our own."""
        return self == SourceSettings(topic=self.topic, keyed_by_user=self.keyed_by_user)


def check_sources(
    sources: Iterable[SourceSettings], kinds: Iterable[str], topics: TopicSettings
) -> None:
    """Raise ValueError where sources contradict each other or the other settings."""
    kinds, seen = set(kinds), set()
    for number, source in enumerate(sources):
        where = f"sources[{number}]"
        if source.topic in seen:
            raise ValueError(f"{where}.topic: {source.topic!r} is the topic of two sources")
        if source.topic.startswith(f"{topics.prefix}."):
            raise ValueError(
                f"{where}.topic: {source.topic!r} begins like Segue's own topics, which are read "
                "as they are; change topics.prefix if it belongs to somebody else"
            )
        seen.add(source.topic)
        kind = source.kind
        for setting, value in (*kind.values.items(), ("default", kind.default)):
            if value and value not in kinds:
                raise ValueError(
                    f"{where}.kind: {setting!r} gives {value!r}, which is not one of events.kinds: "
                    f"{', '.join(sorted(kinds))}"
                )


def read_in_place(sources: Iterable[SourceSettings]) -> list[SourceSettings]:
    """Return the sources that workers read themselves."""
    return [source for source in sources if source.keyed_by_user]


def rekeyed(sources: Iterable[SourceSettings]) -> list[SourceSettings]:
    """Return the sources that `segue rekey` reads."""
    return [source for source in sources if not source.keyed_by_user]


def topic_faults(log: Log, sources: Iterable[SourceSettings], partitions: int) -> dict[str, str]:
    """Return by topic what is wrong with sources' topics as they are in Kafka; often nothing.

    partitions: of our own keyed topics. Raises AdminError.
    """
    sources = list(sources)
    found = partition_counts(log, [source.topic for source in sources])
    faults = {}
    for source in sources:
        count = found.get(source.topic)
        if count is None:
            faults[source.topic] = "there is no such topic"
        elif source.keyed_by_user and count != partitions:
            faults[source.topic] = (
                f"it has {count} partitions and Segue's topics have {partitions}, so "
                "that its users would lie elsewhere than the rest of what is known of them: set "
                f"topics.partitions to {count} before the topics are created, or "
                "keyed_by_user to false for this source"
            )
    return faults


def require_topics(log: Log, sources: Iterable[SourceSettings], partitions: int) -> None:
    """Raise SourceError when a source's topic cannot be read as configured."""
    faults = topic_faults(log, sources, partitions)
    if faults:
        raise SourceError("; ".join(f"source {name}: {fault}" for name, fault in faults.items()))
