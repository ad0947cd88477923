"""Reading foreign records field by field: paths, attributes, and rows that our decoders judge."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from streams.attribute_fields import ATTRIBUTES, AttributeField
from streams.dead_letters import Fault, dead_letter
from streams.event_batch import RecordBatch
from streams.json_rows import read_each
from streams.log_record import LogRecord, Record
from streams.records import DeadLetter, Reason
from streams.sources import AvroSettings, Path, path_of

__all__ = [
    "Attributes",
    "check_paths",
    "decoded",
    "path_or_none",
    "row_reader",
    "text_of",
    "value_at",
]

T = TypeVar("T")


def path_or_none(text: str) -> Path:
    """Return the names of a path; none for an empty text."""
    return path_of(text) if text else ()


def value_at(row: Any, path: Path) -> Any:
    """Return the value at a path; None where it, or a field on the way, is missing; or no path."""
    if not path:
        return None
    for name in path:
        if not isinstance(row, dict):
            return None
        row = row.get(name)
    return row


def text_of(value: Any) -> str:
    """Return a value as settings name it: JSON's true is `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_paths(paths: Mapping[str, str], attributes: Mapping[str, str]) -> None:
    """Raise ValueError for a path or an attribute that cannot be meant; names the setting."""
    for name, path in paths.items():
        try:
            path_or_none(path)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    for name, path in attributes.items():
        try:
            if "=" in name:
                raise ValueError(f"expected a name without =, got {name!r}")
            AttributeField.read(f"{ATTRIBUTES}{name}={path}")
            path_of(path)
        except ValueError as error:
            raise ValueError(f"attributes.{name}: {error}") from error


class Attributes:
    """Attributes of a row: the members of an object, and fields of their own."""

    def __init__(self, named: Mapping[str, str], whole: str) -> None:
        """named: name, or name:type, of each with its path; whole: path of the object."""
        self._whole_name, self._whole = whole, path_or_none(whole)
        self._named = [
            (path_of(path), AttributeField.read(f"{ATTRIBUTES}{name}={path}"))
            for name, path in named.items()
        ]

    def of(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the attributes; None without any. Raises ValueError."""
        whole = value_at(row, self._whole)
        if whole is not None and not isinstance(whole, dict):
            raise ValueError(f"{self._whole_name}: expected an object, got {whole!r}")
        named = {field.name: field.converted(value_at(row, path)) for path, field in self._named}
        own = (whole or {}) | {name: value for name, value in named.items() if value is not None}
        return own or None


def row_reader(form: str, avro: AvroSettings) -> Callable[[bytes], dict[str, Any]]:
    """Return what reads a value as an object. Raises SourceError if it is not installed."""
    if form == "avro":
        from streams.avro import AvroReader  # noqa: PLC0415 needs an extra

        return AvroReader(avro, dict[str, Any])
    return cast("Callable[[bytes], dict[str, Any]]", msgspec.json.Decoder(dict[str, Any]).decode)


def decoded(
    records: Sequence[LogRecord],
    read: Callable[[bytes], dict[str, Any]],
    max_bytes: int,
    row_of: Callable[[LogRecord, dict[str, Any] | None], dict[str, Any] | Fault | None],
    record_of: Callable[[int, dict[str, Any]], Record],
    decode: Callable[[Sequence[LogRecord]], tuple[RecordBatch[T], list[DeadLetter]]],
) -> tuple[list[tuple[LogRecord, T | None]], list[DeadLetter]]:
    """Return what records say, in their order, and a dead letter for each bad one.

    row_of: makes of a record and its fields (None for a null value) a row with our names, its
            fault, or None where it says only that something is gone. record_of, decode: write and
            judge such a row as one of our own topic.
    """
    found: dict[int, T | None] = {}
    faults: dict[int, Fault] = {}
    written: list[Record] = []
    for number, record in enumerate(records):
        fields: dict[str, Any] | None = None
        if record.value is not None:
            rows, _, letters = read_each([record], read, max_bytes)
            if letters:
                faults[number] = letters[0].reason, letters[0].detail
                continue
            fields = rows[0]
        try:
            row = row_of(record, fields)
            if isinstance(row, dict):
                written.append(record_of(number, row))
            elif row is None:
                found[number] = None
            else:
                faults[number] = row
        # RecursionError: deep values that a message shows, or that are written as text.
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            faults[number] = Reason.WRONG_TYPE, str(error)
    good, refused = decode(written)
    found.update(zip(good.offset.tolist(), good.records, strict=True))
    faults.update((one.source.offset, (one.reason, one.detail)) for one in refused)
    return (
        [(records[number], found[number]) for number in sorted(found)],
        [dead_letter(records[number], *faults[number]) for number in sorted(faults)],
    )
