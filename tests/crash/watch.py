"""Watching the watchdog: how old the last applied record of each partition is, all the time."""

import asyncio
import time
import urllib.request
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from tests.crash.supervisor import Cluster

__all__ = ["AgeWatch"]

METRIC = "segue_last_applied_timestamp_seconds"
ROWS = "segue_rows_checksum"
LOOK_S = 0.5
ANSWER_S = 2.0


class AgeWatch:
    """Reads the workers' own metric as a monitoring system would.

    A partition's age is that of the freshest worker which shows it; while nobody does (it is on
    its way from one to another) it is counted from the last time that somebody did. Records come
    to every partition all the time, so that an age is a silence.
    """

    def __init__(self, cluster: Cluster, partitions: int) -> None:
        """Watch the running workers of a cluster."""
        self._cluster = cluster
        now = time.time()
        self._latest = dict.fromkeys(range(partitions), now)
        #: Ages in seconds of all partitions at all looks.
        self.ages: list[float] = []
        #: Checksums of the changed rows that workers served at any look.
        self.rows: set[int] = set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Read every worker's metrics once."""
        await self.same_rows()

    def note(self, now: float, texts: Iterable[str]) -> None:
        """Take in what workers showed at a time (seconds since 1970)."""
        shown: dict[int, float] = {}
        for text in texts:
            self.rows |= {int(value) for value in _values(text, ROWS).values() if value}
            for partition, at in _applied(text):
                shown[partition] = max(at, shown.get(partition, at))
        for partition, before in self._latest.items():
            at = max(before, shown.get(partition, before))
            self._latest[partition] = at
            self.ages.append(max(now - at, 0.0))

    async def same_rows(self) -> bool:
        """Whether all running workers show the same checksum of changed rows now."""
        ports = [worker.port for worker in self._cluster.running]
        texts = await asyncio.gather(*(asyncio.to_thread(_metrics, port) for port in ports))
        self.note(time.time(), texts)
        return len({_values(text, ROWS).get("") for text in texts}) == 1

    @property
    def greatest(self) -> float:
        """Greatest age that was seen, in seconds."""
        return max(self.ages, default=0.0)


def _applied(text: str) -> Iterable[tuple[int, float]]:
    return ((int(partition), at) for partition, at in _values(text, METRIC).items())


def _values(text: str, name: str) -> dict[str, float]:
    """Values of a metric by partition; by "" where it has no labels."""
    return {
        sample.labels.get("partition", ""): sample.value
        for family in text_string_to_metric_families(text) if family.name == name
        for sample in family.samples
    }  # fmt: skip


def _metrics(port: int) -> str:
    """What a worker shows; nothing where it does not answer (it is starting, stopped or gone)."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER_S) as page:
            return str(page.read().decode())
    except OSError:
        return ""
