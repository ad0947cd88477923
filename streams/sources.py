"""Event topics of other owners: where they are, and what their fields mean to us."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

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
    """A field whose values have other names in the source.

    field:   path of the field; empty means that there is none, and `default` applies to all
             records.
    values:  source value -> Segue value; numbers as text. If not empty, a value that is not listed
             becomes a dead letter. If empty, values stay unchanged.
    default: Segue value for records in which the field is missing or null; empty makes such a
             record a dead letter.
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
    unit:  of numbers since 1970 UTC: ms, s (with a fraction or without) or us; iso for text in ISO
           8601, in UTC if it has no offset; auto reads text as iso, a number below 100,000,000,000
           as s and any other as ms.
    """

    field: str = "timestamp"
    unit: TimestampUnit = "ms"

    def __post_init__(self) -> None:
        """Refuse an empty path."""
        path_of(self.field)


@dataclass(frozen=True, kw_only=True)
class AvroSettings:
    """Location of the schemas that records reference by id; the folder is checked first.

    schemas:           folder of files <id>.avsc; empty means none.
    registry:          URL of a schema registry, http or https; empty means none.
    registry_user:     user name for the registry; empty means none.
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
    """One topic of events, and the mapping of its records. The defaults read Segue's own records.

    topic:         name of the topic.
    format:        json; avro in the wire format of a schema registry (extra `avro`); or
                   impressions (records of what was shown, in Segue's own form).
    keyed_by_user: whether each record's key is the user id in UTF-8 and its partition that of
                   Kafka's default partitioner. Such a topic is read in place and has the same
                   number of partitions as Segue's own. Any other topic is re-keyed: `segue rekey`.
    user_id:       path of the user id, text or a whole number.
    item_id:       path of the item id, text or a whole number.
    item_type:     path and names of item types, or one type for all.
    kind:          path and names of kinds, or one kind for all.
    ignore:        ignored kinds of the source: such a record is neither an event nor a dead
                   letter.
    timestamp:     path and unit of the time of the event.
    avro:          where Avro's schemas are.
    """

    topic: str
    format: Literal["json", "avro", "impressions"] = "json"
    keyed_by_user: bool = True
    user_id: str = "user_id"
    item_id: str = "item_id"
    item_type: ValueMapping = ValueMapping(field="item_type")
    kind: ValueMapping = ValueMapping(field="kind")
    ignore: tuple[str, ...] = ()
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
        if self.ignore and not self.kind.field:
            raise ValueError("ignore names kinds, but kind.field names no field to find them in")
        if both := sorted(set(self.ignore) & set(self.kind.values)):
            raise ValueError(f"ignore: {', '.join(both)} is also one of kind.values")
        if path_of(self.timestamp.field) in self._texts:
            raise ValueError(
                f"timestamp.field: {self.timestamp.field!r} is also the field of another setting"
            )
        if self.format == "impressions" and dataclasses.replace(self, format="json") != (
            SourceSettings(topic=self.topic)
        ):
            raise ValueError(
                "impressions are read as they are, under their users' keys: expected no setting "
                "beside topic and format"
            )
        check_avro(self.format, self.avro)

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


def check_avro(form: str, avro: AvroSettings) -> None:
    """Raise ValueError where a format and the settings of Avro contradict each other."""
    if form == "avro" and not (avro.schemas or avro.registry):
        raise ValueError("avro: expected a folder of schemas, a registry, or both; got neither")
    if form != "avro" and avro != AvroSettings():
        raise ValueError(f"avro is set, but the format is {form!r}")


def check_topic(
    where: str, topic: str, seen: set[str], topics: TopicSettings, *, ours: bool = False
) -> None:
    """Raise ValueError for a topic that is in `seen`, or named like Segue's own; add it to `seen`.

    where: the source, as messages name it; ours: a topic of Segue's that may be a source.
    """
    if topic in seen:
        raise ValueError(f"{where}.topic: {topic!r} is the topic of two sources")
    if topic.startswith(f"{topics.prefix}.") and not ours:
        raise ValueError(
            f"{where}.topic: {topic!r} begins like Segue's own topics, which are read as they are; "
            "change topics.prefix if another system owns it"
        )
    seen.add(topic)


def check_sources(
    sources: Iterable[SourceSettings], kinds: Iterable[str], topics: TopicSettings
) -> None:
    """Raise ValueError where sources contradict each other or the other settings."""
    kinds, seen = set(kinds), set[str]()
    for number, source in enumerate(sources):
        where = f"sources[{number}]"
        is_ours = source.format == "impressions" and source.topic == topics.impressions
        check_topic(where, source.topic, seen, topics, ours=is_ours)
        kind = source.kind
        for setting, value in (*kind.values.items(), ("default", kind.default)):
            if value and value not in kinds:
                raise ValueError(
                    f"{where}.kind: {setting!r} gives {value!r}, which is not one of events.kinds: "
                    f"{', '.join(sorted(kinds))}"
                )
        if not kind.values and (both := sorted(kinds & set(source.ignore))):
            raise ValueError(f"{where}.ignore: {', '.join(both)} is also one of events.kinds")


@dataclass(frozen=True, kw_only=True)
class RekeySettings:
    """Settings of `segue rekey`.

    group:           consumer group of the processes that re-key; they share the partitions.
    batch:           maximum records of one partition that are re-keyed at once.
    settle_every_ms: time between two progress notes. After a crash, records since the last note are
                     re-keyed again.
    """

    group: str = "segue-rekey"
    batch: int = 4096
    settle_every_ms: int = 500


class PersonalTopic(Protocol):
    """A topic of another owner with records of users: of events, or of users themselves."""

    @property
    def topic(self) -> str:
        """Name of the topic."""

    @property
    def keyed_by_user(self) -> bool:
        """Whether it is read in place; otherwise it is re-keyed."""


Personal = TypeVar("Personal", bound=PersonalTopic)


def read_in_place(sources: Iterable[Personal]) -> list[Personal]:
    """Return the sources that workers read themselves."""
    return [source for source in sources if source.keyed_by_user]


def rekeyed(sources: Iterable[Personal]) -> list[Personal]:
    """Return the sources that `segue rekey` reads."""
    return [source for source in sources if not source.keyed_by_user]


def require_rekeyed(sources: Iterable[PersonalTopic]) -> None:
    """Raise SourceError where `segue rekey` has nothing to read."""
    if not rekeyed(sources):
        raise SourceError(
            "no source has keyed_by_user = false, and there are no user_sources: there is nothing "
            "to re-key"
        )
