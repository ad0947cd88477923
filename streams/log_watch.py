"""Whether the topics that are being read are still the same ones."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from streams.admin import Log, identities_by
from streams.admin_client import KeptClient
from streams.embedded import EmbeddedLog
from streams.offsets import Committed, committed_by
from streams.positions import LogChanged, TopicIdentity
from streams.reach import UnreachableError
from streams.security import KafkaSettings

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 2.0
"""Time between two checks of the topics. A check costs the broker a millisecond."""
ANSWER_MS = 5_000
"""How long an answer may take: during an assignment no partition is read until it is there."""

CheckLog = Callable[[], Awaitable[None]]
"""Raises LogChanged unless the topics are those that the stores were made from."""


def hasty(log: Log) -> Log:
    """Return a log of which questions are answered, or fail, within `ANSWER_MS`."""
    return log if isinstance(log, EmbeddedLog) else _hasty(log)


def _hasty(kafka: KafkaSettings) -> KafkaSettings:
    return replace(kafka, request_timeout_ms=min(ANSWER_MS, kafka.request_timeout_ms))


class LogWatch:
    """Asks Kafka what names of topics stand for, over one connection that stays open."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect with the first question."""
        self._client = KeptClient(_hasty(kafka))

    async def topics_now(self, names: Iterable[str]) -> Mapping[str, TopicIdentity]:
        """Return which topics names stand for now.

        Returns nothing, with a warning, if Kafka does not answer. Topics that do not exist are left
        out. Raises AdminError if Kafka refuses.
        """
        names = list(names)
        if not names:
            return {}
        try:
            return await asyncio.to_thread(
                self._client.ask, lambda client: identities_by(client, names)
            )
        except UnreachableError as error:
            logger.warning("the topics are not checked now: %s", error)
            return {}

    async def wait_for_topics(
        self, names: Iterable[str], given_up: Callable[[], bool], pause_s: float = CHECK_EVERY_S
    ) -> Mapping[str, TopicIdentity]:
        """Return what `topics_now` returns, asked again until Kafka answers or `given_up` holds."""
        names = list(names)
        while not (found := await self.topics_now(names)) and not given_up():
            await asyncio.sleep(pause_s)
        return found

    async def committed(self, group: str) -> Mapping[tuple[str, int], Committed]:
        """Return what a group has committed, by (topic, partition). Raises AdminError."""
        return await asyncio.to_thread(self._client.ask, lambda client: committed_by(client, group))

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.to_thread(self._client.close)


class SameTopics:
    """Whether topics that are read whole are still those that the reading began with."""

    def __init__(self) -> None:
        """Take the first topics that are found as those."""
        self._first: dict[str, TopicIdentity] = {}

    def check(self, found: Iterable[TopicIdentity]) -> None:
        """Raise LogChanged for a topic that was created again, or that has other partitions."""
        for now in found:
            first = self._first.setdefault(now.topic, now)
            if now != first:
                raise LogChanged(
                    f"topic {now.topic} was created again, or has other partitions than at the "
                    "start: restart this process, which then reads it from the beginning"
                )


async def check_again(check: CheckLog, every_s: float = CHECK_EVERY_S) -> None:
    """Check without end; raises what the check raises."""
    while True:
        await asyncio.sleep(every_s)
        await check()
