"""Workers of a benchmark: processes of their own, what they count, and the time that they take."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from segue.compose import without_settings

__all__ = ["SHORTENED", "BenchWorker", "processor_s", "worker"]

ROOT = Path(__file__).parents[1]
SHORTENED = "segue_answers_shortened_total"


@dataclass(frozen=True, kw_only=True)
class BenchWorker:
    """A worker that runs.

    port: of its metrics. process: its own, or the parent's of a worker that is supervised.
    """

    port: int
    process: "subprocess.Popen[bytes]"

    def counter(self, name: str) -> float:
        """Return what a counter or gauge without labels stands at."""
        return next(sample.value for sample in self._samples() if sample.name == name)

    def partitions(self) -> set[int]:
        """Return the partitions of which it has applied something and that it still holds."""
        name = "segue_last_applied_timestamp_seconds"
        return {int(s.labels["partition"]) for s in self._samples() if s.name == name}

    def kill(self) -> float:
        """Kill the worker, not its parent; the monotonic time when it was done."""
        psutil.Process(self.process.pid).children()[0].kill()
        return time.monotonic()

    def _samples(self) -> list[Sample]:
        url = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return [sample for family in families for sample in family.samples]


@contextmanager
def worker(scratch: Path, name: str, *options: str, may_die: bool = False) -> Iterator[BenchWorker]:
    """Run a worker with the settings in a folder, and more options of the command line.

    Raises RuntimeError where it died meanwhile, unless it may.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        *(sys.executable, "-m", "segue", "worker", "--name", name),
        *("--config", str(scratch / "segue.toml"), "--metrics-port", str(port)),
        *options,
    ]
    log = (scratch / f"{name}.log").open("ab")
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        env=without_settings(os.environ),
    )  # fmt: skip
    try:
        try:
            yield BenchWorker(port=port, process=process)
        finally:
            if process.poll() is not None and not may_die:
                said = (scratch / f"{name}.log").read_text()[-3000:]
                raise RuntimeError(f"the worker died:\n{said}")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def processor_s() -> dict[str, float]:
    """Return the processor time of all who take part, by what they do, from their starts on."""
    own, spent = psutil.Process(), dict[str, float]()
    for process in [own, *own.children(recursive=True)]:
        try:
            times, command = process.cpu_times(), process.cmdline()
        except psutil.NoSuchProcess:
            continue
        what = (
            "broker" if "kafka.Kafka" in command else "workers" if "worker" in command else "this"
        )
        spent[what] = spent.get(what, 0.0) + times.user + times.system
    return spent
