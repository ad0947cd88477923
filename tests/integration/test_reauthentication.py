"""A broker that ends sessions after a time: nothing is lost, and nothing is called an error."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams import KafkaSettings, TopicDefinition, create_topics
from streams.app import create_app
from streams.batches import Batch
from streams.running import serve
from tests.integration.login_broker import LoginBroker, plain_users
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

SESSION_MS = 1500
SESSIONS = 4

PROTOCOL = "SASL_PLAINTEXT"


@pytest.fixture(params=["faust", "librdkafka"])
def kafka(jars: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KafkaSettings]:
    users = plain_users(PROTOCOL, {"segue": "secret"})
    session = f"connections.max.reauth.ms={SESSION_MS}\n"
    node = LoginBroker(tmp_path / "kafka", jars, protocol=PROTOCOL, properties=users + session)
    address = node.start(timeout=PATIENCE_S)
    create_topics(
        KafkaSettings(bootstrap_servers=address), [TopicDefinition(name="events", partitions=1)]
    )
    yield KafkaSettings(
        bootstrap_servers=node.login, security_protocol=PROTOCOL, sasl_mechanism="PLAIN",
        sasl_username="segue", sasl_password="secret", transport=request.param,
    )  # fmt: skip
    node.stop()


async def test_sessions_that_end_are_no_errors(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    came: list[int] = []
    # A busy machine beats late. What is tested are the ends of sessions of SASL, not of the group.
    app = create_app("group", kafka, batched={"events": 100}, session_timeout_s=30.0)

    @app.batches("events")
    async def take(batch: Batch) -> None:
        came.extend(int(record.value) for record in batch)
        await app.commit_positions({("events", 0): batch.next_offset})

    with caplog.at_level(logging.INFO):
        running = asyncio.ensure_future(serve(app))
        while not app.open_partitions:
            await asyncio.wait({running}, timeout=0.05)
            assert not running.done()
        outbox, sent, began = app.outbox(), 0, time.monotonic()
        while time.monotonic() - began < SESSIONS * SESSION_MS / 1000 or len(came) < sent:
            if time.monotonic() - began < SESSIONS * SESSION_MS / 1000:
                await outbox.send("events", b"k", b"%d" % sent)
                await outbox.flush()
                sent += 1
            await asyncio.wait({running}, timeout=0.1)
            assert not running.done()
        await app.stop()
        await asyncio.wait({running}, timeout=PATIENCE_S)

    assert sorted(set(came)) == list(range(sent))
    assert len(came) == sent
    if kafka.transport == "faust":  # librdkafka logs in again before a session ends
        assert [entry for entry in caplog.records if "onnection" in entry.getMessage()]
    assert "secret" not in caplog.text
    loud = [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    told = {f"{entry.name}: {entry.getMessage()}" for entry in loud}
    # Without TLS, and true.
    clear = {"aiokafka.conn: Sending username and password in the clear"}
    assert told == (clear if kafka.transport == "faust" else set())
