"""One crash run from an empty folder to its verdict."""

import asyncio
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from agents.demand import live_popularity, take_demand
from segue.settings import Settings, write_settings
from streams import DeadLetter, LogRecord, Recommendation, create_topics, decode, read_from, topics
from tests.crash import checker
from tests.crash.brokers import Brokers
from tests.crash.clients import Clients, console_settings, is_of_client, log_of
from tests.crash.faults import FAULTS, Scene, draw_faults
from tests.crash.history import Erasure, violations
from tests.crash.learned import judge_learning, row_differences
from tests.crash.replay import Replay, copies, replay
from tests.crash.supervisor import Cluster, Stuck
from tests.crash.watch import AgeWatch
from tests.crash.world import (
    RATE,
    ROW_FLAGS,
    Writer,
    crash_settings,
    make_world,
    publish_models,
    state_topics,
)
from tests.dynamic_layer.worlds import Items
from tests.waiting import PATIENCE_S

__all__ = ["Options", "Report", "run"]

SMALL_DISK, SMALL_DISK_BYTES = "worker-2", 96 << 20
#: Share of the faults after which nobody waits for the workers to recover.
HASTE = 0.25
CALM_S = 4.0
ANSWERED_WITHIN_S = 30.0
#: More faults than fit into any time.
MANY = 10_000


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked for; the folder is emptied first.

    minutes:     go on with faults for so long, however many there are then; None: `faults` of them.
    rate:        records written a second.
    age_limit_s: longest time for which a partition may apply nothing.
    brokers:     brokers of the cluster.
    transport:   client with which workers and trainers read in groups.
    standby:     workers keep warm states of the partitions that others own.
    upgrade:     commit whose code every process runs at first; one is upgraded after each fault.
    """

    seed: int
    faults: int = 50
    workers: int = 3
    only: Sequence[str]
    folder: Path
    minutes: float | None = None
    rate: int = RATE
    age_limit_s: float = 120.0
    brokers: int = 1
    transport: Literal["faust", "librdkafka"] = "faust"
    standby: bool = False
    upgrade: str | None = None


@dataclass(kw_only=True)
class Report:
    """What happened and whether all was well: `differences` is empty if it was."""

    seed: int
    faults: list[str] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


async def run(options: Options) -> Report:
    """Do everything; what went wrong is in the report, never raised."""
    report, started = Report(seed=options.seed), time.monotonic()
    disk = options.folder / "disks" / SMALL_DISK
    if disk.is_mount():  # left by a run that was killed
        subprocess.run(["umount", str(disk)], check=False)
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    libs = options.folder.parent.parent / "kafka" / "libs"
    brokers = Brokers(options.folder / "kafka", libs, options.brokers)
    settings = crash_settings(
        options.folder.resolve(), await brokers.start(), options.brokers, console_settings()
    )
    settings = replace(
        settings,
        kafka=replace(settings.kafka, transport=options.transport),
        worker=replace(settings.worker, standby=options.standby),
    )
    code = options.upgrade and checked_out(options.upgrade, options.folder / "earlier")
    cluster = Cluster(settings, brokers, code or None)
    if code is None:  # earlier versions do not know these settings
        cluster.trainer.flags = ROW_FLAGS
    try:
        with _small_disk(settings) as small_disk:
            await asyncio.to_thread(create_topics, settings.kafka, topics(settings.topics))
            write_settings(settings, cluster.config)
            world = make_world(options.seed)
            tell("training a small two-tower")
            await publish_models(settings, world, options.seed)
            writer = Writer(settings, world, options.seed, options.rate)
            clients = Clients(settings, world, cluster.console, options.seed)
            await clients.first_policy()
            watch = AgeWatch(cluster, settings.topics.partitions)
            scene = Scene(cluster, writer, clients, small_disk, set())
            try:
                async with _traffic(cluster, writer, clients, options.workers):
                    await clients.answered()
                    since = await _harm(scene, watch, options, report)
                    await clients.answered()
                    await _drain(cluster, writer, since)
                await cluster.learned()
                await _same_rows(watch)
                ending = [*cluster.running, cluster.trainer, cluster.console]
                await asyncio.gather(*map(cluster.stop, ending))
            except Stuck as error:
                report.differences.append(f"stuck: {error}")
            else:
                tell("comparing every copy of the state with a replay of the log")
                answers = await _judge(settings, scene, since, report)
                await _judge_history(settings, clients, report)
                await _judge_learning(settings, world, answers, report)
                await _judge_rows(settings, watch, report)
            finally:
                for process in cluster.everyone:
                    process.wanted = False
                    cluster.kill(process)
    finally:
        await brokers.stop()
        report.exits = cluster.exits
        report.figures["seconds"] = round(time.monotonic() - started, 1)
    return report


def checked_out(commit: str, folder: Path) -> Path:
    """Write the files of a commit to a folder, and return the folder."""
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit], check=True, capture_output=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder.resolve()


def tell(line: str) -> None:
    """Say on stderr how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


