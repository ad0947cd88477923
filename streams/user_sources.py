"""Topics of users of other owners: their settings, and users from their records."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from streams.dead_letters import Fault
from streams.item_sources import DeletedMapping
from streams.json_rows import text_ids
from streams.keyed_records import USER_MAX_BYTES, decode_users
from streams.log_record import LogRecord, Record
from streams.mapped_rows import (
    Attributes,
    check_paths,
    decoded,
    path_or_none,
    row_reader,
    text_of,
    value_at,
)
from streams.records import DeadLetter, Reason, User
from streams.schema_wait import ReadsSchemas
from streams.sources import AvroSettings, check_avro, check_topic
from streams.topics import TopicSettings

if TYPE_CHECKING:
    from streams.avro import AvroReader

__all__ = ["UserDecoder", "UserSourceSettings", "check_user_sources"]


@dataclass(frozen=True, kw_only=True)
class UserSourceSettings:
    """One topic of users, and the mapping of its records; `segue rekey` writes them to Segue's.

    topic:      name of the topic; any number of partitions, any keys.
    format:     json, or avro in the wire format of a schema registry (extra `avro`).
    user_id:    path of the user id, text or a whole number, that of events after their mapping;
                empty means that the record's key is the id, and a null value deletes the user.
    country:    path of the country; empty, here and below, means none.
    birth_year: path of the year of birth.
    attributes: attributes for policies: name, or name:type, with the path of its field, as for
                items.
    attribute_object: path of an object of which each member is an attribute.
    deleted:    which records say that a user's attributes are deleted.
    avro:       where Avro's schemas are.
    """

    topic: str
    format: Literal["json", "avro"] = "json"
    user_id: str = "user_id"
    country: str = "country"
    birth_year: str = "birth_year"
    attributes: dict[str, str] = dataclasses.field(default_factory=dict)
    attribute_object: str = "attributes"
    deleted: DeletedMapping = dataclasses.field(default_factory=DeletedMapping)
    avro: AvroSettings = dataclasses.field(default_factory=AvroSettings)

    def __post_init__(self) -> None:
        """Refuse what could only be refused later, record by record."""
        if not self.topic:
            raise ValueError("topic: expected a name, got an empty one")
        paths = ("user_id", "country", "birth_year", "attribute_object")
        check_paths({name: getattr(self, name) for name in paths}, self.attributes)
        check_avro(self.format, self.avro)

    @property
    def keyed_by_user(self) -> bool:
        """No: whatever its keys are, the topic is re-keyed."""
        return False


def check_user_sources(
    sources: Iterable[UserSourceSettings], others: Iterable[str], topics: TopicSettings
) -> None:
    """Raise ValueError where sources of users contradict each other or the other settings.

    others: topics of sources of events and items.
    """
    seen = set(others)
    for number, source in enumerate(sources):
        check_topic(f"user_sources[{number}]", source.topic, seen, topics)


class UserDecoder(ReadsSchemas):
    """Decodes the records of one source; reading never raises for what a record holds."""

    def __init__(self, source: UserSourceSettings) -> None:
        """Prepare the paths. Raises SourceError if what reads the format is not installed."""
        self._source = source
        self._read = row_reader(source.format, source.avro)
        self.avro = cast("AvroReader", self._read) if source.format == "avro" else None
        self._id, self._deleted_id = path_or_none(source.user_id), path_or_none(source.deleted.id)
        self._country = path_or_none(source.country)
        self._birth_year = path_or_none(source.birth_year)
        self._deleted = path_or_none(source.deleted.field)
        self._attributes = Attributes(source.attributes, source.attribute_object)

    def __call__(
        self, records: Sequence[LogRecord]
    ) -> tuple[list[tuple[LogRecord, User]], list[DeadLetter]]:
        """Return users in the order of their records, and a dead letter for each bad one.

        A null value whose key is not the id says nothing: change streams write one behind each
        deletion. Such a record is in neither.
        """
        found, letters = decoded(
            records, self._read, USER_MAX_BYTES, self._row, _user_record, decode_users
        )
        return [(record, user) for record, user in found if user is not None], letters

    def _row(self, record: LogRecord, row: dict[str, Any] | None) -> dict[str, Any] | Fault | None:
        if row is None and self._id:
            return None
        said = value_at(row, self._deleted)
        deleted = row is None or (said is not None and text_of(said) in self._source.deleted.values)
        user_id: Any = value_at(row, (deleted and self._deleted_id) or self._id)
        if not self._id and record.key is not None:
            try:
                user_id = record.key.decode()
            except UnicodeDecodeError as error:
                return Reason.BAD_ID, f"expected a key in UTF-8 as the user id: {error}"
        if user_id is None:
            where = self._source.user_id or "the key"
            return Reason.MISSING_FIELD, f"expected user_id in {where}, got none"
        if row is None or deleted:
            return {"user_id": user_id, "deleted": True}
        try:
            own = self._attributes.of(row)
        except (ValueError, TypeError) as error:
            return Reason.WRONG_TYPE, str(error)
        return {
            "user_id": user_id,
            "country": value_at(row, self._country),
            "birth_year": value_at(row, self._birth_year),
            "attributes": own,
        }


def _user_record(offset: int, row: dict[str, Any]) -> Record:
    """Return a row as a record of Segue's own topic of users; raises what JSON cannot represent."""
    row = {name: value for name, value in row.items() if value is not None}
    row |= text_ids(row)
    key = str(row["user_id"]).encode(errors="replace")
    return Record("", 0, offset, 0, key, msgspec.json.encode(row))
