"""The jobs of the throughput benchmark: how each is started, and what it leaves behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from rocksdict import AccessType, Options, Rdict

from benchmarks.listening import I64, MASK, U64, Totals, item_hash, pair_mix, sum_pairs
from segue.settings import Settings, write_settings
from state import PartitionState, StateSettings, Window, compile_kernels
from state.runs import read_runs
from streams import KafkaSettings, TopicSettings
from streams.distribution import java

__all__ = [
    "JOBS",
    "STREAMS_PEER",
    "BenchError",
    "FaustTables",
    "Job",
    "KafkaStreams",
    "Place",
    "Segue",
]

ROOT = Path(__file__).parents[1]
STREAMS_PEER = Path(__file__).parent / "peers" / "kafka-streams"
COMMIT_MS = 5_000
"""Every job commits every five seconds, as `segue worker` does: equal promises after a crash."""


class BenchError(Exception):
    """A job cannot be measured, or did something else than the others; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run happens: the broker, the topics, a consumer group and a folder of its own."""

    kafka: KafkaSettings
    topics: TopicSettings
    group: str
    folder: Path


class Job(Protocol):
    """What a run needs to know of a job."""

    name: str

    def prepare(self) -> None:
        """Build what is missing, once."""

    def command(self, place: Place, number: int) -> list[str]:
        """Return the command of the group's process `number`."""

    def started_ms(self, log: str) -> int | None:
        """Tell from a process's output when it began to consume, ms UTC; None: not yet."""

    def totals(self, place: Place, logs: list[str]) -> Totals:
        """Sum the pair counts that the processes left, after they have ended."""


class Segue:
    """`segue worker` as it is: no static bundle is there, so that it has nobody to answer."""

    name = "segue"

    def prepare(self) -> None:
        """Compile the kernels into numba's cache, as the first start on a machine does."""
        compile_kernels()

    def command(self, place: Place, number: int) -> list[str]:
        settings = self._settings(place)
        config = place.folder / "segue.toml"
        write_settings(settings, config)
        role = ["worker", "--name", f"worker-{number}", "--config", str(config)]
        return [sys.executable, "-m", "segue", *role]

    def started_ms(self, log: str) -> int | None:
        for line in log.splitlines():
            if "opened partitions" in line:
                # The log's own format: local time to the millisecond, then level and name.
                at = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone()
                return int(at.timestamp() * 1000)
        return None

    def totals(self, place: Place, logs: list[str]) -> Totals:
        settings = self._settings(place).state
        copies: dict[str, list[Path]] = {}
        for folder in place.folder.glob("workers/*/state/" + "[0-9]" * 5):
            copies.setdefault(folder.name, []).append(folder)
        return _sum([_furthest(found, settings) for found in copies.values()])

    def _settings(self, place: Place) -> Settings:
        settings = Settings(data=str(place.folder), kafka=place.kafka, topics=place.topics)
        worker = replace(settings.worker, group=place.group, commit_every_ms=COMMIT_MS)
        # One window over all events, so that every job counts the same.
        return replace(settings, worker=worker, state=StateSettings(window=Window()))


def _furthest(copies: list[Path], settings: StateSettings) -> Totals:
    """Totals of one partition; where it moved, it left a copy that is behind."""
    states = [PartitionState(folder, int(folder.name), settings) for folder in copies]
    furthest = max(states, key=lambda state: state.counts["applied"])
    totals = sum_pairs(_blocks(furthest))
    for state in states:
        state.close()
    return totals


def _blocks(state: PartitionState) -> Iterator[tuple[U64, U64, U64, I64]]:
    """Counts as (buckets, item hashes, item hashes, deltas), block by block."""
    items = state.items
    hashes = np.array([item_hash(*items.name(n)) for n in range(len(items))], np.uint64)
    for cells in read_runs(state.run_files, state.runs, 0):
        once = cells.item <= cells.neighbour  # both directions are stored
        buckets, item, neighbour, delta = (
            column[once] for column in (cells.bucket, cells.item, cells.neighbour, cells.delta)
        )
        yield buckets.astype(np.uint64), hashes[item], hashes[neighbour], delta.astype(np.int64)


