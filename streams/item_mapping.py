"""From the records of a foreign catalogue topic to items, by the rules of our own catalogue."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from streams.dead_letters import Fault
from streams.item_rows import item_record, typed_value
from streams.item_sources import ItemSourceSettings
from streams.keyed_records import ITEM_MAX_BYTES, decode_items
from streams.log_record import LogRecord
from streams.mapped_rows import (
    Attributes,
    decoded,
    path_or_none,
    row_reader,
    text_of,
    value_at,
)
from streams.records import DeadLetter, Item, Reason
from streams.schema_wait import ReadsSchemas
from streams.sources import path_of
from streams.timestamps import Faults, milliseconds

if TYPE_CHECKING:
    from streams.avro import AvroReader

__all__ = ["ItemDecoder", "ItemRecord", "own_items"]


class ItemRecord(NamedTuple):
    """What a record says: an item, or None if its key says nothing any more."""

    record: LogRecord
    item: Item | None


def own_items(records: Sequence[LogRecord]) -> tuple[list[ItemRecord], list[DeadLetter]]:
    """Return what records of Segue's own catalogue say, and dead letters for the others."""
    batch, letters = decode_items(records)
    at = {(record.partition, record.offset): record for record in records}
    refused = {(letter.source.partition, letter.source.offset) for letter in letters}
    good = [record for place, record in at.items() if place not in refused]
    said = zip(good, batch.records, strict=True)
    return [ItemRecord(r, None if r.value is None else item) for r, item in said], letters


class ItemDecoder(ReadsSchemas):
    """Decodes the records of one source; reading never raises for what a record holds."""

    def __init__(self, source: ItemSourceSettings) -> None:
        """Prepare the paths. Raises SourceError if what reads the format is not installed."""
        self._source = source
        self._read = row_reader(source.format, source.avro)
        self.avro = cast("AvroReader", self._read) if source.format == "avro" else None
        self._texts = {
            name: path_of(path)
            for name in (*source.texts, "genres")
            if (path := getattr(source, name))
        }
        self._id, self._deleted_id = path_or_none(source.item_id), path_or_none(source.deleted.id)
        self._type = path_or_none(source.item_type.field)
        self._published = path_or_none(source.published_at)
        self._deleted = path_or_none(source.deleted.field)
        self._attributes = Attributes(source.attributes, source.attribute_object)

    def __call__(self, records: Sequence[LogRecord]) -> tuple[list[ItemRecord], list[DeadLetter]]:
        """Return what records say, in their order, and a dead letter for each bad one."""
        found, letters = decoded(
            records, self._read, ITEM_MAX_BYTES, self._row, item_record, decode_items
        )
        return [ItemRecord(*one) for one in found], letters

    def _row(self, record: LogRecord, row: dict[str, Any] | None) -> dict[str, Any] | Fault | None:
        """Return a row with Segue's names; None if it deletes what its key says; or its fault."""
        if self._source.keyed_by_item and record.key is None:
            return Reason.MISSING_KEY, "expected a key, got none (keyed_by_item)"
        if row is None:
            empty = Reason.EMPTY, "expected a value, got none: keys say nothing (keyed_by_item)"
            return None if self._source.keyed_by_item else empty
        said = value_at(row, self._deleted)
        deleted = said is not None and text_of(said) in self._source.deleted.values
        ids = self._ids(row, record, deleted=deleted)
        if isinstance(ids, tuple):
            unnamed = ids[0] is Reason.MISSING_FIELD
            return None if deleted and unnamed and self._source.keyed_by_item else ids
        if deleted:
            return ids | {"deleted": True}
        try:
            texts = {
                name: typed_value(name, value_at(row, path), of_text=False)
                for name, path in self._texts.items()
            }
            published, own = self._published_at(row), self._attributes.of(row)
        except (ValueError, TypeError) as error:
            return Reason.WRONG_TYPE, str(error)
        return ids | texts | {"published_at": published, "attributes": own}

    def _ids(
        self, row: Mapping[str, Any], record: LogRecord, *, deleted: bool
    ) -> dict[str, Any] | Fault:
        """Return the id and the type of an item, or their fault."""
        item_type = self._item_type(row)
        item_id: Any = value_at(row, (deleted and self._deleted_id) or self._id)
        if not self._id and record.key is not None:
            try:
                item_id = record.key.decode()
            except UnicodeDecodeError as error:
                return Reason.BAD_ID, f"expected a key in UTF-8 as the item id: {error}"
        if isinstance(item_type, tuple):
            return item_type
        for name, value, where in (
            ("item_id", item_id, self._source.item_id),
            ("item_type", item_type, self._source.item_type.field),
        ):
            if value is None:
                return Reason.MISSING_FIELD, f"expected {name} in {where or 'the key'}, got none"
        return {"item_id": item_id, "item_type": item_type}

    def _item_type(self, row: Mapping[str, Any]) -> Any:
        """Return the item type; its fault; or None if the record has none."""
        mapping = self._source.item_type
        value = value_at(row, self._type)
        if value is None:
            return mapping.default or None
        if not mapping.values:
            return value
        known = mapping.values.get(text_of(value))
        if known is None:
            names = ", ".join(sorted(mapping.values))
            detail = f"{mapping.field}: expected one of {names}, got {text_of(value)!r}"
            return Reason.UNKNOWN_TYPE, detail
        return known

    def _published_at(self, row: Mapping[str, Any]) -> Any:
        value = value_at(row, self._published)
        if value is None or self._source.published_unit == "ms" or isinstance(value, str):
            return typed_value("published_at", value, of_text=False)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{self._source.published_at}: expected a time, got {value!r}")
        faults: Faults = {}
        # The catalogue has times before 1970, events have none.
        found = int(milliseconds([abs(value)], self._source.published_unit, faults)[0])
        for _, detail in faults.values():
            raise ValueError(detail)
        return found if value >= 0 else -found
