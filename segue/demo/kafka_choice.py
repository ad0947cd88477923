"""The Kafka of a demo or a measurement: the configured one, else a local one."""

import os
from dataclasses import replace

from segue.settings import Settings
from streams.broker import DevelopmentBroker
from streams.distribution import POM

__all__ = ["start_kafka"]


def start_kafka(settings: Settings) -> tuple[Settings, str, DevelopmentBroker | None]:
    """Return settings with the Kafka's address, its name, and the broker if one was started.

    The Kafka is that of the environment's KAFKA_BOOTSTRAP_SERVERS, else a new one in the data
    folder, whose JARs are in the folder beside it. Raises BrokerError where none can be started.
    """
    broker = None
    address = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    name = f"Kafka at {address}"
    if not address:
        libs = settings.folder.parent / "kafka" / "libs"
        broker = DevelopmentBroker(settings.folder / "kafka", POM, libs=libs)
        address = broker.start()
        name = f"a local Apache Kafka at {address}"
    kafka = replace(settings.kafka, bootstrap_servers=address)
    return replace(settings, kafka=kafka), name, broker
