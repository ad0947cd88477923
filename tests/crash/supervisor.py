"""Processes that are started again whenever they end, as an orchestrator would do it."""

import asyncio
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from segue.cli import main
from segue.settings import Settings
from streams import DEFAULT_CHANNEL, end_offsets
from tests.crash.brokers import Brokers
from tests.crash.world import state_topics
from tests.waiting import PATIENCE_S

__all__ = ["Cluster", "Stuck", "WorkerProcess"]

POLL_S = 0.2
RESTART_S = 0.3
STOP_S = 60.0
#: Workers are forked from a process that has imported what they need: a start costs milliseconds
#: instead of seconds, and ten times as many faults fit into a run.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["faiss", "torch", "agents.apps.kafka", "segue.cli", "segue.roles", "segue.serving_console"]
)


class Stuck(RuntimeError):
    """Something did not happen that should happen within seconds; the message says what."""


@dataclass
class WorkerProcess:
    """A worker, trainer or console: process, disk and log. `wanted` ones are started again.

    port:  of its metrics, of a console that of its API.
    flags: settings of its own, each as `--set` takes it, from its next start on.
    code:  folder of another version's code, which its next start runs; None: this version's.
    """

    name: str
    disk: Path
    log: Path
    port: int
    role: str = "worker"
    flags: tuple[str, ...] = ()
    code: Path | None = None
    process: "multiprocessing.process.BaseProcess | None" = None
    wanted: bool = True

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is stopped by a signal."""
        return self.process is not None and self.process.is_alive()

    @property
    def pid(self) -> int:
        """Number of the process; raises Stuck if there is none."""
        if self.process is None or self.process.pid is None:
            raise Stuck(f"{self.name} does not run")
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive:
            # It may end by itself between the two.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def told(self, since: int = 0) -> str:
        """What its log says from a byte on."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    @property
    def log_size(self) -> int:
        """Bytes in its log so far."""
        return self.log.stat().st_size if self.log.exists() else 0


