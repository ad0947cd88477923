"""Avro in a registry's wire format: schemas from a folder or a registry, bad bytes survived."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import (
    AvroSettings,
    Reason,
    Record,
    SourceError,
    SourceSettings,
    TimestampMapping,
    ValueMapping,
    event_decoder,
)
from tests.streams.foreign import NOW, foreign_record
from tests.streams.test_codec import RULES, broken_records
from tests.streams.test_mapping import columns, events_of_today

fastavro = pytest.importorskip(
    "fastavro", reason="fastavro is not installed (extra avro): nothing to decode Avro with"
)

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
USER = {"type": "record", "name": "User", "fields": [{"name": "id", "type": "string"}]}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Played",
    "fields": [
        {"name": "user", "type": USER},
        {"name": "track", "type": "string"},
        {"name": "played_at", "type": MILLIS},
        {"name": "device", "type": ["null", "string"], "default": None},
        {
            "name": "action",
            "type": [
                "null",
                {"type": "enum", "name": "Action", "symbols": ["PLAY", "SUB", "NEXT"]},
            ],
        },
    ],
}
RENAMED = json.loads(json.dumps(SCHEMA).replace('"track"', '"song"'))

PLAYED = SourceSettings(
    topic="played",
    format="avro",
    user_id="user.id",
    item_id="track",
    item_type=ValueMapping(default="music"),
    kind=ValueMapping(
        field="action", values={"PLAY": "stream", "SUB": "follow"}, default="preview"
    ),
    timestamp=TimestampMapping(field="played_at"),
    avro=AvroSettings(schemas="set below"),
)


def wire(value: dict[str, Any], number: int = 7, schema: dict[str, Any] = SCHEMA) -> bytes:
    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), value)
    return b"\0" + number.to_bytes(4, "big") + body.getvalue()


def played(**changes: Any) -> dict[str, Any]:
    fields = {"user": {"id": "ann"}, "track": "t1", "played_at": NOW, "device": "car"}
    return {**fields, "action": "PLAY", **changes}


def record(value: bytes, key: bytes | None = b"ann", offset: int = 0) -> Record:
    return Record("played", 0, offset, NOW, key, value)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSettings:
    folder = tmp_path_factory.mktemp("schemas")
    (folder / "7.avsc").write_text(json.dumps(SCHEMA))
    (folder / "9.avsc").write_text("{}")
    return replace(PLAYED, avro=AvroSettings(schemas=str(folder)))


def test_records_are_read_by_the_schema_that_they_name(source):
    values = [wire(played()), wire(played(action=None, device=None)), wire(played(action="SUB"))]
    records = [record(value, offset=offset) for offset, value in enumerate(values)]
    events, letters = event_decoder(source, RULES)(records)
    assert letters == []
    assert events.user_id == ["ann"] * 3
    assert events.item_id == ["t1"] * 3
    assert events.item_type == ["music"] * 3
    assert events.kind == ["stream", "preview", "follow"]
    assert events.timestamp.tolist() == [NOW] * 3


GOOD = wire(played())


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (wire(played(action="NEXT")), Reason.UNKNOWN_KIND, "'NEXT'"),
        (wire(played(), number=8), Reason.MALFORMED, "schema 8 is not in"),
        (b"\x01" + GOOD[1:], Reason.MALFORMED, "zero byte"),
        (b"", Reason.MALFORMED, "got nothing"),
        (b"\0\0\0", Reason.MALFORMED, "000000"),
        (GOOD[:-2], Reason.MALFORMED, "schema 7"),
        (GOOD + b"x", Reason.MALFORMED, "1 bytes early"),
        (GOOD[:5] + b"\xff" * 30, Reason.MALFORMED, "schema 7"),
        (wire(played(played_at=-1)), Reason.BEFORE_EPOCH, "1970"),
        (json.dumps(played()).encode(), Reason.MALFORMED, "zero byte"),
    ],
)
def test_a_bad_record_is_a_dead_letter_beside_good_ones(source, value, reason, detail):
    records = [record(GOOD), record(value, offset=1), record(GOOD, offset=2)]
    events, letters = event_decoder(source, RULES)(records)
    assert events.offset.tolist() == [0, 2]
    assert [letter.reason for letter in letters] == [reason]
    assert detail in letters[0].detail


def test_a_field_that_the_schema_lacks_is_missing(source):
    lacking = replace(source, item_id="song")
    _, letters = event_decoder(lacking, RULES)([record(GOOD)])
    assert [letter.reason for letter in letters] == [Reason.MISSING_FIELD]
    assert "song" in letters[0].detail


def test_a_broken_schema_stops_the_reading_and_says_where_it_lies(source):
    with pytest.raises(SourceError, match=r"9\.avsc"):
        event_decoder(source, RULES)([record(GOOD[:4] + b"\x09" + GOOD[5:])])


@settings(deadline=None, max_examples=50)
@given(st.lists(events_of_today, max_size=5), st.lists(broken_records(), max_size=4))
def test_our_events_in_avro_map_to_the_same_batch(source, events, broken):
    """In a shape that can hold any of our events."""
    text = {"type": "record", "name": "E", "fields": [
        {"name": "u", "type": {"type": "record", "name": "U", "fields": [
            {"name": "id", "type": "string"}]}},
        {"name": "i", "type": "string"}, {"name": "t", "type": "string"},
        {"name": "k", "type": ["null", "string"]}, {"name": "at", "type": "double"}]}  # fmt: skip
    Path(source.avro.schemas, "11.avsc").write_text(json.dumps(text))
    shape = replace(
        source, user_id="u.id", item_id="i", item_type=ValueMapping(field="t"),
        kind=ValueMapping(field="k"), timestamp=TimestampMapping(field="at", unit="s"),
    )  # fmt: skip
    records = [
        record(wire(foreign_record(shape, event), 11, text), event.key, offset)
        for offset, event in enumerate(events)
    ]
    bad = [one._replace(offset=len(events) + n) for n, one in enumerate(broken)]
    found, letters = event_decoder(shape, RULES)([*records, *bad])
    assert [letter.source.offset for letter in letters] == [one.offset for one in bad]
    names = ("user_id", "item_type", "item_id", "kind", "timestamp")
    expected = {name: [getattr(event, name) for event in events] for name in names}
    assert columns(found) == {**expected, "offset": list(range(len(events)))}


class Registry(BaseHTTPRequestHandler):
    """The one answer of a schema registry that readers need."""

    schemas: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []
    failing: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        if self.failing:
            self.send_error(self.failing.pop())
        elif self.path in self.schemas:
            body = json.dumps({"schema": self.schemas[self.path]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def registry() -> Iterator[str]:
    Registry.schemas = {
        "/schemas/ids/7": json.dumps(SCHEMA),
        "/schemas/ids/12": json.dumps(RENAMED),
    }
    Registry.asked, Registry.failing = [], []
    with HTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_schemas_come_from_a_registry_once_each(registry):
    asking = AvroSettings(registry=registry, registry_user="me", registry_password="secret")
    decode = event_decoder(replace(PLAYED, avro=asking), RULES)
    records = [record(GOOD), record(wire(played(), number=8), offset=1), record(GOOD, offset=2)]
    for _ in range(2):
        events, letters = decode(records)
        assert events.offset.tolist() == [0, 2]
        assert [letter.reason for letter in letters] == [Reason.MALFORMED]
    login = "Basic " + base64.b64encode(b"me:secret").decode()
    assert Registry.asked == [("/schemas/ids/7", login), ("/schemas/ids/8", login)]
    assert "secret" not in repr(asking)


def test_a_registry_that_stumbles_is_asked_again(registry):
    Registry.failing = [500, 503]
    decode = event_decoder(replace(PLAYED, avro=AvroSettings(registry=registry)), RULES)
    assert len(decode([record(GOOD)])[0]) == 1


def test_no_record_is_lost_to_a_registry_that_does_not_answer(registry):
    Registry.failing = [500] * 3
    decode = event_decoder(replace(PLAYED, avro=AvroSettings(registry=registry)), RULES)
    with pytest.raises(SourceError, match="no answer"):
        decode([record(GOOD)])
    assert len(decode([record(GOOD)])[0]) == 1


def test_the_folder_is_asked_before_the_registry(source, registry):
    both = AvroSettings(schemas=source.avro.schemas, registry=registry)
    mapped = replace(source, avro=both, item_id="song")
    records = [record(wire(played(song="s1") | {"track": None}, 12, RENAMED))]
    decode = event_decoder(mapped, RULES)
    assert decode(records)[0].item_id == ["s1"]
    decode([record(GOOD)])
    assert [path for path, _ in Registry.asked] == ["/schemas/ids/12"]
