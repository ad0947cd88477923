"""Catalogue topics of other owners: what their records mean, and which record is in force."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import (
    AdminError,
    AvroSettings,
    DeletedMapping,
    EmbeddedLog,
    Item,
    ItemCatalogue,
    ItemDecoder,
    ItemSourceSettings,
    Reason,
    Record,
    SourceError,
    SourceSettings,
    TopicDefinition,
    TopicSettings,
    ValueMapping,
    check_item_sources,
    create_topics,
    encode,
    item_topics,
    read_catalogue,
    require_item_topics,
    topic_reader,
    topics,
)
from streams.item_catalogue import ITEM_KEYS
from streams.log_watch import SameTopics
from streams.positions import LogChanged, TopicIdentity
from streams.schema_wait import SCHEMAS_S

TOPICS = TopicSettings(partitions=2)
CHANGES = ItemSourceSettings(
    topic="shop.products",
    item_id="after.sku",
    item_type=ValueMapping(field="after.class", values={"b": "book"}, default="product"),
    title="after.name",
    description="",
    genres="after.tags",
    published_at="after.made_at",
    published_unit="us",
    attributes={"stock:number": "after.stock", "shop.name": r"source.shop\.name"},
    attribute_object="after.more",
    deleted=DeletedMapping(field="op", values=("d",)),
)
PLAIN = ItemSourceSettings(topic="plain", keyed_by_item=False)


def record(
    key: bytes | None, value: object, topic: str = "shop.products", at: int = 0, **more: int
):
    body = None if value is None else value if isinstance(value, bytes) else json.dumps(value)
    return Record(
        topic=topic, partition=more.get("partition", 0), offset=at,
        timestamp=more.get("time", at), key=key,
        value=body.encode() if isinstance(body, str) else body,
    )  # fmt: skip


def test_a_change_stream_becomes_items():
    after = {
        "sku": 7, "class": "b", "name": "Seven", "tags": ["x"], "made_at": -2_000_000,
        "stock": "3", "more": {"price": 2.5},
    }  # fmt: skip
    rows = [
        record(b"k7", {"op": "c", "after": after, "source": {"shop.name": "berlin"}}, at=0),
        record(b"k8", {"op": "c", "after": {"sku": "a"}}, at=1),
        record(b"k9", {"op": "d", "after": {"sku": "b"}}, at=2),
        record(b"k7", {"op": "d", "after": None}, at=3),
        record(b"k8", None, at=4),
    ]
    found, letters = ItemDecoder(CHANGES)(rows)
    assert letters == []
    assert [item for _, item in found] == [
        Item(
            item_id="7", item_type="book", title="Seven", genres=["x"], published_at=-2_000,
            attributes={"price": 2.5, "stock": 3, "shop.name": "berlin"},
        ),
        Item(item_id="a", item_type="product"),
        Item(item_id="b", item_type="product", deleted=True),
        None,
        None,
    ]  # fmt: skip


def test_bad_records_have_their_reason_and_do_not_touch_good_ones():
    sku = {"sku": "a"}
    rows = [
        record(b"k", {"after": sku}, at=0),
        record(b"k", b"{no json", at=1),
        record(None, {"after": sku}, at=2),
        record(b"k", {"after": {}}, at=3),
        record(b"k", {"after": {"sku": "a", "class": "z"}}, at=4),
        record(b"k", {"after": {"sku": "a", "stock": "many"}}, at=5),
        record(b"k", {"after": {"sku": "a", "name": 5}}, at=6),
        record(b"k", {"after": {"sku": "a\0"}}, at=7),
        record(b"k", b"[1]", at=8),
        record(b"k", {"after": {"sku": "a", "more": [1]}}, at=9),
        record(b"k", {"after": sku}, at=10),
    ]
    found, letters = ItemDecoder(CHANGES)(rows)
    assert [r.offset for r, _ in found] == [0, 10]
    assert {one.source.offset: one.reason for one in letters} == {
        1: Reason.MALFORMED, 2: Reason.MISSING_KEY, 3: Reason.MISSING_FIELD,
        4: Reason.UNKNOWN_TYPE, 5: Reason.WRONG_TYPE, 6: Reason.WRONG_TYPE, 7: Reason.BAD_ID,
        8: Reason.WRONG_TYPE, 9: Reason.WRONG_TYPE,
    }  # fmt: skip
    assert all(one.source.topic == "shop.products" for one in letters)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "op": VALUES,
        "source": VALUES,
        "after": VALUES
        | st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("sku", "class", "name", "tags", "made_at", "stock", "more"), VALUES
            ),
        ),
    },
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS | VALUES | st.binary(), max_size=4))
def test_reading_never_raises_and_loses_nothing(values):
    rows = [
        record(b"k", value if isinstance(value, bytes) else json.dumps(value).encode(), at=at)
        for at, value in enumerate(values)
    ]
    found, letters = ItemDecoder(CHANGES)(rows)
    offsets = [one.record.offset for one in found] + [one.source.offset for one in letters]
    assert sorted(offsets) == [*range(len(rows))]


def test_values_at_the_limits_of_the_reader_are_refused_and_stop_nothing():
    """Some depth is read, and fails only where a value is written as text for a message."""
    source = replace(
        CHANGES, attributes={"a:number": "a", "b:text": "b", "c:list": "c", "d:time": "d"}
    )
    limit = sys.getrecursionlimit()
    values = [
        f'{{"after": {{"sku": 1}}, "{name}": {"[" * depth}{"]" * depth}}}'
        for name in "abc"
        for depth in range(limit - 200, limit)
    ]
    values += [f'{{"after": {{"sku": 1}}, "d": {time}}}' for time in ("9" * 20, "1e300", "-1e17")]
    rows = [record(b"k", value.encode(), at=at) for at, value in enumerate(values)]
    found, letters = ItemDecoder(source)(rows)
    assert len(found) + len(letters) == len(rows)
    assert [one.source.offset for one in letters][-3:] == [*range(len(rows) - 3, len(rows))]


def test_the_key_can_be_the_id_and_keys_can_mean_nothing():
    by_key = ItemSourceSettings(topic="t", item_id="", item_type=ValueMapping(default="film"))
    found, letters = ItemDecoder(by_key)([record(b"f1", {"title": "F"}), record(b"\xff", {}, at=1)])
    assert [item for _, item in found] == [Item(item_id="f1", item_type="film", title="F")]
    assert [one.reason for one in letters] == [Reason.BAD_ID]
    own = {"item_id": "p", "item_type": "post", "title": "P", "attributes": {"a": True}}
    found, letters = ItemDecoder(PLAIN)([record(None, own), record(b"k", None, at=1)])
    assert [item for _, item in found] == [
        Item(item_id="p", item_type="post", title="P", attributes={"a": True})
    ]
    assert [one.reason for one in letters] == [Reason.EMPTY]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"topic": ""}, "topic: expected a name"),
        ({"title": "a..b"}, "title: expected names joined by dots"),
        ({"attributes": {"stock:int": "a"}}, "attributes.stock:int: .*TYPE is one of"),
        ({"attributes": {"a=b": "a"}}, "attributes.a=b: expected a name without ="),
        ({"attributes": {"stock": "a..b"}}, "attributes.stock: expected names"),
        ({"format": "avro"}, "avro: expected a folder of schemas"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_their_place(wrong, said):
    with pytest.raises(ValueError, match=said):
        ItemSourceSettings(**({"topic": "t"} | wrong))


def test_a_topic_is_one_source_and_not_segues_own():
    with pytest.raises(ValueError, match=r"item_sources\[1\].topic: 'a' is the topic of two"):
        check_item_sources([ItemSourceSettings(topic="a")] * 2, [], TOPICS)
    with pytest.raises(ValueError, match=r"item_sources\[0\].topic: 'a' is the topic of two"):
        check_item_sources([ItemSourceSettings(topic="a")], [SourceSettings(topic="a")], TOPICS)
    with pytest.raises(ValueError, match="begins like Segue's own"):
        check_item_sources([ItemSourceSettings(topic="segue.items")], [], TOPICS)


# Which record is in force

SOURCES = (
    ItemSourceSettings(topic="first"),
    ItemSourceSettings(topic="second", keyed_by_item=False),
)
NAMES = st.sampled_from(["a", "b"])


@st.composite
def logs(draw: st.DrawFn) -> dict[tuple[str, int], list[Record]]:
    """Short logs of three topics with two partitions; times go up within a partition."""
    found: dict[tuple[str, int], list[Record]] = {}
    title = 0
    for topic in item_topics(TOPICS, SOURCES):
        for partition in range(2):
            rows, time = [], 0
            for offset in range(draw(st.integers(0, 4))):
                name, time, title = draw(NAMES), time + draw(st.integers(0, 2)), title + 1
                # In Segue's own topic an item has one partition.
                name = f"{name}{partition}" if topic == TOPICS.catalogue else name
                item = Item(item_id=name, item_type="t", title=str(title))
                what = draw(st.sampled_from(["live", "live", "deleted", "null", "ids"]))
                if what == "deleted":
                    item = Item(item_id=name, item_type="t", deleted=True)
                if what == "ids":
                    item = Item(item_id=name, item_type="t")
                key = item.key
                if topic == "first":
                    key = draw(st.sampled_from([b"k1", b"k2"]))
                if topic == "second":
                    key = None
                value = None if what == "null" and topic != "second" else encode(item)
                rows.append(Record(topic, partition, offset, time, key, value))
            found[topic, partition] = rows
    return found


def in_force(order: Sequence[Record]) -> dict[bytes, Item]:
    catalogue, found = ItemCatalogue(TOPICS, SOURCES), {}
    for one in order:
        for item in catalogue.take([one]):
            found[item.key] = item
    return {key: item for key, item in found.items() if not item.deleted}


def expected(log: dict[tuple[str, int], list[Record]]) -> dict[bytes, Item]:
    """The rule as its page has it, on whole logs."""
    said: dict[bytes, dict[str, list[tuple[int, int, int, Item]]]] = {}
    for (topic, partition), rows in log.items():
        latest: dict[bytes, Record] = {}
        for one in rows:
            key = one.key if topic != "second" else _item(one).key
            latest[key] = one
        for one in latest.values():
            if one.value is None:
                continue
            item = _item(one)
            if topic == TOPICS.catalogue and not item.deleted and item.title is None:
                continue
            place = one.timestamp, partition, one.offset, item
            said.setdefault(item.key, {}).setdefault(topic, []).append(place)
    found = {}
    for key, by_topic in said.items():
        own = by_topic.pop(TOPICS.catalogue, [])
        if any(item.deleted for *_, item in own):
            continue
        places = by_topic.get("first") or by_topic.get("second") or own
        newest: dict[int, tuple[int, int, int, Item]] = {}
        for place in places:
            if place[1] not in newest or place[2] > newest[place[1]][2]:
                newest[place[1]] = place
        item = max(newest.values(), key=lambda place: place[:2])[3]
        if not item.deleted:
            found[key] = item
    return found


def _item(one: Record) -> Item:
    assert one.value is not None
    return Item(**json.loads(one.value))


@settings(max_examples=300, deadline=None)
@given(logs(), st.randoms(use_true_random=False))
def test_every_interleaving_gives_what_the_rule_says(log, draw):
    left = {place: list(rows) for place, rows in log.items() if rows}
    order = []
    while left:
        place = draw.choice(sorted(left))
        order.append(left[place].pop(0))
        if not left[place]:
            del left[place]
    assert in_force(order) == expected(log)
    # Read again, as after a lost connection, nothing changes.
    again = [one for rows in log.values() for one in rows]
    assert in_force([*order, *again]) == expected(log)


@settings(max_examples=100, deadline=None)
@given(logs())
def test_what_compaction_removes_changes_nothing(log):
    def compacted(rows: list[Record]) -> list[Record]:
        last = {one.key: one.offset for one in rows}
        return [one for one in rows if one.key is None or last[one.key] == one.offset]

    kept = {
        place: [one for one in compacted(rows) if one.value is not None]
        for place, rows in log.items()
    }
    order = [one for rows in log.values() for one in rows]
    assert in_force([one for rows in kept.values() for one in rows]) == in_force(order)


def test_a_topic_with_a_new_key_for_each_record_does_not_fill_the_memory(caplog):
    catalogue, forgotten = ItemCatalogue(TOPICS, [ItemSourceSettings(topic="first")]), []
    catalogue.key_forgotten = forgotten.append

    def said(key: int, item: str, at: int, **more: int) -> Record:
        value = {"item_id": item, "item_type": "t", "title": str(at)}
        return record(b"k%d" % key, value, "first", at, **more)

    rows = [said(at, f"i{at % 2}", at) for at in range(10 * ITEM_KEYS)]
    for one in rows:
        [item] = catalogue.take([one])
        assert item.title == str(one.offset)
    assert len(catalogue._said) == sum(map(len, catalogue._places.values())) == 2 * ITEM_KEYS
    assert forgotten == ["first"] * (8 * ITEM_KEYS)
    assert caplog.text.count("Set keyed_by_item = false for this topic") == 1
    # Of a partition of its own an item has as many.
    catalogue.take([said(at, "i0", at, partition=1) for at in range(ITEM_KEYS)])
    assert len(catalogue._said) == 3 * ITEM_KEYS
    # What is forgotten counts no more, and the last key that is left does.
    before = len(forgotten)
    catalogue.take(rows)
    assert len(catalogue._said) == 3 * ITEM_KEYS
    assert len(forgotten) == before + 8 * ITEM_KEYS
    kept = [one for one in rows if one.offset % 2][-ITEM_KEYS:]
    removed = [record(one.key, None, "first", 10_000 + n) for n, one in enumerate(kept)]
    for one, left in zip(reversed(removed[1:]), reversed(kept[:-1]), strict=True):
        [item] = catalogue.take([one])
        assert item.title == str(left.offset)
    [item] = catalogue.take(removed[:1])
    assert item.deleted


def test_a_takedown_hides_an_item_of_another_owner_until_it_is_ended():
    theirs = [ItemSourceSettings(topic="first")]
    catalogue = ItemCatalogue(TOPICS, theirs)
    item = Item(item_id="a", item_type="t", title="theirs")

    def takes(topic: str, said: Item | None, at: int) -> list[Item]:
        value = None if said is None else encode(said)
        return catalogue.take([Record(topic, 0, at, at, item.key, value)])

    gone = Item(item_id="a", item_type="t", deleted=True)
    assert takes("first", item, 0) == [item]
    assert takes(TOPICS.catalogue, gone, 0) == [gone]
    changed = Item(item_id="a", item_type="t", title="changed")
    assert takes("first", changed, 1) == [gone]
    assert catalogue.decides("t", "a") == gone
    assert takes(TOPICS.catalogue, Item(item_id="a", item_type="t"), 1) == [changed]
    # It has left nothing behind: once its owner removes the item, no topic has it.
    assert takes("first", None, 2) == [gone]
    assert catalogue.decides("t", "a") is None


def test_a_topic_that_is_read_again_shows_no_earlier_record():
    catalogue = ItemCatalogue(TOPICS, [ItemSourceSettings(topic="first")])
    said = [Item(item_id="a", item_type="t", title=title) for title in ("old", "new")]
    rows = [Record("first", 0, at, at, b"k", encode(item)) for at, item in enumerate(said)]
    assert catalogue.take(rows) == [said[1]]
    assert catalogue.take(rows[:1]) == []
    assert catalogue.take(rows[1:]) == [said[1]]


def test_a_reader_watches_every_topic_whose_offsets_it_compares():
    """With sources a record of a topic that was created again would be taken for an old one."""
    item = Item(item_id="a", item_type="t", title="A")
    rows = [Record(TOPICS.catalogue, 0, at, at, item.key, encode(item)) for at in (5, 0)]
    alone, beside = ItemCatalogue(TOPICS), ItemCatalogue(TOPICS, [ItemSourceSettings(topic="x")])
    assert [alone.take([row]) for row in rows] == [[item], [item]]
    assert [beside.take([row]) for row in rows] == [[item], []]
    assert (alone.watched, beside.watched) == ((), (TOPICS.catalogue, "x"))


def test_refused_records_of_others_are_counted_and_each_reason_is_logged_once(caplog):
    catalogue, letters = ItemCatalogue(TOPICS, [CHANGES]), []
    catalogue.refused = letters.extend
    for at in range(3):
        assert catalogue.take([record(b"k", b"{", at=at)]) == []
    assert [one.reason for one in letters] == [Reason.MALFORMED] * 3
    assert catalogue.refused_records == 3
    assert caplog.text.count("shop.products/0/0 is no item") == 1


def test_a_topic_that_was_created_again_ends_its_reader():
    same, first = SameTopics(), TopicIdentity(topic="t", id="x", partitions=1)
    same.check([first])
    same.check([])
    same.check([first])
    for other in ({"id": "y"}, {"partitions": 2}):
        now = TopicIdentity(**({"topic": "t", "id": "x", "partitions": 1} | other))
        with pytest.raises(LogChanged, match="topic t was created again"):
            same.check([now])


async def test_the_whole_catalogue_is_read_and_a_missing_topic_is_named(tmp_path, monkeypatch):
    log = EmbeddedLog(tmp_path)
    create_topics(log, topics(TOPICS))
    with pytest.raises(SourceError, match=r"item_sources: the topic shop.products does not exist"):
        require_item_topics(log, [CHANGES])
    create_topics(log, [TopicDefinition(name="shop.products", partitions=3)])
    require_item_topics(log, [CHANGES])
    own = Item(item_id="o", item_type="t", title="own")
    log.append(TOPICS.catalogue, own.key, encode(own))
    for sku in ("a", "b"):
        log.append("shop.products", sku.encode(), json.dumps({"after": {"sku": sku}}).encode())
    log.append("shop.products", b"b", None)
    log.append("shop.products", b"c", b"{")
    found, refused = await read_catalogue(log, TOPICS, [CHANGES])
    assert {(item.item_id, item.deleted) for item in found} == {
        ("o", False), ("a", False), ("b", True)
    }  # fmt: skip
    assert refused == 1
    # A long history is not held in memory.
    held = []
    monkeypatch.setattr(topic_reader, "READ", 1)
    take = ItemCatalogue.take
    monkeypatch.setattr(
        ItemCatalogue, "take", lambda own, rows: (held.append(len(rows)), take(own, rows))[1]
    )
    assert (await read_catalogue(log, TOPICS, [CHANGES]))[0] == found
    assert set(held) == {1}
    log.close()


async def test_a_source_whose_reader_is_not_installed_is_named_before_anything_is_read(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "fastavro", None)
    log = EmbeddedLog(tmp_path)
    create_topics(log, [TopicDefinition(name="t", partitions=1)])
    theirs = [ItemSourceSettings(topic="t", format="avro", avro=AvroSettings(schemas="x"))]
    with pytest.raises(SourceError, match="fastavro, which is not installed"):
        require_item_topics(log, theirs)
    with pytest.raises(AdminError, match=r"item_sources: .*fastavro"):
        await read_catalogue(log, TOPICS, theirs)
    log.close()


async def test_a_registry_that_is_away_is_waited_for_without_blocking(monkeypatch, caplog):
    fastavro = pytest.importorskip("fastavro", reason="fastavro is not installed (extra avro)")
    names = ("item_id", "item_type")
    schema = {
        "type": "record", "name": "R", "fields": [{"name": n, "type": "string"} for n in names]
    }  # fmt: skip
    answers, asked, paused = [None, SourceError("away"), SourceError("away"), schema], [], []

    def fetch(_schemas, url):
        asked.append(url)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer and json.dumps(answer)

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    def avro(number: int) -> bytes:
        body = BytesIO()
        fastavro.schemaless_writer(body, schema, {"item_id": "a", "item_type": "t"})
        return b"\0" + number.to_bytes(4, "big") + body.getvalue()

    monkeypatch.setattr("streams.avro._Schemas._fetch", fetch)
    source = ItemSourceSettings(topic="x", format="avro", avro=AvroSettings(registry="http://r"))
    catalogue = ItemCatalogue(TOPICS, [source])
    rows = [
        record(b"k", value, "x", at=at)
        for at, value in enumerate([avro(1), b"no avro", None, avro(2)])
    ]
    await catalogue.prepare(rows, pause)
    assert paused == [SCHEMAS_S] * 2
    assert caplog.text.count("x is read on when its schemas can be read: away") == 2
    # Reading asks for nothing more.
    assert catalogue.take(rows) == [Item(item_id="a", item_type="t")]
    assert asked == [f"http://r/schemas/ids/{number}" for number in (1, 2, 2, 2)]
    assert catalogue.refused_records == 2
    await catalogue.prepare([], pause)
