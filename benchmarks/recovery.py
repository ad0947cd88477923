"""How long a worker takes to be back: killed with its disk, and killed with an empty disk.

    segue bench recovery --json var/bench-recovery.json

A worker applies the events and checkpoints them. Then, again and again: more events come and are
applied, the worker is killed with SIGKILL, more events come while it is away, and it is started
anew. It is back when the group has committed the end of the topic. The dead member's session
(`worker.session_timeout_s`) is in it, as it is in real life.
"""

import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.listening import Listening
from benchmarks.machine import broker_at, cpu_model, measured
from segue.compose import without_settings
from segue.screen import console, progress_bars
from segue.settings import Settings, write_settings
from streams import KafkaSettings, bulk_write, create_topics, group_lag, topics

__all__ = ["run", "show"]

ROOT = Path(__file__).parents[1]
LOOK_S = 0.1
PATIENCE_S = 600.0
#: Share of the events that come between a checkpoint and a kill, and again while it is away.
TAIL = 0.02


def run(events: int, repeat: int, seed: int, file: Path) -> dict[str, Any]:
    """Measure both kinds of recovery and write the report to `file`."""
    with progress_bars() as bars:
        task = bars.add_task("recovery", total=1 + 2 * repeat, note="first run")

        def advance(note: str) -> None:
            bars.update(task, note=note)
            bars.advance(task)

        return measured(file, lambda scratch: _measure(scratch, events, repeat, seed, advance))


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    table = Table(title=f"{report['events']:,} events of state, {report['machine']}")
    for name in ("disk", "s from start", "s from kill", "runs", "restored MiB"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        runs = row["runs_s"]
        table.add_row(
            row["disk"], f"{row['seconds']:.1f}", f"{row['seconds_from_kill']:.1f}",
            f"{min(runs):.1f}-{max(runs):.1f}", f"{row['restored_bytes'] / 2**20:,.0f}",
        )  # fmt: skip
    console.print(table)


def _measure(
    scratch: Path, events: int, repeat: int, seed: int, advance: Callable[[str], None]
) -> dict[str, Any]:
    with broker_at(scratch / "kafka") as address:
        kafka = KafkaSettings(bootstrap_servers=address)
        base = Settings(data=str(scratch), kafka=kafka)
        # Checkpoints come when asked for, so that what is restored is known.
        settings = replace(base, worker=replace(base.worker, checkpoint_every_s=86_400.0))
        write_settings(settings, scratch / "segue.toml")
        create_topics(kafka, topics(settings.topics))
        tail = max(int(events * TAIL), 1)
        listening = Listening.generate(events + 2 * tail * 2 * repeat, seed)
        records = iter(list(listening.records()))
        worker = _Worker(settings, scratch)
        worker.write(records, events)
        worker.start()
        worker.caught_up()
        worker.checkpoint()
        rows = []
        for disk in ("kept", "empty"):
            runs, since_kill, restored = [], [], 0
            for _ in range(repeat):
                advance(f"disk {disk}")
                worker.write(records, tail)
                worker.caught_up()
                killed = worker.kill()
                if disk == "empty":
                    restored = sum(
                        path.stat().st_size
                        for path in (scratch / "artifacts").rglob("*")
                        if path.is_file()
                    )
                    shutil.rmtree(scratch / "workers")
                worker.write(records, tail)
                started = worker.start()
                back = worker.caught_up()
                runs.append(back - started)
                since_kill.append(back - killed)
            rows.append(
                {
                    "disk": disk,
                    "seconds": statistics.median(runs),
                    "seconds_from_kill": statistics.median(since_kill),
                    "runs_s": runs,
                    "restored_bytes": restored,
                }
            )
        advance("done")
        worker.kill()
    return {"machine": cpu_model(), "events": events, "tail": tail, "rows": rows}


class _Worker:
    """The one worker, and the topic that it reads."""

    def __init__(self, settings: Settings, scratch: Path) -> None:
        self._settings = settings
        self._scratch = scratch
        self._log = scratch / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, records: Any, number: int) -> None:
        part = [record for record, _ in zip(records, range(number), strict=False)]
        names = self._settings.topics
        asyncio.run(
            bulk_write(
                self._settings.kafka, names.events, names.partitions, iter(part), lambda _: None
            )
        )

    def start(self) -> float:
        command = [sys.executable, "-m", "segue", "worker"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--config", str(self._scratch / "segue.toml")], cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=without_settings(os.environ),
            )  # fmt: skip
        return time.monotonic()

    def kill(self) -> float:
        process = self._running()
        process.kill()
        process.wait()
        return time.monotonic()

    def caught_up(self) -> float:
        """Wait until the group has committed the end of the topic; the time when it had."""
        names = self._settings.topics

        def lag() -> int:
            left = group_lag(self._settings.kafka, self._settings.worker.group, [names.events])
            return sum(left[names.events].values())

        return self._until(lambda: lag() == 0, "the worker to catch up")

    def checkpoint(self) -> None:
        """Have every partition checkpointed."""
        self._running().send_signal(signal.SIGUSR1)
        wanted = [f"of partition {n}:" for n in range(self._settings.topics.partitions)]
        self._until(
            lambda: all(one in self._log.read_text(errors="replace") for one in wanted),
            "the checkpoints",
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the worker was not started")
        return self._process

    def _until(self, condition: Callable[[], bool], what: str) -> float:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if self._process and self._process.poll() is not None:
                raise RuntimeError(f"the worker died:\n{self._log.read_text()[-3000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {PATIENCE_S:g} s in vain for {what}")
            time.sleep(LOOK_S)
        return time.monotonic()
