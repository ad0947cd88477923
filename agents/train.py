"""The trainer's agent: examples in, bundles published and announced, for ever."""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from agents.announcements import newest_announcements
from agents.demand import take_demand
from agents.outputs import Outputs
from agents.settings import TrainerSettings
from agents.train_tally import TrainTally
from dynamic_layer import (
    CorruptExamples,
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    LivePopularity,
    Trainer,
    accept,
    served_hit_rate,
)
from state import ArtifactStore, CorruptArtifact
from static_layer import BundleError, StaticBundle
from streams import LogRecord, ModelAnnouncement, Reason, TopicSettings, dead_letter, encode

__all__ = ["Train", "announce"]

logger = logging.getLogger(__name__)

#: Growth of the examples at hand within `settle_s` below which training begins.
SETTLED = 1.1


class Train:
    """Holds the trainer; waits for the first static bundle, then learns from every example.

    Examples that come before the first static bundle wait in memory for it. A bundle that the gate
    refuses is logged with its reasons and not published.
    """

    def __init__(
        self,
        *,
        settings: TrainerSettings,
        dynamic: DynamicSettings,
        topics: TopicSettings,
        store: ArtifactStore,
        folder: Path,
        outputs: Outputs,
        clock_ms: Callable[[], int],
        live: LivePopularity | None = None,
        tally: TrainTally | None = None,
    ) -> None:
        """Keep scratch files below `folder`; live: sum of the partitions' counts of demand."""
        self.tally = tally or TrainTally()
        self._settings = settings
        self._dynamic = dynamic
        self._topics = topics
        self._store = store
        self._folder = folder
        self._outputs = outputs
        self._clock_ms = clock_ms
        self._live = live
        self._turn = asyncio.Lock()
        self._trainer: Trainer | None = None
        self._static: str | None = None
        self._pinned: str | None = None
        self._early: list[ExampleBatch] = []
        self._served: DynamicBundle | None = None
        self._published_at = 0
        self._news = 0
        self._steps_since = 0
        self._said_resting = True
        self._seen_news, self._seen_at = 0, 0
        self.examples = 0
        self.resting = True

    async def examples_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the examples topic."""
        for record in records:
            try:
                batch = ExampleBatch.unpack(record.value or b"")
            except CorruptExamples as error:
                letter = dead_letter(record, Reason.MALFORMED, str(error))
                await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))
                continue
            async with self._turn:
                if self._trainer is None:
                    self._early.append(batch)
                else:
                    self._take(self._trainer, batch)

    async def demand(self, records: Sequence[LogRecord]) -> None:
        """Take records of the demand topic, of any partition."""
        if self._live is not None:
            take_demand(self._live, records)

    async def announced(self, records: Sequence[LogRecord]) -> None:
        """Adopt the newest static bundle among records of the models topic; keep pinned ones."""
        news = newest_announcements(records)
        if "pinned" in news:
            self._pinned = pin.name if (pin := news["pinned"]) else None
        if (static := news.get("static")) and static.name != self._static:
            await self._adopt(static.name)

    async def step(self) -> bool:
        """Train for one slice, publish if it is time; returns whether anything was done."""
        async with self._turn:
            if self._trainer is None or self._still_reading():
                return False
            stats = await asyncio.to_thread(self._trainer.train, max_seconds=self._settings.slice_s)
            self._steps_since += stats.steps
            self.resting = stats.steps == 0
            self.tally.steps.inc(stats.steps)
            self.tally.resting.set(self.resting)
            if self._due():
                await self._publish(self._trainer)
                return True
            return stats.steps > 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Train until `stopping` is set."""
        while not stopping.is_set():
            if not await self.step():
                await asyncio.sleep(0.1)

    def _still_reading(self) -> bool:
        """Whether the log of examples is still being read for the first time.

        Whoever trained meanwhile would give the first examples all of their epochs before the last
        ones are there, and the towers would remember the order in which they were read.
        """
        if self._published_at or self._steps_since:
            return False
        now = self._clock_ms()
        if now - self._seen_at < self._settings.settle_s * 1000:
            return True
        grown = self._news > SETTLED * self._seen_news
        self._seen_news, self._seen_at = self._news, now
        return grown

    def _due(self) -> bool:
        """Whether there is something to publish, and the last bundle is old enough.

        The first bundle waits until all that is there has been learnt: it has nothing to replace.
        When the trainer comes to rest, the last bundle says so: others wait for that.
        """
        if self._published_at == 0:
            return self.resting and self._steps_since > 0
        if self._clock_ms() - self._published_at < self._settings.publish_every_s * 1000:
            return False
        if self.resting:
            return self._steps_since > 0 or not self._said_resting
        return self._steps_since > 0 and self._news >= self._settings.min_examples

    async def _adopt(self, name: str) -> None:
        folder = self._folder / "static" / name
        shutil.rmtree(folder, ignore_errors=True)
        try:
            static = StaticBundle.load(
                await asyncio.to_thread(self._store.fetch, "static", name, folder)
            )
        except (CorruptArtifact, BundleError) as error:
            logger.error("static bundle %s is not adopted: %s", name, error)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        async with self._turn:
            self._static = name
            if self._trainer is None:
                self._trainer = Trainer(
                    static,
                    self._dynamic,
                    seed=self._settings.seed,
                    ranking=self._dynamic.ranking.enabled,
                    live=self._live,
                    first_generation=self._next_generation(),
                    clock_ms=self._clock_ms,
                )
            else:
                self._trainer.adopt(static)
                self._served = None
            for batch in self._early:
                self._take(self._trainer, batch)
            self._early.clear()
        logger.info("learning on static bundle %s", name)

    def _next_generation(self) -> int:
        names = self._store.names("dynamic")
        return int(names[-1].lstrip("g")) + 1 if names else 1

    def _take(self, trainer: Trainer, batch: ExampleBatch) -> None:
        intake = trainer.add(batch)
        self.examples += intake.accepted
        self.tally.examples.inc(intake.accepted)
        self._news += intake.accepted

    async def _publish(self, trainer: Trainer) -> None:
        candidate = await asyncio.to_thread(trainer.publish)
        held_out = trainer.holdout()
        reasons = await asyncio.to_thread(
            accept, candidate, self._served, held_out, self._dynamic.gate, trainer.popularity
        )
        name = f"g{candidate.generation:09d}"
        self._published_at, self._news, self._steps_since = self._clock_ms(), 0, 0
        self._said_resting = self.resting
        if reasons:
            logger.error("bundle %s is refused: %s", name, "; ".join(reasons))
            self.tally.refused.inc()
            return
        metrics = {
            **{n: v for n, v in candidate.manifest["metrics"].items() if "hr_at_10" in n},
            "held_out_hr_at_10": await asyncio.to_thread(
                served_hit_rate, candidate, held_out, trainer.popularity
            ),
            "ranking_head": float(candidate.head is not None),
            "examples": float(self.examples),
            "resting": float(self.resting),
        }
        await announce(
            candidate, name, metrics,
            store=self._store, scratch=self._folder / "publish", outputs=self._outputs,
            topics=self._topics, now_ms=self._clock_ms(), keep=self._settings.keep_bundles,
            pinned=self._pinned,
        )  # fmt: skip
        self._served = candidate
        self.tally.published.inc()
        self.tally.published_at.set(self._published_at / 1000)
        self.tally.hit_ratio.set(metrics["held_out_hr_at_10"])
        logger.info("published %s: %s", name, metrics)


async def announce(
    bundle: DynamicBundle | StaticBundle,
    name: str,
    metrics: dict[str, float],
    *,
    store: ArtifactStore,
    scratch: Path,
    outputs: Outputs,
    topics: TopicSettings,
    now_ms: int,
    keep: int,
    pinned: str | None = None,
    published: bool = False,
) -> None:
    """Publish a bundle in the artifact store, say so on the models topic, prune old ones.

    pinned: a bundle that stays, however old it is, since people want it served.
    published: whoever made the bundle has put it into the store already.
    """
    kind: Literal["static", "dynamic"] = "static" if isinstance(bundle, StaticBundle) else "dynamic"
    if not published:
        folder = scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            await asyncio.to_thread(bundle.save, folder)
            await asyncio.to_thread(store.publish, kind, name, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    record = ModelAnnouncement(
        kind=kind, name=name, url=store.url, generation=bundle.generation,
        created_at=now_ms, metrics=metrics,
    )  # fmt: skip
    await outputs.send(topics.models, record.key, encode(record))
    await outputs.flush()
    for old in store.names(kind)[:-keep]:
        if old != pinned:
            store.delete(kind, old)
