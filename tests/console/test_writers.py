"""The console's producer: places of records, and what it does when the broker refuses some."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from console.writers import KafkaWriter, NotWritten
from streams import KafkaSettings, murmur2_partition

PARTITIONS = 3


class Batch:
    """Takes three records, as a batch of Kafka takes so many bytes."""

    def __init__(self):
        self.rows = []

    def append(self, *, timestamp, key, value, headers):
        if len(self.rows) == 3:
            return None
        self.rows.append((key, value))
        return True


class Producer:
    """Stands for aiokafka's; `fails` is what a partition answers with instead of an offset."""

    def __init__(self, fails=None):
        self.log = {number: [] for number in range(PARTITIONS)}
        self.fails = fails or {}
        self.stopped = False

    async def partitions_for(self, topic):
        return set(range(PARTITIONS))

    def create_batch(self):
        return Batch()

    async def send_batch(self, batch, topic, *, partition):
        answer = asyncio.get_running_loop().create_future()
        if isinstance(failure := self.fails.get(partition), Exception):
            answer.set_exception(failure)
        else:
            first = len(self.log[partition]) if failure is None else failure
            answer.set_result(SimpleNamespace(offset=first))
            self.log[partition] += batch.rows
        return answer

    async def stop(self):
        self.stopped = True


def writer(monkeypatch, *producers):
    """A writer that connects to these, one after the other."""
    kafka = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="shop",
        sasl_password="secret",
    )  # fmt: skip
    made = KafkaWriter(kafka)
    left = list(producers)

    async def connected():
        if made._producer is None:
            made._producer = left.pop(0)
        return made._producer

    monkeypatch.setattr(made, "_connected", connected)
    return made


RECORDS = [(f"user-{n}".encode(), str(n).encode()) for n in range(40)]


async def test_each_record_is_where_it_is_said_to_be(monkeypatch):
    producer = Producer()
    for number, rows in producer.log.items():
        rows.extend([(b"", b"before")] * number)
    places = await writer(monkeypatch, producer).append_many("t", RECORDS)
    assert [place[0] for place in places] == [
        murmur2_partition(key, PARTITIONS) for key, _ in RECORDS
    ]
    assert [producer.log[partition][offset] for partition, offset in places] == RECORDS


async def test_a_tombstone_is_written(monkeypatch):
    producer = Producer()
    source = await writer(monkeypatch, producer).append("t", b"user-1", None)
    assert producer.log[source.partition][source.offset] == (b"user-1", None)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (KafkaError("lost"), "lost"),
        (-1, "gave no offset"),
        (TopicAuthorizationFailedError("t"), "Kafka user shop lacks the right"),
    ],
)
async def test_what_a_partition_did_not_take_is_said_and_the_next_write_connects_again(
    monkeypatch, failure, message
):
    refusing, fresh = Producer({1: failure}), Producer()
    own = writer(monkeypatch, refusing, fresh)
    with pytest.raises(NotWritten, match=message):
        await own.append_many("t", RECORDS)
    assert refusing.stopped
    assert len(await own.append_many("t", RECORDS)) == len(RECORDS)
    assert not fresh.stopped
    await own.close()
    assert fresh.stopped
