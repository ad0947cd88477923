"""The trainer of a night: its positions, checkpoints, bundles and announcements.

Everything is the product's own code, also what learns: towers of a few weights over sixteen items.
"""

import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from agents import TrainerSettings
from agents.bundles.announcing import announce
from agents.bundles.names import bundle_name
from agents.train import Train
from agents.training import publishing
from dynamic_layer import (
    DynamicBundle,
    ExampleBatch,
    Judgement,
    ServedFeatures,
)
from state import ArtifactStore
from static_layer import StaticBundle
from streams import LogRecord, ModelAnnouncement, announcement_key, encode
from tests.simulated.bundles import DYNAMIC, WITH_HEAD, first_dynamic, first_static
from tests.simulated.faults import DEATHS, Outputs, damage_checkpoint, lose, mortal_files
from tests.simulated.loop import NightLoop
from tests.simulated.worlds import TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night

SETTINGS = TrainerSettings(
    slice_s=0.0,  # a step at a time, on any machine
    publish_every_s=10.0,
    checkpoint_every_s=3.0,
    min_examples=1,
    keep_bundles=2,
    prequential_per_s=1_000.0,
    rows_every_steps=1,
    rows_threshold=0.01,
)


@contextmanager
def gate_by_lot(draw: random.Random) -> Iterator[None]:
    """Have the gate refuse some bundles more: those of a night are seldom worse than the last."""
    really = publishing.judge

    def judged(*of: Any) -> Judgement:
        found = really(*of)
        return replace(found, reasons=[*found.reasons, "by lot"]) if draw.random() < 0.2 else found

    with patch.object(publishing, "judge", judged):
        yield


class TrainerLife:
    """One trainer process: from a start to a death."""

    def __init__(self, night: "Night") -> None:
        log, topic = night.log, TOPICS.examples
        self.loop = NightLoop(night.ticks, night.sleep)
        self._log = log
        self.read_to: dict[int, int] = {}
        self.models_to = 0
        self.ends = {part: log.end_offset(topic, part) for part in range(log.partitions(topic))}
        self.train = Train(
            settings=SETTINGS,
            dynamic=night.learning.dynamic,
            topics=TOPICS,
            store=night.store.opened(night.sleep),
            folder=night.folder / "trainer",
            outputs=Outputs(night.log, night.fuse, night.delivery),
            clock_ms=night.clock,
            ticks_ms=night.ticks,
            pause=night.pause,
            read_models=self._models,
            experiments=night.experiments,
        )
        mortal_files(self.train._continuity._checkpoints._files, night.fuse, night.delivery)
        self.train.begin_when(
            lambda: all(
                (self.train.position(topic, p) or 0) >= end for p, end in self.ends.items()
            ),
        )

    async def _models(self) -> list[LogRecord]:
        """Read the models topic whole."""
        return list(self._log.read(TOPICS.models, 0, 0, 100_000))


