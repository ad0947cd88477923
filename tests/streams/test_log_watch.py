"""Which topics names stand for is asked over one connection, which is opened again when it ends."""

import logging
from typing import Any

import pytest
from kafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from prometheus_client import CollectorRegistry

from streams import AdminError, KafkaSettings, TopicIdentity, admin_client
from streams.log_watch import LogWatch
from streams.source_topics import MissingTopics

EVENTS = {"name": "events", "topic_id": "t-1", "partitions": [{}, {}], "error_code": 0}


class Broker:
    """Opens connections whose questions fail as often as it is told."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.opened, self.closed = list(faults), 0, 0

    def connect(self, _kafka: KafkaSettings) -> "Broker":
        self.opened += 1
        return self

    def describe_topics(self, _names: list[str]) -> list[dict[str, Any]]:
        if self.faults:
            raise self.faults.pop(0)
        return [EVENTS]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch):
    def with_faults(*faults: Exception) -> tuple[Broker, LogWatch]:
        broker = Broker(*faults)
        monkeypatch.setattr(admin_client, "connected", broker.connect)
        return broker, LogWatch(KafkaSettings())

    return with_faults


FOUND = {"events": TopicIdentity(topic="events", id="t-1", partitions=2)}


async def test_many_questions_share_one_connection(watched):
    broker, watch = watched()
    for _ in range(5):
        assert await watch.topics_now(["events"]) == FOUND
    assert (broker.opened, broker.closed) == (1, 0)
    await watch.close()
    assert broker.closed == 1


async def test_a_connection_that_ended_is_opened_again(watched):
    broker, watch = watched()
    assert await watch.topics_now(["events"]) == FOUND
    broker.faults.append(KafkaConnectionError("the session has ended"))
    assert await watch.topics_now(["events"]) == FOUND
    assert (broker.opened, broker.closed) == (2, 1)


async def test_a_broker_that_does_not_answer_is_asked_again_next_time(watched, caplog):
    broker, watch = watched(KafkaConnectionError("away"))
    with caplog.at_level(logging.WARNING, "streams.log_watch"):
        assert await watch.topics_now(["events"]) == {}
    assert "not checked now" in caplog.text
    assert (broker.opened, broker.closed) == (1, 1)
    assert await watch.topics_now(["events"]) == FOUND


async def test_a_beginning_waits_until_the_broker_answers(watched):
    broker, watch = watched(KafkaConnectionError("away"), KafkaConnectionError("away"))
    assert await watch.wait_for_topics(["events"], lambda: False, pause_s=0) == FOUND
    assert broker.opened == 3
    broker.faults = [KafkaConnectionError("away")] * 2  # the open connection, and a new one
    assert await watch.wait_for_topics(["events"], lambda: True, pause_s=0) == {}


async def test_a_refusal_is_an_error(watched):
    broker, watch = watched(TopicAuthorizationFailedError())
    with pytest.raises(AdminError):
        await watch.topics_now(["events"])
    assert broker.closed == 1


def test_a_topic_that_is_gone_is_told_of_once_and_a_silent_broker_says_nothing(caplog):
    caplog.set_level(logging.WARNING)
    registry = CollectorRegistry()
    missing, names = MissingTopics(registry), ("ours", "theirs")
    both = {name: TopicIdentity(topic=name, id=name, partitions=1) for name in names}

    def shown() -> list[float | None]:
        return [registry.get_sample_value("segue_topic_missing", {"topic": n}) for n in names]

    missing.note(names, both)
    assert shown() == [0, 0]
    one = {"ours": both["ours"]}
    for found in (one, both, one, {}):  # a broker that has just started may answer without some
        missing.note(names, found)
        assert shown() == [0, 0]
    assert not caplog.records
    for found in (one, {}, one):
        missing.note(names, found)
        assert shown() == [0, 1]
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("topic theirs was deleted: ")
    assert "Have its owner create it again" in said
    missing.note(names, both)
    assert shown() == [0, 0]
    assert caplog.records[-1].getMessage() == "topic theirs is there again"
