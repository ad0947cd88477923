"""Avro in the wire format of a schema registry: a zero byte, four bytes of schema id, the record.

The schema of an id is a file of a folder or comes from the registry, and is kept once it was read.
"""

import base64
import copy
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from streams.sources import AvroSettings, SourceError

MAGIC = 0
HEADER_BYTES = 5
REQUEST_TIMEOUT_S = 10.0
REQUEST_TRIES = 3


class AvroReader:
    """Makes rows of Avro records.

    A record that does not fit its schema, or names one that neither the folder nor the registry
    has, raises ValueError. A registry that does not answer raises SourceError, for then nothing is
    known about the record: the reader stops without loss.
    """

    def __init__(self, settings: AvroSettings, row: Any) -> None:
        """Read into rows of a type. Raises SourceError when fastavro is not installed."""
        try:
            import fastavro  # noqa: PLC0415 an extra
        except ImportError as error:
            raise SourceError(
                "Avro needs the package fastavro, which is not installed: pip install segue[avro]"
            ) from error
        self._parse: Callable[[Any], Any] = fastavro.parse_schema
        self._decode: Callable[..., Any] = fastavro.schemaless_reader
        self._row = row
        self._schemas = _Schemas(settings)
        self._parsed: dict[int, Any] = {}

    def __call__(self, value: bytes) -> Any:
        """Return the row of one value."""
        if not _has_header(value):
            raise ValueError(
                "expected a zero byte and a schema id of four bytes, got "
                f"{value[:HEADER_BYTES].hex() or 'nothing'}"
            )
        number = _schema_number(value)
        schema = self._parsed.get(number)
        if schema is None:
            schema = self._parsed[number] = self._schema(number)
        body = BytesIO(value)
        body.seek(HEADER_BYTES)
        try:
            datum = self._decode(body, schema, None)
        except Exception as error:  # fastavro raises what its bytes lead it to
            raise ValueError(f"not a record of schema {number}: {error!r}") from error
        if body.tell() != len(value):
            raise ValueError(
                f"not a record of schema {number}: it ends {len(value) - body.tell()} bytes early"
            )
        return msgspec.convert(datum, self._row)

    def into(self, row: Any) -> "AvroReader":
        """Return a reader of the same records into rows of another type; it shares the schemas."""
        other = copy.copy(self)
        other._row = row
        return other

    def unknown(self, values: Iterable[bytes | None]) -> set[int]:
        """Return the schemas that values name and that were not asked for yet."""
        named = {_schema_number(value) for value in values if value and _has_header(value)}
        return named - self._parsed.keys() - self._schemas.missing

    def fetch(self, numbers: Iterable[int]) -> None:
        """Read schemas, so that records of theirs can be read at once; blocks. Raises SourceError.

        One that does not exist is passed over: its records are refused.
        """
        for number in sorted(numbers):
            with suppress(ValueError):
                self._parsed[number] = self._schema(number)

    def _schema(self, number: int) -> Any:
        text, place = self._schemas.text(number)
        try:
            return self._parse(_plain(json.loads(text)))
        except Exception as error:  # fastavro's own, json's, and those of values of other shapes
            raise SourceError(f"schema {number} ({place}) is no Avro schema: {error!r}") from error


def _has_header(value: bytes) -> bool:
    return len(value) >= HEADER_BYTES and value[0] == MAGIC


def _schema_number(value: bytes) -> int:
    return int.from_bytes(value[1:HEADER_BYTES], "big")


class _Schemas:
    """Texts of schemas by id, and where each comes from."""

    def __init__(self, settings: AvroSettings) -> None:
        self._settings = settings
        self.missing: set[int] = set()

    def text(self, number: int) -> tuple[str, str]:
        """Return a schema; raises ValueError if there is none, SourceError if that is unknown."""
        if number not in self.missing:
            file = Path(self._settings.schemas or ".") / f"{number}.avsc"
            if self._settings.schemas and file.is_file():
                return file.read_text(), str(file)
            if self._settings.registry:
                url = f"{self._settings.registry.rstrip('/')}/schemas/ids/{number}"
                found = self._fetch(url)
                if found is not None:
                    return found, url
            self.missing.add(number)
        places = [place for place in (self._settings.schemas, self._settings.registry) if place]
        raise ValueError(f"schema {number} is not in {' or '.join(places)}")

    def _fetch(self, url: str) -> str | None:
        request = urllib.request.Request(url)  # noqa: S310 the settings allow http and https alone
        if self._settings.registry_user:
            login = f"{self._settings.registry_user}:{self._settings.registry_password}"
            request.add_header(
                "Authorization", f"Basic {base64.b64encode(login.encode()).decode()}"
            )
        failure: Exception | None = None
        for _ in range(REQUEST_TRIES):
            try:
                with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310
                    return str(json.load(answer)["schema"])
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 404:
                    return None
                failure = error
            except (OSError, ValueError, KeyError, TypeError) as error:
                failure = error
        raise SourceError(f"the schema registry gives no answer at {url}: {failure!r}") from failure


def _plain(schema: Any) -> Any:
    """Return a schema without logical types: a timestamp stays the number that it is written as."""
    if isinstance(schema, dict):
        return {key: _plain(part) for key, part in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    return schema
