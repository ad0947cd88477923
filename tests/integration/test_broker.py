"""The development broker starts, answers, is found again, and says clearly what is wrong."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.broker import (
    CLUSTER_ID,
    AlreadyRunningError,
    DevelopmentBroker,
    ForeignStorageError,
    NoAnswerError,
    PortTakenError,
)
from streams.distribution import POM, JavaMissingError, KafkaDistribution, MavenMissingError
from tests.integration.conftest import LIBS
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.integration


@pytest.fixture
def node(broker: str, tmp_path: Path) -> Iterator[DevelopmentBroker]:
    """Return a second broker, not started (the first has resolved the jars)."""
    node = DevelopmentBroker(tmp_path, POM, libs=LIBS)
    yield node
    node.stop()


def test_starts_on_a_given_port_is_found_again_and_stops(node: DevelopmentBroker) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    address = node.start(port)

    assert address == f"127.0.0.1:{port}"
    again = DevelopmentBroker(node.data_dir, POM, libs=LIBS)
    assert again.status() == node.status()
    assert again.status().address == address
    with pytest.raises(AlreadyRunningError, match=address) as refused:
        again.start()
    assert refused.value.address == address
    assert again.stop()
    assert not node.status().running
    assert not node.stop()


def test_a_taken_port_is_named(node: DevelopmentBroker) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(port)):
            node.start(port)


def test_storage_of_another_cluster_is_refused(node: DevelopmentBroker) -> None:
    storage = node.data_dir / "storage"
    storage.mkdir()
    (storage / "meta.properties").write_text("version=1\ncluster.id=somebody-else\nnode.id=1\n")

    with pytest.raises(ForeignStorageError, match="somebody-else"):
        node.start()


def test_a_broker_that_ends_early_shows_its_log(node: DevelopmentBroker) -> None:
    storage = node.data_dir / "storage"
    storage.mkdir()
    meta = f"version=1\ncluster.id={CLUSTER_ID}\nnode.id=7\n"
    (storage / "meta.properties").write_text(meta)

    with pytest.raises(NoAnswerError, match="node"):
        node.start()
    assert not node.status().running


def test_the_pid_of_a_process_that_is_not_the_broker_is_not_believed(
    node: DevelopmentBroker,
) -> None:
    (node.data_dir / "broker.json").write_text(
        json.dumps({"pid": os.getpid(), "started": 0.0, "address": "127.0.0.1:1"})
    )

    assert not node.status().running
    assert not node.stop()


def test_missing_java_and_missing_maven_are_told(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    with pytest.raises(MavenMissingError, match="mvn"):
        KafkaDistribution(pom=POM, libs=tmp_path / "libs").resolve()
    with pytest.raises(JavaMissingError, match="Java 17"):
        DevelopmentBroker(tmp_path, POM, libs=LIBS).start()


def test_kafkas_own_console_clients_talk_to_it(broker: str, new_topic: Callable[..., str]) -> None:
    topic = new_topic("console")
    kafka = KafkaDistribution(pom=POM, libs=LIBS)

    subprocess.run(
        kafka.console_producer(broker, topic),
        input="newcomer\thello\n",
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    shown = subprocess.run(
        kafka.console_consumer(
            broker,
            topic,
            "--from-beginning",
            "--max-messages",
            "1",
            "--timeout-ms",
            f"{PATIENCE_S * 1000:.0f}",
        ),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )

    assert shown.stdout == "hello\n"