class Cluster:
    """The brokers and the workers of one run.

    Faults reach for `workers`, `trainer`, `console` and `brokers`; `trainers` are those of other
    channels, by channel. A process that ends without being killed is noted in `exits`, with the
    last thing it said, and started again.
    """

    def __init__(self, settings: Settings, brokers: Brokers, code: Path | None = None) -> None:
        """Describe it; `add` starts workers, `watch` keeps them running.

        code: of the version with which every process starts; `upgrade` ends that.
        """
        self.settings = settings
        self._code = code
        self.brokers = brokers
        self.config = settings.folder / "segue.toml"
        self.workers: dict[str, WorkerProcess] = {}
        self.trainer = self._process("trainer", "trainer")
        self.console = self._process("console", "console")
        self.trainer.wanted = self.console.wanted = False
        self.trainers: dict[str, WorkerProcess] = {}
        self.exits: list[str] = []

    def add(self, name: str) -> WorkerProcess:
        """Start a worker; a name that was there before finds its disk again."""
        if name not in self.workers:
            self.workers[name] = self._process(name, "worker")
        worker = self.workers[name]
        worker.wanted = True
        self._launch(worker)
        return worker

    def add_trainer(self, channel: str) -> WorkerProcess:
        """Start the trainer of another channel than the default one."""
        trainer = self._process(f"trainer-{channel}", "trainer")
        trainer.flags = (f"trainer.channel={channel}",)
        self.trainers[channel] = trainer
        self._launch(trainer)
        return trainer

    def _process(self, name: str, role: str) -> WorkerProcess:
        folder = self.settings.folder
        disk = folder / "disks" / name
        disk.mkdir(parents=True, exist_ok=True)
        log = folder / f"{name}.log"
        return WorkerProcess(name, disk, log, _free_port(), role, code=self._code)

    async def upgrade(self, draw: random.Random) -> str:
        """Restart one process of the earlier version with this version's code, if there is one.

        Processes that are added once all are upgraded run this version's code. Raises Stuck.
        """
        earlier = [process for process in self.everyone if process.code is not None]
        if not earlier:
            return ""
        chosen = draw.choice(earlier)
        await self.stop(chosen)
        chosen.code = None
        if len(earlier) == 1:
            self._code = None
        chosen.wanted = True  # `watch` starts it
        return chosen.name

    @property
    def everyone(self) -> list[WorkerProcess]:
        """The workers, running or not, the trainers and the console."""
        return [*self.workers.values(), self.trainer, *self.trainers.values(), self.console]

    @property
    def running(self) -> list[WorkerProcess]:
        """Workers whose process is alive, by name."""
        return [w for _, w in sorted(self.workers.items()) if w.alive and w.wanted]

    def kill(self, worker: WorkerProcess) -> None:
        """Kill a worker at once; it is started again soon if it is wanted."""
        worker.send(signal.SIGKILL)
        if worker.process:
            worker.process.join()
            worker.process = None

    async def stop(self, worker: WorkerProcess) -> None:
        """Ask a worker to end and wait for it; it stays away. Raises Stuck."""
        worker.wanted = False
        worker.send(signal.SIGTERM)
        await until(lambda: not worker.alive, f"{worker.name} to end after SIGTERM", STOP_S)
        status = worker.process.exitcode if worker.process else 0
        # Uvicorn ends in order and then raises the signal again.
        if status and (worker.role, status) != ("console", -signal.SIGTERM):
            self.exits.append(f"{worker.name}, asked to end, ended with {_reason(worker, status)}")
        worker.process = None

    def wipe(self, worker: WorkerProcess) -> None:
        """Empty the disk of a worker that does not run."""
        for entry in worker.disk.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    async def watch(self) -> None:
        """Start wanted workers again when they end."""
        while True:
            for worker in self.everyone:
                if worker.wanted and not worker.alive:
                    if worker.process is not None:
                        reason = _reason(worker, worker.process.exitcode)
                        self.exits.append(f"{worker.name} ended by itself with {reason}")
                    self._launch(worker)
            await asyncio.sleep(RESTART_S)

    async def moving(self, what: str) -> float:
        """Wait until everything that is in the log now is applied; returns the seconds it took.

        Raises Stuck if the workers do not get there.
        """
        ends = await asyncio.to_thread(self.ends)
        return await self._reached(self.settings.worker.group, ends, what)

    async def learned(self) -> None:
        """Wait until the trainers have taken every example that is there now. Raises Stuck."""
        examples = self.settings.topics.examples
        found = await asyncio.to_thread(end_offsets, self.settings.kafka, [examples])
        ends = {(examples, partition): end for partition, end in found[examples].items()}
        for channel in (DEFAULT_CHANNEL, *self.trainers):
            group = replace(self.settings.trainer, channel=channel).own_group
            await self._reached(group, ends, f"the trainer of channel {channel}")

    async def _reached(self, group: str, ends: dict[tuple[str, int], int], what: str) -> float:
        """Wait until a group has committed these offsets; returns the seconds it took.

        Raises Stuck if it commits none of them for `PATIENCE_S`: a busy machine is slow, not stuck.
        """
        started = moved = time.monotonic()
        least = sys.maxsize
        while behind := await asyncio.to_thread(self._behind, group, ends):
            now, left = time.monotonic(), sum(behind.values())
            if left < least:
                least, moved = left, now
            elif now > moved + PATIENCE_S:
                raise Stuck(f"{what}: {behind} not applied, and nothing for {PATIENCE_S:g} s")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - started

    def ends(self) -> dict[tuple[str, int], int]:
        """End offsets of the topics that workers keep state of."""
        found = end_offsets(self.settings.kafka, state_topics(self.settings))
        return {(t, p): end for t, ends in found.items() for p, end in ends.items()}

    def _behind(self, group: str, ends: dict[tuple[str, int], int]) -> dict[str, int]:
        """Records below `ends` by partition that the group has not shown as committed."""
        try:
            client = KafkaAdminClient(**self.settings.kafka.for_admin())
            try:
                found = client.list_group_offsets(group).get(group, {})
            finally:
                client.close()
        except KafkaError:
            return {"an answer of the group": 1}
        at = {(tp.topic, tp.partition): offset.offset for tp, offset in found.items()}
        return {
            f"{topic}/{partition}": end - at.get((topic, partition), 0)
            for (topic, partition), end in ends.items()
            if at.get((topic, partition), 0) < end
        }

    def _launch(self, worker: WorkerProcess) -> None:
        command = [
            *("segue", worker.role, "--name", worker.name, "--config", str(self.config)),
            *("--port" if worker.role == "console" else "--metrics-port", str(worker.port)),
            *("--set", f"data={worker.disk}"),
            *(word for flag in worker.flags for word in ("--set", flag)),
        ]
        code = worker.code and str(worker.code)
        worker.process = _FORKS.Process(target=_segue, args=(command, str(worker.log), code))
        worker.process.start()


def _segue(command: list[str], log: str, code: str | None) -> None:
    """Run the command line in this process, which has imported it before it was forked.

    code: folder of another version, which the process becomes.
    """
    os.setsid()  # an interrupt at the terminal is for the harness alone
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    if code is not None:
        environment = os.environ | {"PYTHONPATH": code}
        # A request for checkpoints that comes while Python starts must not end the process.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        os.execve(  # noqa: S606 - a fixed program
            sys.executable, [sys.executable, "-m", *command], environment
        )
    sys.argv = command
    main()


async def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    """Return as soon as the condition holds; raises Stuck after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Stuck(f"waited {seconds:g} s in vain for {what}")
        await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reason(worker: WorkerProcess, status: int | None) -> str:
    """Exit status and the last error in the log, in one line."""
    lines = [line for line in worker.told(max(0, worker.log_size - 20_000)).splitlines() if line]
    errors = [line for line in lines if "Error" in line or "ERROR" in line]
    return f"status {status}: {(errors or lines or ['it said nothing'])[-1].strip()[:200]}"
