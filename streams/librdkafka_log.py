"""What a log holds, and who reads it, asked through librdkafka's own client for administration."""

import asyncio
import logging

from confluent_kafka import (
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.batches import Partitions, Place
from streams.log_levels import LIBRDKAFKA
from streams.positions import Held
from streams.reach import AdminError
from streams.security import KafkaSettings

__all__ = ["LogEnds", "members_of"]

_ANSWER_S = 10.0


class LogEnds:
    """Asks where partitions begin and end, over connections that stay open.

    A client of its own: the consumer's is busy while it waits for records.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect with the first question."""
        self._kafka = kafka
        self._client: AdminClient | None = None

    async def held(self, places: Partitions) -> list[Held]:
        """Return what the log holds of partitions, of committed records. Raises KafkaException."""
        client = self._client = self._client or _client(self._kafka)
        try:
            first = await self._offsets(client, places, OffsetSpec.earliest())
            end = await self._offsets(client, places, OffsetSpec.latest())
        except KafkaException:
            # It asks with the leader's epoch that it knows, and after the broker has started again
            # with nothing else: FENCED_LEADER_EPOCH each time (seen in a crash run, seed 1).
            self.close()
            raise
        return [
            Held(topic=place[0], partition=place[1], first=first[place], end=end[place])
            for place in sorted(places)
        ]

    async def _offsets(
        self, client: AdminClient, places: Partitions, spec: OffsetSpec
    ) -> dict[Place, int]:
        found = client.list_offsets(
            {TopicPartition(*place): spec for place in places},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_ANSWER_S,
        )
        results = await asyncio.gather(*map(asyncio.wrap_future, found.values()))
        at = zip(found, results, strict=True)
        return {(tp.topic, tp.partition): result.offset for tp, result in at}

    def close(self) -> None:
        """Close the connections, with the last reference to them."""
        self._client = None


def _client(kafka: KafkaSettings) -> AdminClient:
    return AdminClient(kafka.for_librdkafka(), logger=logging.getLogger(LIBRDKAFKA))


def members_of(kafka: KafkaSettings, group: str) -> list[str]:
    """Return the client ids of a group's members, of either protocol. Raises AdminError."""
    client = _client(kafka)
    try:
        found = client.describe_consumer_groups([group], request_timeout=_ANSWER_S)[group].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise AdminError(f"the members of group {group} are not known: {error}") from error
    if found.state is ConsumerGroupState.DEAD:
        return []
    return sorted(member.client_id for member in found.members)
