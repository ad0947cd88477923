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
from streams.broker import DevelopmentBroker, free_ports
from streams.broker_configuration import HOST
from streams.distribution import POM
from streams.running import serve
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

SESSION_MS = 1500
SESSIONS = 4

SESSIONS_END = """
listeners=PLAINTEXT://{host}:{port},SASL_PLAINTEXT://{host}:{login},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port},SASL_PLAINTEXT://{host}:{login}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_segue="secret";
connections.max.reauth.ms={session}
"""


class ForgetfulBroker(DevelopmentBroker):
    """A development broker whose users have to log in again after a time."""

    login = ""

    def _configure(self, port: int | None) -> str:
        address = super()._configure(port)
        lines = self._properties.read_text().splitlines()
        controller = next(x for x in lines if x.startswith("controller.quorum")).split(":")[-1]
        [login] = free_ports(1)
        self.login = f"{HOST}:{login}"
        more = SESSIONS_END.format(
            host=HOST, port=address.split(":")[1], login=login, controller=controller,
            session=SESSION_MS,
        )  # fmt: skip
        self._properties.write_text("\n".join(lines) + "\n" + more)
        return address


@pytest.fixture(params=["faust", "librdkafka"])
def kafka(jars: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KafkaSettings]:
    node = ForgetfulBroker(tmp_path / "kafka", POM, libs=jars)
    address = node.start(timeout=PATIENCE_S)
    create_topics(
        KafkaSettings(bootstrap_servers=address), [TopicDefinition(name="events", partitions=1)]
    )
    yield KafkaSettings(
        bootstrap_servers=node.login, security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
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
