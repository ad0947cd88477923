"""The faults: each a coroutine that does harm and says what it did. A new one is a new entry."""

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from streams.partitioner import murmur2_partition
from tests.crash.brokers import FENCED_MS, leaders_of
from tests.crash.clients import Clients
from tests.crash.supervisor import Cluster, Stuck, WorkerProcess, until
from tests.crash.world import Writer
from tests.waiting import PATIENCE_S

__all__ = ["FAULTS", "Fault", "Scene", "draw_faults"]

EXTRA = "worker-extra"
BLOCK = bytes(1 << 16)


@dataclass
class Scene:
    """What a fault can reach.

    small_disk: the worker whose disk is a small file system of its own; None where none could be
                mounted.
    broken:     what was broken in the artifact store, by path: nothing else may be broken there.
    """

    cluster: Cluster
    writer: Writer
    clients: Clients
    small_disk: str | None
    broken: set[str]

    async def victim(self, draw: random.Random) -> WorkerProcess:
        """Return a running worker, the first to be back if a fault has ended all. Raises Stuck."""
        await until(lambda: bool(self.cluster.running), "a worker to run")
        return draw.choice(self.cluster.running)


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and how often it is drawn beside the others."""

    name: str
    weight: int
    inject: Callable[[Scene, random.Random], Awaitable[str]]


def draw_faults(seed: int, count: int, kinds: Sequence[Fault]) -> list[Fault]:
    """Return `count` faults: every kind once in an order by chance, then any by weight."""
    draw = random.Random(f"{seed}/faults")
    once = sorted(kinds, key=lambda kind: draw.random() ** (1 / kind.weight), reverse=True)
    weights = [kind.weight for kind in kinds]
    more = draw.choices(kinds, weights, k=max(0, count - len(once)))
    return (once + more)[:count]


async def _kill(scene: Scene, draw: random.Random) -> str:
    await asyncio.sleep(draw.uniform(0, 1))
    victim = await scene.victim(draw)
    scene.cluster.kill(victim)
    return f"SIGKILL of {victim.name}"


async def _kill_in_checkpoint(scene: Scene, draw: random.Random) -> str:
    victim, pause = await scene.victim(draw), draw.uniform(0, 0.25)
    victim.send(signal.SIGUSR1)
    await asyncio.sleep(pause)
    scene.cluster.kill(victim)
    return f"SIGKILL of {victim.name} {1000 * pause:.0f} ms after it was asked for checkpoints"


async def _kill_all(scene: Scene, _: random.Random) -> str:
    victims = scene.cluster.running
    for victim in victims:
        victim.send(signal.SIGKILL)
    for victim in victims:
        scene.cluster.kill(victim)
    return f"SIGKILL of all {len(victims)} workers"


async def _kill_trainer(scene: Scene, draw: random.Random) -> str:
    """Kill the trainer at any time: while it learns, writes a checkpoint or publishes."""
    cluster = scene.cluster
    await until(lambda: cluster.trainer.alive, "the trainer to run")
    since, pause = cluster.trainer.log_size, draw.uniform(0, 3)
    await asyncio.sleep(pause)
    cluster.kill(cluster.trainer)
    bundles = cluster.trainer.told(since).count("published")
    return f"SIGKILL of the trainer, {bundles} bundles after {pause:.1f} s"


async def _kill_console(scene: Scene, draw: random.Random) -> str:
    """Kill the console with requests on their way."""
    console = scene.cluster.console
    await until(lambda: console.alive, "the console to run")
    await asyncio.sleep(draw.uniform(0, 2))
    scene.cluster.kill(console)
    return "SIGKILL of the console"


async def _kill_in_swap(scene: Scene, draw: random.Random) -> str:
    """Kill a worker while the workers go over to another bundle."""
    trainer = scene.cluster.trainer
    await until(lambda: trainer.alive, "the trainer to run")
    since, pause = trainer.log_size, draw.uniform(0, 0.4)
    await until(lambda: "published" in trainer.told(since), "a bundle to be published")
    victim = await scene.victim(draw)
    await asyncio.sleep(pause)
    scene.cluster.kill(victim)
    return f"SIGKILL of {victim.name} {1000 * pause:.0f} ms after a bundle was announced"


async def _zombie(scene: Scene, draw: random.Random) -> str:
    victim = await scene.victim(draw)
    away = scene.cluster.settings.worker.session_timeout_s + draw.uniform(0.5, 4)
    victim.send(signal.SIGSTOP)
    await asyncio.sleep(away)
    victim.send(signal.SIGCONT)
    return f"{victim.name} stopped for {away:.1f} s and went on as a zombie"


async def _scale(scene: Scene, _: random.Random) -> str:
    extra = scene.cluster.workers.get(EXTRA)
    if extra and extra.wanted:
        await scene.cluster.stop(extra)
        return f"{EXTRA} left"
    since = extra.log_size if extra else 0
    joined = scene.cluster.add(EXTRA)
    await until(lambda: "opened partitions" in joined.told(since), f"{EXTRA} to get partitions")
    return f"{EXTRA} joined"


async def _restart(scene: Scene, draw: random.Random) -> str:
    victim = await scene.victim(draw)
    await scene.cluster.stop(victim)
    scene.cluster.add(victim.name)
    return f"{victim.name} restarted by SIGTERM"


async def _broker(scene: Scene, draw: random.Random) -> str:
    return await scene.cluster.brokers.restart_one(draw, draw.uniform(0, 3))


async def _leader_in_erasure(scene: Scene, draw: random.Random) -> str:
    """Kill the leader of a user's partition while a client erases the user.

    The pause is drawn so that the kill meets the request, its records, or what workers do of them.
    """
    settings = scene.cluster.settings
    pause, away = draw.choice([0.0, 0.02, 0.3, 2.0]), draw.uniform(0, 6)
    # Looked up before, because that takes longer than the request.
    leaders = await asyncio.to_thread(leaders_of, settings.kafka, settings.topics.events)
    try:
        user = await asyncio.wait_for(scene.clients.next_erasure(), PATIENCE_S)
    except TimeoutError:
        raise Stuck("no client erased its user") from None
    partition = murmur2_partition(user.encode(), settings.topics.partitions)
    await asyncio.sleep(pause)
    done = await scene.cluster.brokers.kill_leader(leaders[partition], away)
    return f"leader of {user}'s partition {partition}, {pause} s into an erasure: {done}"


async def _stalled_broker(scene: Scene, draw: random.Random) -> str:
    """Freeze a broker: for less or more than the time after which others take its partitions."""
    return await scene.cluster.brokers.stall_one(draw, draw.uniform(1, 2.5 * FENCED_MS / 1000))


async def _full_disk(scene: Scene, draw: random.Random) -> str:
    if scene.small_disk is None:
        return await _no_longer_files(scene, draw)
    worker = scene.cluster.workers[scene.small_disk]
    worker.wanted = False  # not started again before there is space
    ballast = worker.disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(BLOCK)
    ended = await _ends(worker, draw)
    ballast.unlink()
    worker.wanted = True
    return f"disk of {worker.name} full: it {ended}"


async def _no_longer_files(scene: Scene, draw: random.Random) -> str:
    """Refuse a worker every byte beyond a length: what is left where nothing can be mounted."""
    victim = await scene.victim(draw)
    victim.wanted = False
    process = psutil.Process(victim.pid)
    _, most = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (len(BLOCK) // 4, most))
    ended = await _ends(victim, draw)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.rlimit(psutil.RLIMIT_FSIZE, (most, most))
    victim.wanted = True
    return f"no room for files of {victim.name}: it {ended}"


async def _ends(worker: WorkerProcess, draw: random.Random) -> str:
    try:
        await until(lambda: not worker.alive, "an end", draw.uniform(5, 15))
    except Stuck:
        return "went on"
    return "ended"


async def _wipe(scene: Scene, draw: random.Random) -> str:
    victim = await scene.victim(draw)
    victim.wanted = False
    scene.cluster.kill(victim)
    scene.cluster.wipe(victim)
    victim.wanted = True
    return f"SIGKILL of {victim.name}, its disk wiped"


async def _broken_checkpoint(scene: Scene, draw: random.Random) -> str:
    """Break the newest checkpoint of a partition where nobody has its state, and demand a report.

    All workers are killed and their disks wiped first, so that somebody must restore it.
    """
    cluster = scene.cluster
    store = Path(cluster.settings.artifacts) / "checkpoints"
    await until(lambda: any(store.glob("*/*.json")), "a first checkpoint")
    workers = [w for w in cluster.workers.values() if w.wanted]
    for worker in workers:
        worker.wanted = False
        cluster.kill(worker)
    manifests = {
        folder.name: sorted(folder.glob("*.json"))
        for folder in sorted(store.iterdir())
        if any(folder.glob("*.json"))
    }
    partition = draw.choice(sorted(manifests))
    newest = manifests[partition][-1]
    target = newest
    if draw.random() < 0.75:
        with contextlib.suppress(ValueError):  # a manifest that was broken before
            files = json.loads(newest.read_bytes())["files"].values()
            names = sorted(file["sha256"] for file in files if file["bytes"])
            target = store / partition / "files" / draw.choice(names)
    # The console reads checkpoints too: if it is first, it sets the broken one aside.
    readers = [*workers, cluster.console]
    since = {reader.name: reader.log_size for reader in readers}
    how = _break(target, draw)
    scene.broken.add(str(target))
    for worker in workers:
        cluster.wipe(worker)
        worker.wanted = True
    await until(
        lambda: any(newest.stem in reader.told(since[reader.name]) for reader in readers),
        f"somebody to report that checkpoint {newest.stem} of {partition} is broken ({how})",
    )
    return f"all disks wiped, newest checkpoint of partition {int(partition)}: {how}"


def _break(target: Path, draw: random.Random) -> str:
    content = bytearray(target.read_bytes())
    what = "manifest" if target.suffix == ".json" else "file"
    if draw.random() < 0.5:
        target.write_bytes(content[: len(content) // 2])
        return f"{what} truncated to {len(content) // 2} of {len(content)} bytes"
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    target.write_bytes(content)
    return f"{what} with bit {bit} of byte {place} flipped"


async def _duplicates(scene: Scene, draw: random.Random) -> str:
    return f"the last {scene.writer.repeat(draw.randint(200, 1_000))} records rewritten"


FAULTS = (
    Fault("kill", 4, _kill),
    Fault("kill in checkpoint", 4, _kill_in_checkpoint),
    Fault("kill all", 2, _kill_all),
    Fault("kill trainer", 3, _kill_trainer),
    Fault("kill in swap", 3, _kill_in_swap),
    Fault("kill console", 2, _kill_console),
    Fault("zombie", 4, _zombie),
    Fault("scale", 3, _scale),
    Fault("restart", 1, _restart),
    Fault("broker", 2, _broker),
    Fault("stalled broker", 2, _stalled_broker),
    Fault("leader in erasure", 2, _leader_in_erasure),
    Fault("full disk", 2, _full_disk),
    Fault("wiped disk", 2, _wipe),
    Fault("broken checkpoint", 2, _broken_checkpoint),
    Fault("duplicates", 1, _duplicates),
)