class Learning:
    """What happens to the trainer, to bundles, and to those who choose among them."""

    def __init__(self, night: "Night", draw: random.Random, fate: random.Random) -> None:
        self.night, self.draw, self.fate = night, draw, fate
        self.life: TrainerLife | None = None
        with_head = random.Random(f"head of {night.seed}").random() < 0.25
        self.dynamic = WITH_HEAD if with_head else DYNAMIC
        #: Next offset of each partition, by topic, that the graph of the newest bundle ends at.
        self.graph_ends: dict[str, dict[str, int]] = {}
        self.statics = 1
        #: The job and people: their store does not fail while they work, and they do not die.
        self.store = ArtifactStore(str(night.store.folder))
        self.loop = NightLoop(night.ticks, night.sleep)
        self._announce(first_static(), "static-001")
        self._announce(first_dynamic(with_head=with_head), bundle_name(1))

    def _announce(self, bundle: StaticBundle | DynamicBundle, name: str) -> None:
        self.loop.whole(
            announce(
                bundle, name, {}, store=self.store, scratch=self.night.folder / "job",
                outputs=self.night.sure, topics=TOPICS, now_ms=self.night.now, keep=99,
            )
        )  # fmt: skip

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        return [
            (12, self.the_trainer_reads), (4, self.the_trainer_hears_of_models),
            (14, self.the_trainer_works), (2, self.the_trainer_dies),
            (1, self.a_static_bundle_is_built), (2, self.a_bundle_is_pinned),
            (2, self.a_pin_is_removed),
        ]  # fmt: skip

    def run(self, work: Callable[[TrainerLife], Coroutine[Any, Any, object]]) -> object | None:
        """Do the trainer's work to its end, or to the trainer's; start one where there is none."""
        try:
            if self.life is None:
                self.life = TrainerLife(self.night)
                self.life.loop.whole(self.life.train.assigned())
                if self.fate.random() < 0.7:
                    self.life.loop.whole(self._hear(self.life, 100))
            return self.life.loop.whole(work(self.life))
        except DEATHS as death:
            self.night.note(f"the trainer dies: {type(death).__name__}")
            self._ends()
            return None

    def _ends(self) -> None:
        if self.life is not None:
            self.life.loop.close()
        self.life = None
        self.night.fuse.out()

    def the_trainer_reads(self) -> None:
        log = self.night.log
        part = self.fate.randrange(log.partitions(TOPICS.examples))
        again, count = self.fate.choice([0, 0, 0, 2]), self.fate.randint(1, 8)
        self.run(lambda life: self._read(life, part, count, again))

    async def _read(self, life: TrainerLife, part: int, count: int, again: int = 0) -> bool:
        topic = TOPICS.examples
        at = life.read_to.setdefault(part, life.train.position(topic, part) or 0)
        records = self.night.log.read(topic, part, max(0, at - again), count + again)
        if records:
            life.read_to[part] = max(at, records[-1].offset + 1)
            await life.train.examples_came(records)
        return bool(records)

    def the_trainer_hears_of_models(self) -> None:
        count = self.fate.choice([1, 2, 100])
        self.run(lambda life: self._hear(life, count))

    async def _hear(self, life: TrainerLife, count: int) -> bool:
        records = self.night.log.read(TOPICS.models, 0, life.models_to, count)
        if records:
            await life.train.announced(records)
            life.models_to = records[-1].offset + 1
        return bool(records)

    def the_trainer_works(self) -> None:
        steps = self.fate.randint(1, 8)

        async def work(life: TrainerLife) -> None:
            for _ in range(steps):
                self.night.sleep(1)
                await self._step(life)

        self.run(work)

    async def _step(self, life: TrainerLife) -> bool:
        """Let it work once. What it announces is looked at before a later step may prune it."""
        learned = await life.train.step()
        self.night.models.check()
        return learned

    def the_trainer_dies(self) -> None:
        """Between two records, or in order; its disk may be damaged, or lost."""
        if self.life is None:
            return
        if self.fate.random() < 0.2:
            self.run(lambda life: life.train.close())
        self._ends()
        fate = self.fate.random()
        disk = self.night.folder / "trainer"
        if fate < 0.15:
            self.night.note(
                f"checkpoint torn: {damage_checkpoint(disk / 'checkpoints', self.fate)}"
            )
        elif fate < 0.4:
            self.night.note("disk of the trainer lost")
            lose(disk)

    def a_static_bundle_is_built(self) -> None:
        """Its graph ends before some of the events, and never before where the last one ended."""
        if self.night.store.away:
            return
        log = self.night.log
        for topic in self.night.learned_topics:
            ends = self.graph_ends.setdefault(topic, {})
            for part in range(log.partitions(topic)):
                first, end = ends.get(str(part), 0), log.end_offset(topic, part)
                ends[str(part)] = self.fate.randint(first, max(first, end // 2))
        self.statics += 1
        first_one = first_static()
        name = f"static-{self.statics:03d}"
        manifest = first_one.manifest | {
            "name": name, "generation": self.statics,
            "offsets": {topic: dict(ends) for topic, ends in self.graph_ends.items()},
        }  # fmt: skip
        self._announce(
            StaticBundle(
                first_one.items, first_one.text, first_one.hgnn, first_one.model, manifest
            ),
            name,
        )

    def a_bundle_is_pinned(self) -> None:
        """A person pins a bundle that the store has, as `segue models pin` does."""
        name = self.fate.choice(self.store.names("dynamic"))
        generation = int(self.store.manifest("dynamic", name)["generation"])
        said = ModelAnnouncement(
            kind="pinned", name=name, url="", generation=generation, created_at=self.night.now,
            metrics={}, channel=self._channel(),
        )  # fmt: skip
        self.night.log.append(TOPICS.models, said.key, encode(said))

    def a_pin_is_removed(self) -> None:
        self.night.log.append(TOPICS.models, announcement_key("pinned", self._channel()), None)

    def _channel(self) -> str:
        return self.fate.choice(self.night.experiments.channels)

    def work(self) -> None:
        """Let the trainer read what there is, and work for a minute."""

        async def minute(life: TrainerLife) -> None:
            await self._read_all(life)
            for _ in range(6):
                self.night.sleep(10)
                await self._step(life)

        self.run(minute)

    async def _read_all(self, life: TrainerLife) -> None:
        while await self._hear(life, 100):
            pass
        for part in range(self.night.log.partitions(TOPICS.examples)):
            while await self._read(life, part, 100):
                pass

    def work_is_done(self) -> None:
        """Let the trainer read and learn what there is, and judge what it has made."""

        async def work(life: TrainerLife) -> None:
            for _ in range(3):
                await self._read_all(life)
                for _ in range(60):
                    self.night.sleep(5)
                    if not await self._step(life) and life.train._pending is None:
                        break

        self.run(work)
        assert self.life is not None, "the trainer died where nothing fails"

    def close(self) -> None:
        """End everything."""
        self._ends()
        self.loop.close()


def unique_examples(night: "Night") -> Iterator[tuple[ExampleBatch, np.ndarray[Any, Any]]]:
    """Yield the batches of the examples topic, with which rows are there for the first time."""
    seen: set[tuple[str, int, int]] = set()
    for part in range(night.log.partitions(TOPICS.examples)):
        for record in night.log.read(TOPICS.examples, part, 0, 1_000_000):
            if ServedFeatures.unpack(record.value or b"") is not None:
                continue
            batch = ExampleBatch.unpack(record.value or b"")
            names = [(batch.topic, batch.partition, offset) for offset in batch.offset.tolist()]
            fresh = np.zeros(len(batch), np.bool_)
            for row, name in enumerate(names):
                fresh[row] = name not in seen
                seen.add(name)
            yield batch, fresh