@asynccontextmanager
async def _traffic(
    cluster: Cluster, writer: Writer, clients: Clients, workers: int
) -> AsyncIterator[None]:
    """Run all processes, supervisor, writer and clients; the writer ends its work at the end."""
    for number in range(1, workers + 1):
        cluster.add(f"worker-{number}")
    cluster.trainer.wanted = cluster.console.wanted = True
    watching = asyncio.ensure_future(cluster.watch())
    writing = asyncio.ensure_future(writer.run())
    try:
        async with clients.running():
            yield
    finally:
        writer.stopping.set()
        watching.cancel()
        await asyncio.gather(watching, writing, return_exceptions=True)
    writing.result()


async def _harm(scene: Scene, watch: AgeWatch, options: Options, report: Report) -> dict[int, int]:
    """Inject the faults; returns the end offsets of the events topic after the last one."""
    started = time.monotonic()
    tell(f"workers are ready after {await scene.cluster.moving('the start'):.1f} s")
    await asyncio.sleep(2 * scene.cluster.settings.worker.checkpoint_every_s)
    ends = await asyncio.to_thread(scene.cluster.ends)
    if not scene.small_disk:
        tell("no file system can be mounted here: disks are not full, only files too long")
    kinds = [fault for fault in FAULTS if fault.name in options.only]
    watching = asyncio.ensure_future(watch.run())
    many = options.faults if options.minutes is None else MANY
    for number, fault in enumerate(draw_faults(options.seed, many, kinds), 1):
        draw = random.Random(f"{options.seed}/{number}")
        hasty = draw.random() < HASTE
        at = time.monotonic() - started
        what = await fault.inject(scene, draw)
        ends = await asyncio.to_thread(scene.cluster.ends)
        after = "not waited for"
        if not hasty or number == options.faults:
            seconds = await scene.cluster.moving(f"fault {number} ({fault.name})")
            after = f"recovered in {seconds:.1f} s"
        line = f"{number:3d}  seed {options.seed}/{number}  {at:6.1f} s  {fault.name}: {what}"
        report.faults.append(f"{line}; {after}")
        tell(report.faults[-1])
        if upgraded := await scene.cluster.upgrade(draw):
            tell(f"upgraded {upgraded}")
        if options.minutes is not None and time.monotonic() - started > 60 * options.minutes:
            break
    while upgraded := await scene.cluster.upgrade(random.Random(options.seed)):
        tell(f"upgraded {upgraded}")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    _judge_ages(watch, options, report)
    events = scene.cluster.settings.topics.events
    return {partition: end for (topic, partition), end in ends.items() if topic == events}


