"""Re-keying without Kafka: every record arrives under its user, in order, with its place."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import DeadLetter, Record, Source, TopicSettings, decode, decode_events
from streams.batch_outbox import BatchOutbox
from streams.outbox import DeliveryError
from streams.partitioner import murmur2_partition, murmur2_partitions
from streams.rekeying import KeyValue, RekeyedEvent, Rekeyer
from streams.security import KafkaSettings
from tests.streams.foreign import NOW
from tests.streams.test_codec import RULES
from tests.streams.test_mapping import UNKEYED, activity

TOPICS = TopicSettings(partitions=3)
OTHER = replace(UNKEYED, topic="web.activity")


class Outputs:
    """Keeps what was sent; what was not flushed is not safe."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[KeyValue]] = defaultdict(list)
        self.flushed = 0

    async def send_many(self, topic: str, partition: int, records: Sequence[KeyValue]) -> None:
        self.records[topic, partition] += records

    async def flush(self) -> None:
        self.flushed += 1

    def events(self) -> list[RekeyedEvent]:
        return [
            decode(RekeyedEvent, value)
            for number in range(TOPICS.partitions)
            for _, value in self.records[TOPICS.events, number]
        ]


def some(users: str, first: int = 0, topic: str = UNKEYED.topic, partition: int = 2):
    return [
        Record(
            topic, partition, first + n, NOW, None, json.dumps(activity(user=u, item=n)).encode()
        )
        for n, u in enumerate(users)
    ]


def rekeyer(outputs: Outputs) -> Rekeyer:
    return Rekeyer([UNKEYED, OTHER, replace(UNKEYED, topic="in.place", keyed_by_user=True)],
                   RULES, TOPICS, outputs)  # fmt: skip


async def test_each_event_goes_to_its_users_partition_with_its_place():
    outputs = Outputs()
    rekey = rekeyer(outputs)
    assert rekey.source_topics == (UNKEYED.topic, OTHER.topic)
    await rekey(some("abcab", first=10))
    await rekey(some("ba", topic=OTHER.topic, partition=0))
    for (topic, partition), records in outputs.records.items():
        assert topic == TOPICS.events
        for key, value in records:
            assert partition == murmur2_partition(key, TOPICS.partitions)
            assert decode(RekeyedEvent, value).key == key
    places = {event.source for event in outputs.events()}
    assert places == {
        *(Source(topic=UNKEYED.topic, partition=2, offset=10 + n) for n in range(5)),
        *(Source(topic=OTHER.topic, partition=0, offset=n) for n in range(2)),
    }
    of_a = [(e.source.topic, e.item_id) for e in outputs.events() if e.user_id == "a"]
    assert of_a == [(UNKEYED.topic, "0"), (UNKEYED.topic, "3"), (OTHER.topic, "1")]


async def test_workers_read_what_was_written_as_their_own():
    outputs = Outputs()
    await rekeyer(outputs)(some("abcabc"))
    for (topic, partition), written in outputs.records.items():
        records = [Record(topic, partition, n, NOW, *kv) for n, kv in enumerate(written)]
        events, letters = decode_events(records, RULES)
        assert (len(events), letters) == (len(written), [])
        assert set(events.item_type) == {"music"}


async def test_a_bad_record_is_a_dead_letter_of_the_place_it_came_from():
    outputs = Outputs()
    rekey = rekeyer(outputs)
    good = some("ab", first=5)
    bad = Record(UNKEYED.topic, 2, 7, NOW, None, b'{"payload": {}}')
    await rekey([*good, bad, *some("c", first=8)])
    letters = [
        (key, decode(DeadLetter, value))
        for number in range(TOPICS.partitions)
        for key, value in outputs.records[TOPICS.dead_letters, number]
    ]
    assert [letter.source for _, letter in letters] == [
        Source(topic=UNKEYED.topic, partition=2, offset=7)
    ]
    assert letters[0][0] == letters[0][1].key
    assert letters[0][1].reason == "missing_field"
    assert {event.user_id for event in outputs.events()} == set("abc")
    assert (rekey.events, dict(rekey.dead_letters)) == (3, {"missing_field": 1})


async def test_a_position_is_settled_after_its_records_are_stored():
    outputs = Outputs()
    rekey = rekeyer(outputs)
    rekey.begin({(UNKEYED.topic, 2): 5})
    assert rekey.settled == {(UNKEYED.topic, 2): 5}
    await rekey(some("abc", first=5))
    assert rekey.settled == {(UNKEYED.topic, 2): 5}
    assert outputs.flushed == 0
    assert await rekey.settle() == {(UNKEYED.topic, 2): 8}
    assert outputs.flushed == 1
    rekey.forget([(UNKEYED.topic, 2)])
    assert await rekey.settle() == {}


async def test_records_read_while_settling_are_not_settled():
    class Slow(Outputs):
        async def flush(self) -> None:
            await rekey(some("z", first=3))

    rekey = rekeyer(Slow())
    await rekey(some("abc"))
    assert await rekey.settle() == {(UNKEYED.topic, 2): 3}


async def test_what_is_not_stored_is_not_settled():
    class Refusing(Outputs):
        async def flush(self) -> None:
            raise DeliveryError("full")

    rekey = rekeyer(Refusing())
    await rekey(some("abc"))
    with pytest.raises(DeliveryError):
        await rekey.settle()
    assert rekey.settled == {}


async def test_an_outbox_is_entered_before_it_is_used():
    with pytest.raises(RuntimeError, match="async with"):
        await BatchOutbox(KafkaSettings()).send_many("t", 0, [(b"k", b"v")])


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_many_keys_are_placed_as_kafka_places_each(keys, partitions):
    found = murmur2_partitions(keys, partitions)
    assert found.dtype == np.int64
    assert found.tolist() == [murmur2_partition(key, partitions) for key in keys]


def test_a_rekeyed_event_is_an_event_and_its_place():
    assert set(msgspec.to_builtins(rekeyed_example())) == {
        "user_id", "item_id", "item_type", "kind", "timestamp", "source",
    }  # fmt: skip


def rekeyed_example() -> RekeyedEvent:
    return RekeyedEvent(
        user_id="a", item_id="i", item_type="t", kind="stream", timestamp=1,
        source=Source(topic="x", partition=0, offset=0),
    )  # fmt: skip
