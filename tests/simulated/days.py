"""Days without faults in the clock of a night: what a process holds must not grow with time."""

import gc
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry

from streams import Item, encode
from tests.simulated.learning import gate_by_lot
from tests.simulated.night import Night
from tests.simulated.sparing import sparing
from tests.simulated.worlds import HOUR, PARTITIONS, TOPICS, TYPES, WORKERS
from tests.state.conftest import SCRATCH

#: Rounds of work in an hour.
ROUNDS = 12
ROUND = HOUR // ROUNDS


@dataclass(frozen=True)
class Size:
    """What all processes together hold at the end of an hour.

    containers: bytes of Python's lists, dicts and objects that were made since the start, without
    what they refer to. resident: bytes of this process. series: time series of all metrics. disk:
    bytes of states, checkpoints and bundles, on local disks and in the store; without the topics,
    and without RocksDB's own logs, which have limits (tests/state/test_disk_use.py).
    """

    containers: int
    resident: int
    series: int
    disk: int


class Days(Night):
    """Hours in which everything works: events, answers, launches, deletions, bundles, pins."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        self.launched: list[Item] = []
        for number in range(WORKERS):
            self.begins(number)
        for part in range(PARTITIONS):
            self.assign(self.lives[part % WORKERS], part)

    def note(self, what: str) -> None:
        """Keep nothing: a test's own memory would grow."""

    def hour(self, number: int) -> None:
        """Let an hour pass."""
        for turn in range(ROUNDS):
            self.now += ROUND
            self.elapsed += ROUND
            for _ in range(self.draw.randint(4, 12)):
                self.events_come()
            self.a_list_is_shown()
            self.something_bad_comes()
            self.somebody_asks()
            if turn % 3 == 0:
                self.an_item_is_launched()
            if turn == 5:
                self.a_user_is_erased()
            if turn == 7:
                self.learning.a_static_bundle_is_built()
            if turn == 8 and number % 6 == 3:
                self.learning.a_bundle_is_pinned()
            if turn == 11:
                self.learning.a_pin_is_removed()
            self.work(checkpoint=turn % 3 == 2)
        self.written.clear()
        self.bad.clear()

    def an_item_is_launched(self) -> None:
        """An item comes, and the one that came ten launches ago goes."""
        name = f"launch-{self.draw.randrange(10**9)}"
        item = Item(item_id=name, item_type=self.draw.choice(TYPES), title=name)
        self.launched.append(item)
        self.log.append(TOPICS.catalogue, item.key, encode(item))
        if len(self.launched) > 10:
            gone = self.launched.pop(0)
            self.log.append(TOPICS.catalogue, gone.key, None)

    def work(self, *, checkpoint: bool) -> None:
        """Let each process do what there is to do."""
        self.models.check()
        for life in self.lives.values():
            while self.run(life, lambda life=life: life.hear(100)):
                pass
            self.run(life, life.hear_all)
            for part in sorted(life.owned):
                for topic in (*life.worker.topics, TOPICS.requests):
                    while self.read(life, topic, part, 100):
                        pass
            self.run(life, life.worker.tick)
            self.commit(life)
            if checkpoint:
                self.run(life, life.worker.checkpoint)
        self.learning.work()
        self.console.run(lambda life: life.go_on(turns=60))
        self.models.check()

    def size(self) -> Size:
        """What is held now."""
        gc.collect()
        registries: list[CollectorRegistry] = [
            life.worker.tally.registry for life in self.lives.values()
        ]
        if self.learning.life is not None:
            registries.append(self.learning.life.train.tally.registry)
        return Size(
            containers=sum(sys.getsizeof(one) for one in gc.get_objects()),
            resident=psutil.Process().memory_info().rss,
            series=sum(len(m.samples) for registry in registries for m in registry.collect()),
            disk=sum(
                path.stat().st_size
                for folder in self.folder.iterdir() if folder.name != "log"
                for path in folder.rglob("*")
                if path.is_file() and path.suffix != ".log" and not path.name.startswith("LOG")
            ),
        )  # fmt: skip


#: What may be added in an hour once everything is warm. RESIDENT needs days: caches fill for hours.
CONTAINERS, RESIDENT, DISK = 40_000, 1_000_000, 100_000


def growth(sizes: Sequence[Size], *, resident: bool) -> list[str]:
    """Say what grew from the second third of the hours to the last, a text each.

    resident: whether to judge the process's memory as well.
    """
    third = len(sizes) // 3
    before, after = sizes[third : 2 * third], sizes[-third:]

    def an_hour(name: str) -> float:
        middle = [
            statistics.median(getattr(size, name) for size in part) for part in (before, after)
        ]
        return (middle[1] - middle[0]) / third

    limits = {"containers": CONTAINERS, "disk": DISK} | ({"resident": RESIDENT} if resident else {})
    found = [
        f"{name}: {an_hour(name):,.0f} bytes an hour, {limit:,} allowed"
        for name, limit in limits.items() if an_hour(name) > limit
    ]  # fmt: skip
    most = max(size.series for size in sizes[: 2 * third])
    if (last := max(size.series for size in after)) > most:
        found.append(f"series: {last}, before {most}")
    return found


def run_days(seed: int, hours: int) -> Iterator[Size]:
    """Run hours without faults; yields what is held at the end of each."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    days = None
    try:
        with sparing(), gate_by_lot(random.Random(f"gate of {seed}")):
            days = Days(seed, folder)
            for number in range(hours):
                days.hour(number)
                yield days.size()
        assert days.wrong == []
    finally:
        if days is not None:
            days.ends()
        shutil.rmtree(folder)
