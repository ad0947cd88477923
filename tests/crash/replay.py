"""The log replayed from its beginning by the workers' own code, and states brought to its head."""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agents import Worker
from segue.roles import make_worker
from segue.settings import Settings
from state import Checkpoints, CorruptArtifact, PartitionState
from streams import LogRecord
from streams.outbox import Headers, Outgoing
from tests.crash.world import state_topics
from tests.state.dumps import Dump, dump

__all__ = ["Collected", "Replay", "copies", "replay"]

Sent = tuple[bytes | None, bytes | None]
BATCH = 1_000


class Collected:
    """Outputs that keep what is sent, by topic."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.sent: dict[str, list[Sent]] = defaultdict(list)

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Keep a record."""
        self.sent[topic].append((key, value))

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Keep records."""
        self.sent[topic] += [(key, value) for key, value, _ in records]

    async def flush(self) -> None:
        """Do nothing: what is kept is safe."""


class Replay:
    """What the log makes of an empty disk.

    dumps:  partition -> state. counts: partition -> records applied and refused.
    letters: dead letters.
    """

    def __init__(self) -> None:
        """Start empty; `replay` fills it."""
        self.dumps: dict[int, Dump] = {}
        self.counts: dict[int, dict[str, int]] = {}
        self.letters: list[Sent] = []


async def replay(settings: Settings, records: Sequence[LogRecord], scratch: Path) -> Replay:
    """Apply the log to fresh states through the agents of a worker, without Kafka."""
    worker, outputs = _offline_worker(settings, scratch, "replay")
    done = Replay()
    names, numbers = state_topics(settings), range(settings.topics.partitions)
    await worker.assigned([(name, number) for name in names for number in numbers])
    for batch in _batches(records):
        await worker.handle(batch)
    for number, state in worker.partitions.states.items():
        done.dumps[number] = dump(state)
        done.counts[number] = state.counts
    done.letters = outputs.sent[settings.topics.dead_letters]
    worker.close()
    return done


async def copies(
    settings: Settings, disks: Sequence[Path], records: Sequence[LogRecord], scratch: Path
) -> tuple[dict[str, tuple[int, Dump]], dict[str, dict[str, int]], list[str]]:
    """Bring every copy of a state, on disks and in the artifact store, to the head of the log.

    A copy is of some prefix of its partition: with the rest of the log it must be equal to all
    others. Returns name -> (partition, dump), name -> counts, and checkpoints that are broken.
    """
    found: dict[str, Path] = {}
    for disk in disks:
        for folder in sorted(disk.glob("workers/*/state/[0-9][0-9][0-9][0-9][0-9]")):
            found[f"{disk.name}, partition {int(folder.name)}"] = folder
    broken: list[str] = []
    checkpoints = Checkpoints(settings.store())
    for number in checkpoints.partitions():
        for name in checkpoints.names(number):
            into = scratch / "fetched" / f"{name}" / f"{number:05d}"
            try:
                checkpoints.fetch(number, name, into)
            except CorruptArtifact as error:
                broken.append(f"checkpoint {name} of partition {number}: {error}")
            else:
                found[f"checkpoint {name} of partition {number}"] = into
    dumps: dict[str, tuple[int, Dump]] = {}
    counts: dict[str, dict[str, int]] = {}
    for place, (name, folder) in enumerate(found.items()):
        number = int(folder.name)
        worker, _ = _offline_worker(settings, scratch, f"copy-{place}")
        own = scratch / "workers" / f"copy-{place}" / "state" / folder.name
        shutil.copytree(folder, own)
        mine = [record for record in records if record.partition == number]
        await worker.assigned([(topic, number) for topic in state_topics(settings)])
        state = worker.partitions[number]
        for batch in _batches(_tail(mine, state)):
            await worker.handle(batch)
        dumps[name] = (number, dump(state))
        counts[name] = state.counts
        worker.close()
        shutil.rmtree(own)
    return dumps, counts, broken


def _tail(records: Sequence[LogRecord], state: PartitionState) -> list[LogRecord]:
    return [r for r in records if r.offset >= (state.position(r.topic) or 0)]


def _offline_worker(settings: Settings, scratch: Path, name: str) -> tuple[Worker, Collected]:
    """Return a worker that reads no artifact store and writes to nobody."""
    outputs = Collected()
    alone = replace(settings, data=str(scratch), artifacts=str(scratch / "nothing"))
    return make_worker(alone, name, outputs), outputs


def _batches(records: Sequence[LogRecord]) -> list[list[LogRecord]]:
    """Cut records into batches of one partition, in offset order."""
    partitions: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
    for record in records:
        partitions[record.topic, record.partition].append(record)
    ordered = [sorted(found, key=lambda r: r.offset) for found in partitions.values()]
    return [found[at : at + BATCH] for found in ordered for at in range(0, len(found), BATCH)]