class FaustTables:
    """The idiomatic Faust app of benchmarks/peers/faust_tables.py."""

    name = "faust"

    def prepare(self) -> None:
        return None

    def command(self, place: Place, number: int) -> list[str]:
        broker = ",".join(place.kafka.servers)
        folder = str(place.folder / f"tables-{number}")
        arguments = [broker, place.topics.events, place.group, folder]
        return [sys.executable, "-m", "benchmarks.peers.faust_tables", *arguments]

    def started_ms(self, log: str) -> int | None:
        return _said(log, "started")

    def totals(self, place: Place, logs: list[str]) -> Totals:
        found = []
        for folder in place.folder.glob("tables-*/v*/tables/pairs-*.db"):
            table = Rdict(str(folder), Options(raw_mode=True), access_type=AccessType.read_only())
            count = checksum = 0
            for key, value in table.items():
                if key.startswith(b"__faust"):
                    continue
                bucket, a, b = key.decode().strip('"').split("|")
                count += int(value)
                checksum += int(value) * pair_mix(int(bucket), _named(a), _named(b))
            table.close()
            found.append(Totals(count=count, checksum=checksum & MASK))
        return _sum(found)


class KafkaStreams:
    """The Kafka Streams application of benchmarks/peers/kafka-streams."""

    def __init__(self, *, changelog: bool) -> None:
        self.name = "kafka-streams-changelog" if changelog else "kafka-streams"
        self._changelog = changelog

    def prepare(self) -> None:
        """Run Maven if a source is newer than the jar. Raises BenchError."""
        jar = STREAMS_PEER / "target" / "peer.jar"
        sources = [STREAMS_PEER / "pom.xml", *(STREAMS_PEER / "src").rglob("*.*")]
        if jar.exists() and jar.stat().st_mtime > max(s.stat().st_mtime for s in sources):
            return
        maven = shutil.which("mvn")
        if maven is None:
            raise BenchError("Kafka Streams needs Maven (mvn): install it, or leave it out: --jobs")
        command = [maven, "-q", "-B", "-f", str(STREAMS_PEER / "pom.xml"), "package"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise BenchError(f"Maven could not build {STREAMS_PEER}:\n{tail}")

    def command(self, place: Place, number: int) -> list[str]:
        target = STREAMS_PEER / "target"
        folder = str(place.folder / f"streams-{number}")
        broker = ",".join(place.kafka.servers)
        # With one core Java itself chooses the serial collector; two cores must not change it.
        options = ["-Xms1g", "-Xmx1g", "-XX:+UseSerialGC"]
        classes = os.pathsep.join([str(target / "peer.jar"), str(target / "libs" / "*")])
        arguments = [
            broker, place.topics.events, place.group, folder, str(COMMIT_MS),
            "changelog" if self._changelog else "no-changelog",
        ]  # fmt: skip
        return [java(), *options, "-cp", classes, "segue.peers.Peer", *arguments]

    def started_ms(self, log: str) -> int | None:
        return _said(log, "started")

    def totals(self, place: Place, logs: list[str]) -> Totals:
        found = []
        for log in logs:
            count, checksum = _said(log, "count"), _said(log, "checksum")
            if count is None or checksum is None:
                raise BenchError(f"{self.name} ended without totals:\n{log[-2000:]}")
            found.append(Totals(count=count, checksum=checksum))
        return _sum(found)


JOBS: dict[str, Job] = {
    job.name: job
    for job in (
        Segue(), FaustTables(), KafkaStreams(changelog=False), KafkaStreams(changelog=True),
    )
}  # fmt: skip


def _said(log: str, name: str) -> int | None:
    """Value of a name among the JSON lines of a peer's output."""
    for line in log.splitlines():
        if line.startswith("{"):
            found = json.loads(line).get(name)
            if found is not None:
                return int(found)
    return None


@cache
def _named(name: str) -> int:
    item_type, _, item_id = name.partition("/")
    return item_hash(item_type, item_id)


def _sum(parts: list[Totals]) -> Totals:
    return Totals(
        count=sum(part.count for part in parts),
        checksum=sum(part.checksum for part in parts) & MASK,
    )
