"""Worker processes that are started again whenever they end, as an orchestrator would do it."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from segue.settings import Settings
from streams import end_offsets
from streams.broker import DevelopmentBroker

__all__ = ["Cluster", "Stuck", "WorkerProcess"]

POLL_S = 0.2
RESTART_S = 0.3
#: A worker imports for up to ten seconds on a busy machine, then joins; twice that is patience.
PATIENCE_S = 120.0
STOP_S = 60.0


class Stuck(RuntimeError):
    """Something did not happen that should happen within seconds; the message says what."""


@dataclass
class WorkerProcess:
    """One worker: its process, its disk and its log. `wanted` ones are started again."""

    name: str
    disk: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is stopped by a signal."""
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive and self.process:
            self.process.send_signal(number)

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
    """The broker and the workers of one run.

    Faults reach for `workers` and `broker`. A worker that ends although nobody killed it is noted
    in `exits`, with the last thing it said, and started again.
    """

    def __init__(self, settings: Settings, broker: DevelopmentBroker) -> None:
        """Describe it; `add` starts workers, `watch` keeps them running."""
        self.settings = settings
        self.broker = broker
        self.config = settings.folder / "segue.toml"
        self.workers: dict[str, WorkerProcess] = {}
        self.exits: list[str] = []

    def add(self, name: str) -> WorkerProcess:
        """Start a worker; a name that was there before finds its disk again."""
        if name not in self.workers:
            folder = self.settings.folder
            disk = folder / "disks" / name
            disk.mkdir(parents=True, exist_ok=True)
            self.workers[name] = WorkerProcess(name, disk, folder / f"{name}.log")
        worker = self.workers[name]
        worker.wanted = True
        self._launch(worker)
        return worker

    @property
    def running(self) -> list[WorkerProcess]:
        """Workers whose process is alive, by name."""
        return [w for _, w in sorted(self.workers.items()) if w.alive and w.wanted]

    def kill(self, worker: WorkerProcess) -> None:
        """Kill a worker at once; it is started again soon if it is wanted."""
        worker.send(signal.SIGKILL)
        if worker.process:
            worker.process.wait()
            worker.process = None

    async def stop(self, worker: WorkerProcess) -> None:
        """Ask a worker to end and wait for it; it stays away. Raises Stuck."""
        worker.wanted = False
        worker.send(signal.SIGTERM)
        await until(lambda: not worker.alive, f"{worker.name} to end after SIGTERM", STOP_S)
        status = worker.process.returncode if worker.process else 0
        if status:
            self.exits.append(f"{worker.name}, asked to end, ended with {_reason(worker, status)}")
        worker.process = None

    def wipe(self, worker: WorkerProcess) -> None:
        """Empty the disk of a worker that does not run."""
        for entry in worker.disk.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    async def watch(self) -> None:
        """Start wanted workers again when they end, for ever."""
        while True:
            for worker in list(self.workers.values()):
                if worker.wanted and not worker.alive:
                    if worker.process is not None:
                        reason = _reason(worker, worker.process.returncode)
                        self.exits.append(f"{worker.name} ended by itself with {reason}")
                    self._launch(worker)
            await asyncio.sleep(RESTART_S)

    async def moving(self, what: str) -> float:
        """Wait until everything that is in the log now is applied; returns the seconds it took.

        Raises Stuck if the workers do not get there.
        """
        started = time.monotonic()
        ends = await asyncio.to_thread(self.ends)
        deadline = started + PATIENCE_S
        while behind := await asyncio.to_thread(self._behind, ends):
            if time.monotonic() > deadline:
                raise Stuck(f"{what}: {behind} not applied after {PATIENCE_S:g} s")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - started

    def ends(self) -> dict[tuple[str, int], int]:
        """End offsets of the topics that workers keep state of."""
        names = self.settings.topics
        found = end_offsets(self.settings.kafka, [names.events, names.catalogue, names.users])
        return {(t, p): end for t, ends in found.items() for p, end in ends.items()}

    def _behind(self, ends: dict[tuple[str, int], int]) -> dict[str, int]:
        """Records below `ends` by partition that the group has not shown as committed."""
        try:
            client = KafkaAdminClient(**self.settings.kafka.for_admin())
            try:
                group = self.settings.worker.group
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
            *(sys.executable, "-m", "segue", "worker", "--name", worker.name),
            *("--config", str(self.config), "--set", f"data={worker.disk}"),
        ]
        with worker.log.open("ab") as log:
            worker.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


async def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Return as soon as the condition holds; raises Stuck after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Stuck(f"waited {seconds:g} s in vain for {what}")
        await asyncio.sleep(0.05)


def _reason(worker: WorkerProcess, status: int | None) -> str:
    """Exit status and the last error in the log, in one line."""
    lines = [line for line in worker.told(max(0, worker.log_size - 20_000)).splitlines() if line]
    errors = [line for line in lines if "Error" in line or "ERROR" in line]
    return f"status {status}: {(errors or lines or ['it said nothing'])[-1].strip()[:200]}"
