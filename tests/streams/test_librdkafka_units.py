"""The transport on librdkafka without a broker: columns, the client's thread, settings."""

import asyncio
import logging
import sys
import threading
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from streams import KafkaSettings
from streams.app import TransportError, create_app
from streams.batches import Batch
from streams.client_thread import ClientThread
from streams.librdkafka_columns import by_partition, message_columns
from streams.librdkafka_consumer import group_properties
from streams.librdkafka_producer import RecordList
from streams.log_levels import LIBRDKAFKA, ClientMessages
from streams.record_columns import KafkaRecord
from streams.security import PROTOCOLS
from tests.waiting import within_patience

PART = st.none() | st.binary(max_size=20)
ROWS = st.lists(
    st.tuples(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2)),
        st.tuples(PART, PART),
        st.tuples(st.integers(0, 2), st.integers(0, 2**40)),
        st.none() | st.lists(st.tuples(st.text(max_size=5), PART), min_size=1, max_size=3),
    ),
    max_size=30,
)


@given(ROWS)
def test_columns_hold_the_messages_of_each_partition_in_their_order(rows: list[Any]) -> None:
    messages, expected = [], dict[Any, list[KafkaRecord]]()
    for offset, (place, (key, value), (kind, when), headers) in enumerate(rows):
        messages.append(
            Message(
                topic=place[0], partition=place[1], offset=offset, key=key, value=value,
                timestamp=(kind, when), headers=headers,
            )
        )  # fmt: skip
        record = KafkaRecord(*place, offset, when, kind - 1, key, value, tuple(headers or ()))
        expected.setdefault(place, []).append(record)

    found = {place: message_columns(place, of) for place, of in by_partition(messages).items()}

    assert {place: list(columns) for place, columns in found.items()} == expected


async def test_a_call_that_waits_for_the_app_makes_others_but_not_the_last_one() -> None:
    thread, loop, order = ClientThread("test"), asyncio.get_running_loop(), list[str]()
    begun, go_on = threading.Event(), asyncio.Event()

    async def app() -> str:
        await go_on.wait()
        return "answered"

    def rebalance() -> str:
        begun.set()
        return thread.wait_for_app(asyncio.run_coroutine_threadsafe(app(), loop))

    waiting = asyncio.ensure_future(thread.call(rebalance))
    await within_patience(asyncio.to_thread(begun.wait))
    last = asyncio.ensure_future(thread.call_last(order.append, "last"))
    await within_patience(thread.call(order.append, "commit"))
    assert order == ["commit"]
    go_on.set()

    assert await within_patience(waiting) == "answered"
    await within_patience(last)
    assert order == ["commit", "last"]
    with pytest.raises(ZeroDivisionError):
        await within_patience(thread.call(divmod, 1, 0))
    thread.end()


def test_a_list_of_records_is_full_by_its_bytes_and_takes_its_first_one_always() -> None:
    records = RecordList()
    assert records.append(timestamp=None, key=b"k", value=b"x" * 10**6, headers=[]) is not None
    assert records.append(timestamp=None, key=b"k", value=b"y", headers=[]) is None
    assert len(records.rows) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("group_protocol", ["consumer", "classic"])
def test_librdkafka_accepts_the_settings(protocol: str, group_protocol: Any) -> None:
    login = {"sasl_username": "segue", "sasl_password": "hunter2"}
    kafka = KafkaSettings(
        bootstrap_servers="127.0.0.1:1", security_protocol=protocol,
        group_protocol=group_protocol, **(login if protocol.startswith("SASL") else {}),
    )  # fmt: skip
    properties = group_properties(
        kafka, "group", session_timeout_s=6, rebalance_timeout_s=60, max_fetch_bytes=1 << 22
    )
    assert properties["security.protocol"] == protocol
    assert properties["isolation.level"] == "read_committed"
    assert properties.get("sasl.password") == (login["sasl_password"] if kafka.uses_sasl else None)
    named = properties.get("ssl.endpoint.identification.algorithm")
    assert named == ("https" if kafka.uses_tls else None)
    Consumer({**properties, "log_level": 0}).close()
    Producer({**kafka.for_librdkafka(), "log_level": 0})


def test_a_transport_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("streams.librdkafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(TransportError, match=r"pip install segue\[librdkafka\]"):
        create_app("group", KafkaSettings(transport="librdkafka"), batched={"events": 10})


async def test_a_stop_ends_although_no_broker_ever_answered() -> None:
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1", transport="librdkafka")
    app = create_app("group", kafka, batched={"events": 10})

    @app.batches("events")
    async def take(_batch: Batch) -> None: ...

    await app.start()
    await app.outbox().send("events", b"k", b"never written")
    assert not await app.commit_positions({("events", 0): 1})
    began = time.monotonic()
    await within_patience(app.stop())
    assert time.monotonic() - began < 10
    assert app.crash_reason is None


def test_messages_of_librdkafka_are_limited_by_their_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Ordinary messages become INFO, which is not shown here.
    caplog.set_level(logging.WARNING, LIBRDKAFKA)
    messages, logger = ClientMessages(clock=lambda: 0.0), logging.getLogger(LIBRDKAFKA)

    def shown(kind: str) -> bool:
        args = (kind, "segue#consumer-1", "no broker")
        return messages(
            logger.makeRecord(logger.name, logging.ERROR, "x.py", 7, "%s [%s] %s", args, None)
        )

    assert sum(shown("PROTOERR") for _ in range(50)) == 10
    assert shown("COMMITFAIL"), "another kind has its own limit"
    assert sum(shown("FAIL") for _ in range(100)) == 10, "lost connections, which do not end"
