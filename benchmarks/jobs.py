"""The jobs of the throughput benchmark: how each is started, and what it leaves behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.commits import Commit
from benchmarks.job import (
    COMMIT_MS,
    BenchError,
    Done,
    Job,
    Place,
    Size,
    done_in,
    named,
    said,
    summed,
    table_of,
)
from benchmarks.listening import I64, U64, Totals, item_hash, sum_pairs
from benchmarks.python_peers import Pathway, QuixStreams
from segue.settings import Settings, write_settings
from state import PartitionState, StateSettings, Window, compile_kernels
from state.runs import read_runs
from streams import KafkaSettings
from streams.app import TransportError, require_transport
from streams.distribution import java
from streams.warming import compile_record_kernels

__all__ = ["JOBS", "STREAMS_PEER", "Drain", "FaustTables", "KafkaStreams", "Segue"]

STREAMS_PEER = Path(__file__).parent / "peers" / "kafka-streams"


class Segue:
    """`segue worker` as it is: no static bundle is there, so that it has nobody to answer."""

    size: Size = "events"
    peer = tells = False

    def __init__(self, transport: Literal["faust", "librdkafka"]) -> None:
        self.name = "segue" if transport == "faust" else f"segue-{transport}"
        self._transport = transport

    def prepare(self) -> None:
        """Compile the kernels into numba's cache, as the first start on a machine does."""
        try:
            require_transport(KafkaSettings(transport=self._transport))
        except TransportError as error:
            raise BenchError(str(error)) from error
        compile_kernels()
        compile_record_kernels()

    def command(self, place: Place, number: int) -> list[str]:
        settings = self._settings(place)
        config = place.folder / "segue.toml"
        write_settings(settings, config)
        role = ["worker", "--name", f"worker-{number}", "--config", str(config)]
        return [sys.executable, "-m", "segue", *role]

    def started_ms(self, log: str, commits: Sequence[Commit]) -> int | None:
        for line in log.splitlines():
            if "opened partitions" in line:
                # The log's own format: local time to the millisecond, then level and name.
                at = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone()
                return int(at.timestamp() * 1000)
        return None

    def done(self, log: str) -> Done | None:
        return None

    def totals(self, place: Place, logs: list[str]) -> Totals:
        settings = self._settings(place).state
        copies: dict[str, list[Path]] = {}
        for folder in place.folder.glob("workers/*/state/" + "[0-9]" * 5):
            copies.setdefault(folder.name, []).append(folder)
        return summed([_furthest(found, settings) for found in copies.values()])

    def _settings(self, place: Place) -> Settings:
        kafka = replace(place.kafka, transport=self._transport)
        settings = Settings(data=str(place.folder), kafka=kafka, topics=place.topics)
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
    size: Size = "faust_events"
    peer, tells = True, False

    def prepare(self) -> None:
        return None

    def command(self, place: Place, number: int) -> list[str]:
        broker = ",".join(place.kafka.servers)
        folder = str(place.folder / f"tables-{number}")
        arguments = [broker, place.topics.events, place.group, folder]
        return [sys.executable, "-m", "benchmarks.peers.faust_tables", *arguments]

    def started_ms(self, log: str, commits: Sequence[Commit]) -> int | None:
        return said(log, "started")

    def done(self, log: str) -> Done | None:
        return None

    def totals(self, place: Place, logs: list[str]) -> Totals:
        folders = place.folder.glob("tables-*/v*/tables/pairs-*.db")
        return summed([named(self._counts(folder)) for folder in folders])

    def _counts(self, folder: Path) -> Iterator[tuple[int, str, str, int]]:
        table = table_of(folder)
        for key, value in table.items():
            if not key.startswith(b"__faust"):
                bucket, a, b = key.decode().strip('"').split("|")
                yield int(bucket), a, b, int(value)
        table.close()


class KafkaStreams:
    """The Kafka Streams application of benchmarks/peers/kafka-streams."""

    size: Size = "peer_events"
    peer, tells = True, False

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

    def started_ms(self, log: str, commits: Sequence[Commit]) -> int | None:
        return said(log, "started")

    def done(self, log: str) -> Done | None:
        return None

    def totals(self, place: Place, logs: list[str]) -> Totals:
        found = []
        for log in logs:
            count, checksum = said(log, "count"), said(log, "checksum")
            if count is None or checksum is None:
                raise BenchError(f"{self.name} ended without totals:\n{log[-2000:]}")
            found.append(Totals(count=count, checksum=checksum))
        return summed(found)


class Drain:
    """The limit: aiokafka takes all records out of the topic, and nothing is done with them."""

    name = "drain"
    size: Size = "events"
    peer, tells = False, True

    def prepare(self) -> None:
        return None

    def command(self, place: Place, number: int) -> list[str]:
        arguments = [",".join(place.kafka.servers), place.topics.events]
        return [sys.executable, "-m", "benchmarks.drain", *arguments]

    def started_ms(self, log: str, commits: Sequence[Commit]) -> int | None:
        return said(log, "started")

    def done(self, log: str) -> Done | None:
        return done_in(log)

    def totals(self, place: Place, logs: list[str]) -> None:
        return None


JOBS: dict[str, Job] = {
    job.name: job
    for job in (
        Segue("faust"), Segue("librdkafka"), Drain(), Pathway(), QuixStreams(),
        KafkaStreams(changelog=False), KafkaStreams(changelog=True), FaustTables(),
    )
}  # fmt: skip
