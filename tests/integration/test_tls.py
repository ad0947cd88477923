"""Encrypted connections on a real broker, over both transports: certificates, who may come."""

import asyncio
import logging
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams import AdminError, KafkaSettings, TopicDefinition, create_topics, end_offsets
from streams.app import create_app
from streams.batches import Batch
from streams.running import serve
from tests.integration.login_broker import LoginBroker, plain_users
from tests.waiting import PATIENCE_S, crash_of, until, within_patience

pytestmark = pytest.mark.integration

TOPIC = "events"
PASSWORD = "of-the-key"  # noqa: S105 of a key that exists here alone
LOGIN = {"sasl_mechanism": "PLAIN", "sasl_username": "segue", "sasl_password": "secret"}
STORES = """
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def sign(folder: Path, name: str, subject: str, key: tuple[str, ...]) -> None:
    """A key and a certificate by the authority, for the address of the broker."""
    openssl(
        folder, "req", "-newkey", "rsa:2048", *key, "-keyout", f"{name}.key", "-out",
        f"{name}.csr", "-subj", subject,
    )  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-out", f"{name}.crt", "-days", "2", "-extfile", "names",
    )  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a broker and a client with a certificate of it, and another authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificates to test with")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other"):
        openssl(
            folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
            "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}",
            # Python 3.13 refuses authorities that do not say so.
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
    sign(folder, "broker", "/CN=broker", ("-nodes",))
    sign(folder, "client", "/CN=client", ("-passout", f"pass:{PASSWORD}"))
    pem = (folder / "broker.key").read_text() + (folder / "broker.crt").read_text()
    (folder / "broker.pem").write_text(pem)
    return folder


@pytest.fixture(scope="module", params=["SSL", "SASL_SSL"])
def guarded(
    request: pytest.FixtureRequest, jars: Path, certificates: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[KafkaSettings]:  # fmt: skip
    """How to reach a broker: by a client's certificate, or by name and password."""
    protocol, stores = request.param, STORES.format(folder=certificates)
    if protocol == "SSL":
        more = "listener.name.ssl.ssl.client.auth=required\n"
        login: dict[str, Any] = {
            "ssl_certfile": str(certificates / "client.crt"),
            "ssl_keyfile": str(certificates / "client.key"),
            "ssl_password": PASSWORD,
        }
    else:
        more, login = plain_users(protocol, {"segue": "secret"}), LOGIN
    node = LoginBroker(
        tmp_path_factory.mktemp("kafka"), jars, protocol=protocol, properties=stores + more
    )
    node.start(timeout=PATIENCE_S)
    kafka = KafkaSettings(
        bootstrap_servers=node.login, security_protocol=protocol,
        ssl_cafile=str(certificates / "ca.pem"), **login,
    )  # fmt: skip
    create_topics(kafka, [TopicDefinition(name=TOPIC, partitions=1)])
    yield kafka
    node.stop()


@pytest.mark.parametrize("transport", ["faust", "librdkafka"])
async def test_records_go_through_an_encrypted_connection_and_back(
    guarded: KafkaSettings, transport: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = replace(guarded, transport=transport)
    app = create_app(f"group-{uuid.uuid4().hex[:8]}", kafka, batched={TOPIC: 100})
    mine, came = uuid.uuid4().hex, list[bytes | None]()

    @app.batches(TOPIC)
    async def take(batch: Batch) -> None:
        came.extend(record.value for record in batch if record.key == mine.encode())
        await app.commit_positions({batch.place: batch.next_offset})

    await within_patience(app.start())
    outbox = app.outbox()
    for number in range(10):
        await outbox.send(TOPIC, mine.encode(), b"%d" % number)
    await outbox.flush()
    await until(lambda: len(came) >= 10, "the records", ended=crash_of(app))
    await within_patience(app.stop())

    assert came == [b"%d" % number for number in range(10)]
    assert PASSWORD not in caplog.text
    assert LOGIN["sasl_password"] not in caplog.text


@pytest.mark.parametrize("transport", ["faust", "librdkafka"])
async def test_a_broker_of_another_authority_is_not_believed(
    guarded: KafkaSettings, certificates: Path, transport: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """No record and no password goes to it; the log says why."""
    wrong = replace(guarded, transport=transport, ssl_cafile=str(certificates / "other.pem"))
    with pytest.raises(AdminError):
        end_offsets(replace(wrong, request_timeout_ms=2_000), [TOPIC])
    app = create_app("group", wrong, batched={TOPIC: 100})

    @app.batches(TOPIC)
    async def take(_batch: Batch) -> None: ...

    with caplog.at_level(logging.INFO):
        running = asyncio.ensure_future(serve(app))
        told = r"certificate verify failed"
        await until(lambda: told in caplog.text, "the reason")
        assert not app.open_partitions
        await within_patience(app.stop())
        await asyncio.wait({running}, timeout=PATIENCE_S)
    assert running.done()
