import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from streams import (
    ArmShare,
    DeadLetter,
    Event,
    HoldingCheckpoint,
    Item,
    LeavingBundles,
    ListPolicy,
    ModelAnnouncement,
    Reason,
    Receipt,
    Recommendation,
    RecommendedItem,
    Request,
    Source,
    User,
    decode,
    encode,
    user_sha256,
)
from streams.erasure_records import ErasedUser, EraseUser, ErasurePlace, HoldingCopy
from streams.records import WIRE_RECORDS, Impression, ShownItem
from streams.schemas import schemas, write_schemas

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
SOURCE = Source(topic="segue.events", partition=1, offset=2)
EXAMPLES = {
    "event": Event(user_id="ann", item_id="p", item_type="podcast", kind="stream", timestamp=5),
    "impression": Impression(
        user_id="ann",
        timestamp=5,
        list_id="l-7",
        items=[ShownItem(item_id="p", item_type="podcast", position=1)],
    ),
    "item": Item(item_id="p", item_type="podcast", title="Mist", genres=["crime"]),
    "user": User(user_id="ann", attributes={"plan": "free"}),
    "request": Request(user_id="ann"),
    "list-policy": ListPolicy(
        list="*", version=3, author="ann", created_at=6, rules={"filter": "item.stock > 0"}
    ),
    "recommendation": Recommendation(
        user_id="ann",
        list="mix",
        items=[RecommendedItem(item_id="p", item_type="podcast", score=0.5)],
        generation=7,
        source=SOURCE,
        event_timestamp=5,
        created_at=6,
    ),
    "model-announcement": ModelAnnouncement(
        kind="static",
        name="s-1",
        url="file:///a",
        generation=1,
        created_at=6,
        metrics={"loss": 0.1},
    ),
    "leaving-bundles": LeavingBundles(names=["g000000001"], created_at=6, channel="next"),
    "arm-share": ArmShare(
        arm="next",
        salt="2026",
        share=0.05,
        state="growing",
        started_at=5,
        changed_at=6,
        after_generation=0,
        reasons=["started"],
    ),
    "dead-letter": DeadLetter(
        reason=Reason.FUTURE,
        detail="2200",
        source=SOURCE,
        payload="{}",
        encoding="utf-8",
        payload_bytes=2,
    ),
    "erase-user": EraseUser(
        user_id="ann", erase=True, count_from={"plays/1": 7}, topic_ids={"plays": "x"}
    ),
    "erased-user": ErasedUser(
        user_sha256="0" * 64,
        erasures=[ErasurePlace(source=SOURCE, logged_at=5, count_from={"plays/1": 7})],
    ),
    "receipt": Receipt(
        user_sha256=user_sha256(SOURCE, "ann"),
        source=SOURCE,
        position=3,
        held=True,
        checkpoints=[HoldingCheckpoint(name="c", pruned_by=7)],
        created_at=6,
        count_from={"plays/1": 7},
        copies=[HoldingCopy(place="topic segue.events", days=100.0), HoldingCopy(place="replays")],
    ),
}


def test_the_published_schemas_are_those_of_the_records():
    """After a change of records: python -m streams.schemas."""
    published = {path.name: path.read_text(encoding="utf-8") for path in SCHEMAS.glob("*.json")}
    assert published == schemas()
    assert len(published) == len(WIRE_RECORDS) == len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_we_write_is_valid_by_its_schema_and_read_again(name):
    record = EXAMPLES[name]
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(encode(record)), schema)
    assert decode(type(record), encode(record)) == record


def test_readers_that_do_not_know_a_newer_field_pass_it_over_and_newer_ones_do_without():
    class Earlier(msgspec.Struct):
        user_id: str
        generation: int

    said = msgspec.structs.replace(EXAMPLES["recommendation"], arm="next", by_head=False)
    assert json.loads(encode(said))["by_head"] is False, "no is said, too"
    assert msgspec.json.decode(encode(said), type=Earlier) == Earlier("ann", 7)
    assert b"by_head" not in encode(EXAMPLES["recommendation"])
    assert decode(Recommendation, encode(EXAMPLES["recommendation"])).by_head is None


def test_receipts_of_a_version_without_sources_and_copies_are_read():
    earlier = json.loads(encode(EXAMPLES["receipt"]))
    del earlier["count_from"], earlier["copies"]
    found = decode(Receipt, json.dumps(earlier).encode())
    assert (found.count_from, found.copies) == ({}, [])


def test_a_wrong_record_is_not_valid_by_its_schema():
    schema = json.loads((SCHEMAS / "event.json").read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"user_id": "ann"}, schema)


def test_schemas_are_written_to_a_folder(tmp_path):
    paths = write_schemas(tmp_path / "new")
    assert sorted(path.name for path in paths) == sorted(schemas())


def test_keys_decide_the_partition_and_what_compaction_replaces():
    keys = {name: record.key for name, record in EXAMPLES.items()}
    assert keys == {
        "event": b"ann",
        "impression": b"ann",
        "item": b"podcast\0p",
        "user": b"ann",
        "request": b"ann",
        "recommendation": b"ann",
        "model-announcement": b"static",
        "leaving-bundles": b"leaving/next",
        "arm-share": b"share/next",
        "dead-letter": b"segue.events/1/2",
        "erase-user": b"ann",
        "erased-user": b"0" * 64,
        "receipt": b"segue.events/1/2",
        "list-policy": b"*/00000003",
    }
