"""Three brokers of one Kafka cluster, for faults that one broker cannot show."""

import asyncio
import contextlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from streams import KafkaSettings
from streams.admin import partitions_of
from streams.admin_client import admin_client
from streams.broker import HOST, DevelopmentBroker, free_ports
from streams.distribution import POM

__all__ = ["Brokers", "leaders_of"]

START_S = 240.0
#: Kafka fences a broker that has been silent for so long, and moves its partitions' leaders.
FENCED_MS = 3_000


def leaders_of(kafka: KafkaSettings, topic: str) -> dict[int, int]:
    """Return the broker that leads each partition, by number, -1 for none. Raises AdminError."""
    with admin_client(kafka) as client:
        found = partitions_of(client, [topic])[topic]
    return {int(one["partition_index"]): int(one["leader_id"]) for one in found}


class _Node(DevelopmentBroker):
    """One of several brokers, each a voter of the controllers' quorum too."""

    def __init__(self, folder: Path, libs: Path, node: int, ports: list[int]) -> None:
        """ports: of all brokers, then of all controllers, in the order of their numbers."""
        super().__init__(folder / f"broker-{node}", POM, libs=libs)
        self._node, self._ports = node, ports

    def _configure(self, port: int | None) -> str:
        """Write the settings of a single broker, then those of a cluster: the last ones win."""
        count = len(self._ports) // 2
        own, controllers = self._ports[self._node - 1], self._ports[count:]
        controller = controllers[self._node - 1]
        address = super()._configure(own)
        voters = ",".join(f"{n}@{HOST}:{at}" for n, at in enumerate(controllers, 1))
        copies = {"replication.factor": count, "min.isr": count - 1}
        internal = ("transaction.state.log", "share.coordinator.state.topic")
        more = {
            "node.id": self._node,
            "listeners": f"PLAINTEXT://{HOST}:{own},CONTROLLER://{HOST}:{controller}",
            "controller.quorum.voters": voters,
            "broker.session.timeout.ms": FENCED_MS,
            "broker.heartbeat.interval.ms": FENCED_MS // 4,
            "offsets.topic.replication.factor": count,
            "min.insync.replicas": count - 1,
            **{f"{topic}.{name}": value for topic in internal for name, value in copies.items()},
        }  # fmt: skip
        with self._properties.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in more.items())
        return address


class Brokers:
    """A cluster of `count` brokers in a folder; with one, a single development broker."""

    def __init__(self, folder: Path, libs: Path, count: int) -> None:
        """Describe it; nothing is started yet."""
        if count == 1:
            self.nodes = [DevelopmentBroker(folder, POM, libs=libs)]
        else:
            ports = free_ports(2 * count)
            self.nodes = [_Node(folder, libs, node, ports) for node in range(1, count + 1)]

    async def start(self) -> str:
        """Start all brokers; returns their addresses, separated by commas."""
        started = [asyncio.to_thread(node.start, timeout=START_S) for node in self.nodes]
        return ",".join(await asyncio.gather(*started))

    async def stop(self) -> None:
        """Stop all brokers, soon: the controllers lose their quorum and would wait."""
        await asyncio.gather(*(asyncio.to_thread(node.stop, timeout=10) for node in self.nodes))

    async def restart_one(self, draw: random.Random, pause_s: float) -> str:
        """Stop or kill a broker, and start it again after some seconds; says what was done."""
        return await self._restart(draw.choice(self.nodes), draw.random() < 0.5, pause_s)

    async def kill_leader(self, leader: int, pause_s: float) -> str:
        """Kill the broker of a number, and start it again after some seconds; says what it did."""
        node = self.nodes[leader - 1 if len(self.nodes) > 1 else 0]
        return await self._restart(node, True, pause_s)

    async def _restart(self, node: DevelopmentBroker, hard: bool, pause_s: float) -> str:
        address = node.status().address or ""
        await asyncio.to_thread(node.stop, timeout=0 if hard else 30)
        await asyncio.sleep(pause_s)
        port = int(address.rpartition(":")[2])
        await asyncio.to_thread(node.start, port, timeout=START_S)
        how = "killed" if hard else "stopped"
        return f"{self._name(node)} {how}, started again {pause_s:.1f} s later"

    async def stall_one(self, draw: random.Random, pause_s: float) -> str:
        """Freeze a broker as a disk does that does not answer; says what was done."""
        node = draw.choice(self.nodes)
        with self._frozen(node):
            await asyncio.sleep(pause_s)
        return f"{self._name(node)} stalled for {pause_s:.1f} s"

    def _name(self, node: DevelopmentBroker) -> str:
        return "broker" if len(self.nodes) == 1 else node.data_dir.name

    @staticmethod
    @contextlib.contextmanager
    def _frozen(node: DevelopmentBroker) -> Iterator[None]:
        process = psutil.Process(node.status().pid)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)
