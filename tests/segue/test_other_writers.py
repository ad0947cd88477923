"""Records of somebody else on a topic of ours: readers leave them out and go on."""

import pytest

from agents.bundles.announcements import announced_names, announcement_of, newest_shares
from segue.showing import titles_of
from streams import ArmShare, Item, ModelAnnouncement, Record, decode_items, encode

BAD = [b"", b"\xff", b"5", b"{}", b'{"item_id":1.5,"item_type":"m"}', b"[" * 20_000]


def record(key, value, offset=0):
    return Record("t", 0, offset, 1_760_000_000_000, key, value)


def test_titles_are_read_as_the_workers_read_the_catalogue():
    items = [
        Item(item_id="a", item_type="m", title="A"),
        Item(item_id="b", item_type="m"),
        Item(item_id="c", item_type="m", title="C"),
    ]
    records = [record(item.key, encode(item)) for item in items]
    records.append(record(b"m\0n", b'{"item_id":"n","item_type":"m","title":5}'))
    records.append(record(b"m\x007", b'{"item_id":7,"item_type":"m","title":"Seven"}'))
    records += [record(b"m\0x", value) for value in BAD]
    records.append(record(b"m\0c", None))
    deleted = Item(item_id="a", item_type="m", deleted=True)
    assert titles_of(decode_items(records)[0].records) == {
        ("m", "a"): "A",
        ("m", "b"): "b",
        ("m", "7"): "Seven",
    }
    records.append(record(deleted.key, encode(deleted)))
    assert ("m", "a") not in titles_of(decode_items(records)[0].records)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("key", [b"dynamic", b"dynamic/\xff", b"share/a", b"\xff", None])
def test_what_cannot_be_read_announces_nothing(key, value):
    said = ModelAnnouncement(
        kind="dynamic", name="g1", url="u", generation=1, created_at=2, metrics={}
    )
    share = ArmShare(
        arm="a", salt="s", share=0.5, state="growing", started_at=1, changed_at=1,
        after_generation=0, reasons=[],
    )  # fmt: skip
    bad = record(key, value)
    records = [record(said.key, encode(said)), record(share.key, encode(share)), bad]
    assert announcement_of(bad) is None
    assert announced_names(records) == {b"dynamic": "g1"}
    assert newest_shares([bad, records[1]], "s") == {"a": share}
