"""Worker processes that share partitions: added, stopped, killed; nothing lost, nothing doubled."""

import asyncio
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from streams.security import KafkaSettings
from tests.integration import counting_worker
from tests.integration.conftest import fill
from tests.integration.counting_worker import PartitionFiles
from tests.waiting import PATIENCE_S, end_of, wait_until

pytestmark = pytest.mark.integration

PARTITIONS = 6
RECORDS = 4000
"""By partition and topic, in each of three helpings."""


class Workers:
    """Starts worker processes of one group on one folder and reads what they wrote."""

    def __init__(self, kafka: KafkaSettings, folder: Path, topics: list[str]) -> None:
        self.folder = folder
        self.topics = topics
        self._kafka = kafka
        self._group = f"group-{uuid.uuid4().hex[:8]}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *more: str) -> None:
        options = ["--broker", self._kafka.bootstrap_servers, "--group", self._group]
        options += ["--transport", self._kafka.transport, "--folder", str(self.folder)]
        with (self.folder / f"{name}.output").open("wb") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, counting_worker.__file__, name, *options, *more, *self.topics],
                stdout=output,
                stderr=output,
            )

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        process = self._processes.pop(name)
        process.send_signal(number)
        return process.wait(PATIENCE_S)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, ended=self._ended)

    def _ended(self) -> str:
        """What the workers said that ended and were not told to."""
        return "".join(
            f"{name}: {end_of(process, partial(self.output, name))()}"
            for name, process in self._processes.items()
            if process.poll() is not None
        )

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.output").read_text()

    def complaints(self, name: str) -> list[str]:
        """What a worker said, without what its client says of heartbeats on a busy machine."""
        lines = self.output(name).splitlines()
        return [line for line in lines if not line.startswith("Heartbeat ")]

    def held(self, name: str) -> set[tuple[str, int]]:
        """Partitions that a worker said to hold last."""
        log = self.folder / f"{name}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return {(t, p) for t, p in json.loads(lines[-1])["held"]} if lines else set()

    def share(self, *names: str) -> bool:
        """Tell whether these workers hold all partitions, none twice, all of them some."""
        shares = [self.held(name) for name in names]
        total = len(self.topics) * PARTITIONS
        return all(shares) and sum(map(len, shares)) == len(set().union(*shares)) == total

    def stop_all(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def workers(
    kafka: KafkaSettings, new_topic: Callable[..., str], tmp_path: Path
) -> Iterator[Workers]:
    topics = [new_topic(name, PARTITIONS) for name in ("events", "catalogue", "users")]
    workers = Workers(kafka, tmp_path, topics)
    yield workers
    workers.stop_all()


def test_partitions_move_between_workers_without_loss_or_doubles(
    broker: str, workers: Workers
) -> None:
    store = PartitionFiles(workers.folder)
    partitions = [(topic, number) for topic in workers.topics for number in range(PARTITIONS)]

    async def feed() -> None:
        for topic, number in partitions:
            await fill(broker, topic, number, (b"%d" % n for n in range(RECORDS)))

    def applied(helpings: int) -> Callable[[], bool]:
        return lambda: all(store.read(*tp)["next"] == RECORDS * helpings for tp in partitions)

    workers.start("one")
    workers.start("two")
    workers.wait_until(lambda: workers.share("one", "two"), "two workers with a share each")
    for name in ("one", "two"):
        numbers = [{p for t, p in workers.held(name) if t == topic} for topic in workers.topics]
        assert numbers[0] == numbers[1] == numbers[2], "equal numbers go to the same worker"

    asyncio.run(feed())
    workers.start("three")
    workers.wait_until(applied(1), "the first helping")
    workers.wait_until(
        lambda: workers.share("one", "two", "three"), "three workers with a share each"
    )
    for name in ("one", "two", "three"):
        numbers = [{p for t, p in workers.held(name) if t == topic} for topic in workers.topics]
        assert numbers[0] == numbers[1] == numbers[2]

    asyncio.run(feed())
    assert workers.signal("one", signal.SIGTERM) == 0, workers.output("one")
    assert workers.held("one") == set(), "a stopped worker has closed what it held"
    workers.wait_until(applied(2), "the second helping")

    assert workers.signal("two", signal.SIGKILL) == -signal.SIGKILL
    asyncio.run(feed())
    workers.wait_until(applied(3), "the third helping")
    workers.wait_until(lambda: workers.share("three"), "the last worker with everything")

    expected = {"next": 3 * RECORDS, "count": 3 * RECORDS, "sum": 3 * sum(range(RECORDS))}
    assert [store.read(*tp) for tp in partitions] == [expected] * len(partitions)
    assert workers.signal("three", signal.SIGINT) == 0, workers.output("three")
    assert workers.complaints("one") == workers.complaints("three") == []


def test_a_restore_that_outlasts_the_rebalance_timeout_ends_in_a_share_for_each(
    broker: str, workers: Workers
) -> None:
    """The group goes on without the worker that restores; it comes back and gets its share."""
    store = PartitionFiles(workers.folder)
    partitions = [(topic, number) for topic in workers.topics for number in range(PARTITIONS)]
    slow = ("--restore", "1.5", "--rebalance-timeout", "1")
    restoring = workers.folder / "one.log"
    workers.start("one", *slow)
    workers.wait_until(
        lambda: restoring.exists() and "restoring" in restoring.read_text(), "a restore"
    )
    workers.start("two", *slow)
    workers.wait_until(lambda: workers.share("one", "two"), "two workers with a share each")

    async def feed() -> None:
        for topic, number in partitions:
            await fill(broker, topic, number, (b"%d" % n for n in range(RECORDS)))

    asyncio.run(feed())
    workers.wait_until(
        lambda: all(store.read(*tp)["next"] == RECORDS for tp in partitions), "all records"
    )
    expected = {"next": RECORDS, "count": RECORDS, "sum": sum(range(RECORDS))}
    assert [store.read(*tp) for tp in partitions] == [expected] * len(partitions)
