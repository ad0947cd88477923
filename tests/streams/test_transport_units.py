"""Outbox, batch cutting, log levels and assignment, without a broker."""

import asyncio
import logging
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list
from faust.types import TP

from streams import KafkaSettings
from streams.app import create_app
from streams.batches import Batch
from streams.log_levels import ClientMessages, limit_client_messages
from streams.outbox import DeliveryError, Outbox, Outgoing
from streams.partitioner import murmur2_partition
from streams.record_columns import columns_of
from streams.transport import BatchScheduler
from tests.waiting import within_patience


def record(offset: int, topic: str = "events", partition: int = 0) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord(topic, partition, offset, 0, 0, None, b"v", None, 0, 1, ())


class FewRecords:
    """A batch that is full with two records."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def append(self, *, timestamp: Any, key: bytes, value: bytes, headers: Any) -> object | None:
        if len(self.keys) == 2:
            return None
        self.keys.append(key)
        return object()


class SlowProducer:
    """Acknowledges when told to; takes batches while `open` is set."""

    def __init__(self) -> None:
        self.acknowledgements: list[asyncio.Future[None]] = []
        self.timestamps: list[float | None] = []
        self.queued: list[tuple[int | None, list[bytes | None]]] = []
        self.open = asyncio.Event()

    async def partitions(self, topic: str) -> int:
        return 3

    def create_batch(self) -> FewRecords:
        return FewRecords()

    async def send_batch(
        self, batch: FewRecords, topic: str, partition: int
    ) -> asyncio.Future[None]:
        await self.open.wait()
        self.queued.append((partition, [*batch.keys]))
        self.acknowledgements.append(asyncio.get_running_loop().create_future())
        return self.acknowledgements[-1]

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
    ) -> asyncio.Future[None]:
        self.timestamps.append(timestamp)
        self.queued.append((partition, [key]))
        self.acknowledgements.append(asyncio.get_running_loop().create_future())
        return self.acknowledgements[-1]


async def test_a_flush_returns_only_after_the_last_acknowledgement() -> None:
    producer = SlowProducer()
    outbox = Outbox(producer)
    for number in range(3):
        await outbox.send("t", b"k", b"%d" % number, timestamp_ms=1500)
    flushing = asyncio.ensure_future(outbox.flush())

    for acknowledgement in producer.acknowledgements[:2]:
        acknowledgement.set_result(None)
        await asyncio.wait({flushing}, timeout=0.01)
        assert not flushing.done()
    producer.acknowledgements[2].set_result(None)

    await within_patience(flushing)
    assert producer.timestamps == [1.5] * 3


async def test_a_failure_is_told_by_the_next_flush_and_by_that_one_only() -> None:
    producer = SlowProducer()
    outbox = Outbox(producer)
    await outbox.send("t", b"k", b"lost")
    producer.acknowledgements[0].set_exception(TimeoutError("no broker"))
    # Many later records: the failed one is settled and forgotten, its failure is not.
    for _ in range(2000):
        await outbox.send("t", b"k", b"v")
        producer.acknowledgements[-1].set_result(None)

    with pytest.raises(DeliveryError, match="no broker"):
        await outbox.flush()
    await outbox.flush()


async def test_many_records_go_to_their_keys_partitions_in_order_and_in_full_batches() -> None:
    producer, keys = SlowProducer(), [b"user-%d" % (n % 5) for n in range(40)]
    producer.open.set()
    outbox = Outbox(producer)
    await outbox.send_many("t", [Outgoing(key, b"v") for key in keys])

    for partition in range(3):
        batches = [found for place, found in producer.queued if place == partition]
        mine = [key for key in keys if murmur2_partition(key, 3) == partition]
        assert [key for batch in batches for key in batch] == mine
        assert all(len(batch) == 2 for batch in batches[:-1])
    assert outbox.sent == 40

    flushing = asyncio.ensure_future(outbox.flush())
    for acknowledgement in producer.acknowledgements[1:]:
        acknowledgement.set_result(None)
    await asyncio.wait({flushing}, timeout=0.01)
    assert not flushing.done()
    producer.acknowledgements[0].set_exception(TimeoutError("no broker"))
    with pytest.raises(DeliveryError, match="no broker"):
        await within_patience(flushing)


async def test_what_is_sent_while_a_batch_waits_to_be_queued_comes_after_it() -> None:
    producer = SlowProducer()
    outbox = Outbox(producer)
    many = asyncio.ensure_future(outbox.send_many("t", [Outgoing(b"u", b"list")]))
    await asyncio.wait({many}, timeout=0.01)
    one = asyncio.ensure_future(outbox.send("t", b"u", None))
    await asyncio.wait({one}, timeout=0.01)
    assert not producer.queued

    producer.open.set()
    await within_patience(asyncio.gather(many, one))
    assert [place for place, _ in producer.queued] == [murmur2_partition(b"u", 3), None]


def test_batches_are_cut_at_their_greatest_length_and_single_records_are_left_alone() -> None:
    scheduler = BatchScheduler({"events": 4})
    events, requests = TP("events", 0), TP("requests", 0)
    fetched = {
        events: [record(n) for n in range(10)],
        requests: [record(n, "requests") for n in range(2)],
    }

    pairs = list(scheduler.iterate(fetched))

    batches = [[r.offset for r in item] for tp, item in pairs if tp == events]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [item.offset for tp, item in pairs if tp == requests] == [0, 1]


def test_a_batch_knows_its_partition_and_the_position_after_it() -> None:
    records = [record(7, "events", 3), record(9, "events", 3)]
    batch = Batch(columns_of("events", 3, records), epoch=1)

    assert (batch.topic, batch.partition, batch.next_offset, len(batch)) == ("events", 3, 10, 2)


def test_a_handler_of_a_topic_that_is_not_batched_is_refused() -> None:
    app = create_app("group", KafkaSettings(), batched={"events": 10})

    with pytest.raises(ValueError, match="requests"):
        app.batches("requests")


def test_the_security_settings_reach_fausts_clients() -> None:
    kafka = KafkaSettings(
        bootstrap_servers="one:9093,two:9094",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="segue",
        sasl_password="not-shown",
    )
    app = create_app("group", kafka, batched={"events": 10})

    settings = credentials_to_aiokafka_auth(app.conf.broker_credentials, None)

    assert server_list(app.conf.broker, 9092) == ["one:9093", "two:9094"]
    assert settings["security_protocol"] == "SASL_SSL"
    assert settings["sasl_mechanism"] == "SCRAM-SHA-256"
    assert settings["sasl_plain_username"] == "segue"
    assert settings["sasl_plain_password"] == kafka.sasl_password
    assert settings["ssl_context"].check_hostname


class Cluster:
    """A cluster's metadata: how many partitions each topic has."""

    def __init__(self, **partitions: int) -> None:
        self._partitions = partitions

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._partitions[topic]))