def _judge_ages(watch: AgeWatch, options: Options, report: Report) -> None:
    ages = sorted(watch.ages) or [0.0]
    report.figures |= {
        "faults": len(report.faults),
        "looks_at_ages": len(watch.ages),
        "age_of_last_applied_record_median_s": round(ages[len(ages) // 2], 1),
        "age_of_last_applied_record_p99_s": round(ages[int(len(ages) * 0.99)], 1),
        "age_of_last_applied_record_greatest_s": round(watch.greatest, 1),
    }
    if watch.greatest > options.age_limit_s:
        report.differences.append(
            f"a partition applied nothing for {watch.greatest:.0f} s; {options.age_limit_s:g} s "
            "are allowed"
        )


async def _drain(cluster: Cluster, writer: Writer, since: dict[int, int]) -> None:
    """Write on for a while without faults, then wait until all is applied and answered."""
    await asyncio.sleep(CALM_S)
    writer.stopping.set()
    await asyncio.sleep(0.5)
    await cluster.moving("the end of the log")
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    settings = cluster.settings
    events = await _read(settings, settings.topics.events)
    events = _of_the_writer(events, settings.topics.events)
    heard = checker.listening(events, settings.events, (), settings.state.window)
    while time.monotonic() < deadline:
        if not checker.unanswered(heard, await _answers(settings), since):
            break
        await asyncio.sleep(1)


async def _judge(
    settings: Settings, scene: Scene, since: dict[int, int], report: Report
) -> Sequence[Recommendation]:
    names, scratch = settings.topics, settings.folder / "scratch"
    records = [
        record for topic in state_topics(settings) for record in await _read(settings, topic)
    ]
    again = await replay(settings, records, scratch)
    disks = [worker.disk for worker in scene.cluster.workers.values()]
    states, counts, broken = await copies(settings, disks, records, scratch)
    differences = report.differences
    differences += checker.state_differences(states, again.dumps)
    differences += [
        f"{name}: {counts[name]} and {again.counts[number]}"
        for name, (number, _) in states.items()
        if counts[name] != again.counts[number]
    ]
    harmed = {Path(path).name for path in scene.broken}
    differences += [line for line in broken if not any(name in line for name in harmed)]
    told, first = _told(await _read(settings, names.demand), settings, again)
    differences += checker.demand_differences(told, again.dumps.values(), first)
    letters = await _read(settings, names.dead_letters)
    differences += checker.dead_letter_differences(letters, again.letters)
    refused = [decode(DeadLetter, letter.value or b"").source for letter in letters]
    heard = checker.listening(
        _of_the_writer(records, names.events),
        settings.events,
        [(source.topic, source.partition, source.offset) for source in refused],
        settings.state.window,
    )
    answers = await _answers(settings)
    differences += checker.unanswered(heard, answers, since)[:10]
    differences += checker.consumed_items(heard, answers, names)
    dropped = checker.repeats(answers)
    differences += dropped.differing_at_once[:10]
    report.figures |= {
        "records": len(records),
        "dead_letters": len(again.letters),
        "histories": sum(len(d.histories) for d in again.dumps.values()),
        "pairs": sum(len(d.pairs) for d in again.dumps.values()),
        "demand": sum(told.values()),
        "users_with_impressions": sum(len(d.shown) for d in again.dumps.values()),
        "copies_compared": len(states),
        "checkpoints_broken": len(broken),
        "recommendations": dropped.answers,
        "repeated": dropped.repeated,
        "repeated_otherwise_ranked": dropped.differing,
        "users_with_events_after_the_last_fault": sum(
            offset >= since[partition] for _, partition, offset in heard.latest.values()
        ),
        "users_whose_latest_event_is_not_answered": len(checker.unanswered(heard, answers, {})),
    }
    return answers


def _of_the_writer(records: Sequence[LogRecord], topic: str) -> list[LogRecord]:
    """Return the records of a topic without those of the clients' users, who are erased."""
    return [r for r in records if r.topic == topic and not is_of_client(r)]


async def _judge_history(settings: Settings, clients: Clients, report: Report) -> None:
    names = settings.topics
    log = log_of(
        await _read(settings, names.events),
        await _read(settings, names.impressions),
        await _read(settings, names.policies),
        settings.events,
    )
    report.differences += violations(clients.history, log) + clients.unexpected
    counts = Counter(type(one).__name__ for one in clients.history)
    report.figures |= {
        "client_operations": dict(counts),
        "client_operations_without_answer": dict(clients.without_answer),
        "erasures_whose_receipt_was_seen": sum(
            isinstance(one, Erasure) and one.held_since is not None for one in clients.history
        ),
    }


async def _judge_learning(
    settings: Settings, world: Items, answers: Sequence[Recommendation], report: Report
) -> None:
    names = settings.topics
    examples, models = [await _read(settings, name) for name in (names.examples, names.models)]
    learned = await asyncio.to_thread(
        judge_learning, settings, world, report.seed, examples, models, answers
    )
    report.differences += learned.differences
    report.figures |= learned.figures


async def _same_rows(watch: AgeWatch) -> None:
    """Wait until all workers serve the same rows. Raises Stuck if they do not."""
    deadline = time.monotonic() + PATIENCE_S
    while not await watch.same_rows():
        if time.monotonic() > deadline:
            raise Stuck("workers serve different rows, and nothing more comes")
        await asyncio.sleep(0.5)


async def _judge_rows(settings: Settings, watch: AgeWatch, report: Report) -> None:
    """Hold what workers showed of changed rows against a replay of the topic."""
    records = await _read(settings, settings.topics.rows)
    report.differences += row_differences(records, watch.rows)[:10]
    report.figures |= {"row_deltas": len(records), "row_checksums_seen": len(watch.rows)}


def _told(
    records: Sequence[LogRecord], settings: Settings, again: Replay
) -> tuple[dict[tuple[int, int], int], int]:
    """What the demand topic sums up to, and the first bucket that no window has left."""
    live, state = live_popularity(settings.state), settings.state
    take_demand(live, records)
    newest = max((bucket for dump in again.dumps.values() for bucket, _ in dump.demand), default=0)
    firsts = [state.first_demand(dump.watermark) for dump in again.dumps.values()]
    found: Counter[tuple[int, int]] = Counter()
    counts = live.between(0, newest + 1)
    for bucket, key, count in zip(*(column.tolist() for column in counts), strict=True):
        found[bucket, key] += count
    return dict(found), max([*firsts, newest - state.demand_buckets + 1])


async def _read(settings: Settings, topic: str) -> list[LogRecord]:
    return await read_from(settings.kafka, topic)


async def _answers(settings: Settings) -> Sequence[Recommendation]:
    records = await _read(settings, settings.topics.recommendations)
    return [decode(Recommendation, one.value) for one in records if one.value]  # erased: empty


@contextlib.contextmanager
def _small_disk(settings: Settings) -> Any:
    """Mount a small file system as one worker's disk; yields its name, None if it cannot be."""
    disk = settings.folder / "disks" / SMALL_DISK
    disk.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(disk)],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        yield None
        return
    try:
        yield SMALL_DISK
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def ending() -> None:
    """Turn SIGTERM into an orderly end, so that nothing is left running."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
