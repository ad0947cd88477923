"""A broker that does not answer is reported soon; a role waits for one that is slow."""

import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from streams import KafkaSettings, UnreachableError, reach, require_broker, wait_for_broker
from tests.waiting import PATIENCE_S


class SlowBroker:
    """Takes connections and answers no request of the first ones."""

    def __init__(self, silent: int) -> None:
        self._left = silent
        self._kept: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listening.accept()
                self._kept.append(connection)
                if self._left:
                    self._left -= 1
                    continue
                connection.recv(1024)
                connection.sendall(struct.pack(">ii", 4, 1))

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(PATIENCE_S)
        for connection in self._kept:
            connection.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowBroker]:
    monkeypatch.setattr(reach, "ANSWER_S", 0.1)
    monkeypatch.setattr(reach, "RETRY_S", 0.01)
    monkeypatch.setattr(reach, "_answered", set())
    broker = SlowBroker(silent=1)
    yield broker
    broker.close()


def test_a_command_gives_up_early(slow: SlowBroker) -> None:
    with pytest.raises(UnreachableError, match=r"no answer (in time|within 0.1 s)"):
        require_broker(KafkaSettings(bootstrap_servers=slow.address))


def test_a_role_waits_for_a_slow_broker_and_says_so_once(
    slow: SlowBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        wait_for_broker(KafkaSettings(bootstrap_servers=slow.address))
    (record,) = caplog.records
    assert "more for a broker: no Kafka broker answers at" in record.getMessage()


def test_a_role_gives_up_after_its_patience() -> None:
    with pytest.raises(UnreachableError):
        wait_for_broker(KafkaSettings(bootstrap_servers="127.0.0.1:1"), patience_s=0.2)


def test_a_broker_that_has_answered_is_given_more_time(
    slow: SlowBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = KafkaSettings(bootstrap_servers=slow.address)
    wait_for_broker(kafka)
    limits: list[float] = []
    monkeypatch.setattr(reach, "_ask_all", lambda _kafka, answer_s: limits.append(answer_s))

    require_broker(kafka)
    require_broker(KafkaSettings(bootstrap_servers=slow.address, request_timeout_ms=5_000))
    require_broker(KafkaSettings(bootstrap_servers="127.0.0.1:1"))

    assert limits == [reach.PATIENCE_S, 5.0, reach.ANSWER_S]