def test_equal_partition_numbers_stay_together_however_members_come_and_go() -> None:
    cluster = Cluster(events=8, catalogue=8, users=8, requests=5)
    topics = ["events", "catalogue", "users", "requests"]
    apps: dict[str, Any] = {}

    def metadata(app: Any) -> ConsumerProtocolMemberMetadata:
        return app.assignor.metadata(topics)

    for members in ("a", "ab", "abc", "abcde", "acde", "ce", "abcdefgh", "h"):
        for name in members:
            fresh = create_app("group", KafkaSettings(), batched={"events": 10})
            apps.setdefault(name, fresh)
        leader = apps[members[0]].assignor
        assigned = leader.assign(cluster, {name: metadata(apps[name]) for name in members})
        shares = []
        for name in members:
            apps[name].assignor.on_assignment(assigned[name])
            share = dict(assigned[name].assignment)
            assert share.get("events") == share.get("catalogue") == share.get("users")
            shares.append(share)
        numbers = sorted(n for share in shares for n in share.get("events", []))
        assert numbers == list(range(8)), "each partition has one reader"
        sizes = [len(share.get("events", [])) for share in shares]
        assert max(sizes) - min(sizes) <= 1, "shares are even"


def test_what_every_rebalance_logs_is_not_shown_as_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limit_client_messages()
    logger = logging.getLogger("aiokafka.consumer.group_coordinator")

    with caplog.at_level(logging.INFO):
        logger.warning("Heartbeat failed for group %s because it is rebalancing", "g")
        logger.warning("Heartbeat failed: %s", "the coordinator is gone")

    assert [entry.levelname for entry in caplog.records] == ["INFO", "WARNING"]


def test_a_lost_connection_is_not_shown_as_an_error_until_it_stays_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    messages = ClientMessages(clock=lambda: now)
    logger = logging.getLogger("aiokafka.consumer.fetcher")

    def lose(times: int) -> list[str]:
        caplog.clear()
        for _ in range(times):
            entry = logger.makeRecord(
                logger.name, logging.ERROR, "", 0, "Failed fetch messages from %s: %s",
                (1, "KafkaConnectionError"), None,
            )  # fmt: skip
            assert messages(entry)
            levels.append(entry.levelname)
        return levels[-times:]

    levels: list[str] = []
    with caplog.at_level(logging.INFO):
        for _ in range(100):  # a session of ten minutes ends, all day long
            assert set(lose(12)) == {"INFO"}
            now += 600.0
        assert set(lose(30)) == {"INFO"}
        assert set(lose(5)) == {"ERROR"}, "the broker is away"
        now += 61.0
        assert set(lose(1)) == {"INFO"}


def test_a_client_that_repeats_an_error_logs_it_ten_times_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    messages = ClientMessages(clock=lambda: now)
    logger = logging.getLogger("aiokafka")

    def fail(node: int) -> str | None:
        entry = logger.makeRecord(
            logger.name, logging.ERROR, "", 0, "Unable connect to node with id %s: %s",
            (node, "100 % lost"), None,
        )  # fmt: skip
        return entry.getMessage() if messages(entry) else None

    lines = []
    for _ in range(1200):  # two minutes of attempts every 0.1 s
        lines.append(fail(1))
        now += 0.1

    shown = [line for line in lines if line]
    assert len(shown) == 20
    assert shown[0] == "Unable connect to node with id 1: 100 % lost"
    assert shown[10].endswith("(590 more like this were not logged)")


def test_messages_that_a_client_formats_itself_are_limited_too() -> None:
    messages = ClientMessages(clock=lambda: 0.0)
    logger = logging.getLogger("kafka.net.manager")
    shown = 0
    for attempt in range(200):
        text = f"Bootstrap attempt to node-1 failed: 100 % lost (backoff {attempt / 7:.2f} secs)"
        entry = logger.makeRecord(logger.name, logging.ERROR, "manager.py", 157, text, (), None)
        shown += messages(entry)
    assert shown == 10
    other = logger.makeRecord(logger.name, logging.ERROR, "manager.py", 200, "no node", (), None)
    assert messages(other)
