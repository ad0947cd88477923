"""A real Apache Kafka for the integration tests: one broker for the whole test session."""

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streams.broker import DevelopmentBroker
from streams.distribution import POM, KafkaDistribution
from streams.security import KafkaSettings
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
LIBS = ROOT / "var" / "kafka" / "libs"


@pytest.fixture(scope="session")
def jars() -> Path:
    """Folder of Kafka's jars. Skipped only where Java or Maven is missing."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: no broker to test against")
    return KafkaDistribution(pom=POM, libs=LIBS).resolve()


@pytest.fixture(scope="session")
def broker(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a fresh broker."""
    node = DevelopmentBroker(tmp_path_factory.mktemp("kafka"), POM, libs=jars)
    address = node.start(timeout=PATIENCE_S)
    yield address
    node.stop()


@pytest.fixture(params=["faust", "librdkafka"])
def kafka(broker: str, request: pytest.FixtureRequest) -> KafkaSettings:
    """The broker, by each of the transports; `classic`: by librdkafka's classic protocol."""
    classic = {"transport": "librdkafka", "group_protocol": "classic"}
    chosen = classic if request.param == "classic" else {"transport": request.param}
    return KafkaSettings(bootstrap_servers=broker, **chosen)


@pytest.fixture
def new_topic(broker: str) -> Iterator[Callable[..., str]]:
    """Make topics under names that no other test uses; they go when the test ends."""
    admin = KafkaAdminClient(bootstrap_servers=broker)
    made: list[str] = []

    def make(name: str, partitions: int = 1, **config: str) -> str:
        topic = f"{name}-{uuid.uuid4().hex[:8]}"
        configs = {key.replace("_", "."): value for key, value in config.items()}
        admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        made.append(topic)
        return topic

    yield make
    if made:
        admin.delete_topics(made)
    admin.close()


async def fill(address: str, topic: str, partition: int, values: Iterable[bytes]) -> None:
    """Append one record for each value to a partition, with the keys b"0", b"1", ..."""
    producer = AIOKafkaProducer(
        bootstrap_servers=address, max_batch_size=1 << 18, max_request_size=9 << 20
    )
    async with producer:
        batch = producer.create_batch()
        for number, value in enumerate(values):
            key = b"%d" % number
            if batch.append(key=key, value=value, timestamp=None) is None:
                await producer.send_batch(batch, topic, partition=partition)
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()
