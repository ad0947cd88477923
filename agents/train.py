"""The trainer's agent: examples in, bundles published and announced, for ever."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from agents.bundles.announcements import announced_names, newest_announcements
from agents.bundles.announcing import announce, fetch_static
from agents.bundles.names import bundle_name, next_generation
from agents.demand import take_demand
from agents.experiments.arms import ExperimentSettings
from agents.outputs import Outputs
from agents.settings import TrainerSettings
from agents.training.cadence import Cadence
from agents.training.canaries import Canaries
from agents.training.measure import Measure
from agents.training.quality import Decision, QualityStore
from agents.training.train_tally import TrainTally
from dynamic_layer import (
    KEPT_DAYS,
    CorruptCheckpoint,
    CorruptExamples,
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    Judgement,
    LivePopularity,
    Saved,
    Trainer,
    TrainerCheckpoints,
    judge,
    served_hit_rate,
)
from state import ArtifactStore, CorruptArtifact
from static_layer import BundleError, StaticBundle
from streams import LogRecord, Reason, TopicSettings, announcement_key, dead_letter, encode

__all__ = ["Train"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Train:
    """Holds the trainer; waits for the first static bundle, then learns from every example.

    Examples that come before the first static bundle wait in memory for it. A bundle that the gate
    refuses is logged with its reasons and not published.

    Guarantees: a record of the examples topic is taken once, since its offset is in the checkpoint
    that holds what became of it, and reading goes on there; a kill costs what came after the last
    checkpoint, which is read and learned again by weights that do not know it. Whatever a bundle
    has learned from is in a checkpoint before the bundle is announced.
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
        experiments: ExperimentSettings | None = None,
        read_models: Callable[[], Awaitable[Sequence[LogRecord]]] | None = None,
    ) -> None:
        """Keep scratch files below `folder`; live: sum of the partitions' counts of demand.

        read_models: reads the models topic whole; without it no canary is decided on.
        """
        experiments = experiments or ExperimentSettings()
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
        self._static_generation = 0
        self._channel = settings.channel
        self._wanted: dict[bytes, str | None] = {}  # by all channels, by key of the models topic
        self._pinned: str | None = None
        self._trained: str | None = None
        self._early: list[ExampleBatch] = []
        self._served: DynamicBundle | None = None
        self._cadence = Cadence(settings, clock_ms)
        self._checkpoints = TrainerCheckpoints(
            folder / "checkpoints", keep=settings.keep_checkpoints
        )
        self._positions: dict[tuple[str, int], int] = {}
        self._quality = QualityStore(store, keep_days=KEPT_DAYS, channel=self._channel)
        self._measure = Measure(
            settings=settings,
            dynamic=dynamic,
            store=store,
            folder=folder,
            tally=self.tally,
            clock_ms=clock_ms,
            quality=self._quality,
            arms=experiments.on_channel(self._channel),
        )
        self._canaries = Canaries(
            experiments, self._channel, store=store, topics=topics, outputs=outputs,
            tally=self.tally, clock_ms=clock_ms, read_models=read_models,
        )  # fmt: skip
        self._opened = False
        self._checkpointed_at = clock_ms()
        self._checkpointed: object = None
        self._work: asyncio.Future[Any] | None = None
        self.examples = 0

    def position(self, topic: str, partition: int) -> int | None:
        """Return the next offset to read of the examples topic; None for the earliest there is."""
        return self._positions.get((topic, partition))

    def positions(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of each partition that was read, by topic and partition."""
        return self._positions

    def passed_over(self, topic: str, partition: int, offset: int) -> None:
        """Take note that examples before an offset were deleted before they were read."""
        logger.warning("examples of %s/%d before offset %d are gone", topic, partition, offset)

    async def assigned(self, _partitions: Iterable[tuple[str, int]] = ()) -> None:
        """Be where the newest whole checkpoint was; to be called before a position is asked for."""
        async with self._turn:
            if not self._opened:
                await self._open()
                self._opened = True

    async def examples_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the examples topic."""
        batches: list[tuple[LogRecord, ExampleBatch | None]] = []
        for record in records:
            if record.offset < self._positions.get((record.topic, record.partition), 0):
                continue  # it was taken
            try:
                batches.append((record, ExampleBatch.unpack(record.value or b"")))
            except CorruptExamples as error:
                batches.append((record, None))
                letter = dead_letter(record, Reason.MALFORMED, str(error))
                await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))
        # Once for all of them: a slice of training may come between two turns.
        async with self._turn:
            for record, batch in batches:
                if batch is not None and self._trainer is None:
                    self._early.append(batch)
                elif batch is not None and self._trainer is not None:
                    self._take(self._trainer, batch)
                self._positions[record.topic, record.partition] = record.offset + 1

    async def demand(self, records: Sequence[LogRecord]) -> None:
        """Take records of the demand topic, of any partition."""
        if self._live is not None:
            take_demand(self._live, records)

    async def announced(self, records: Sequence[LogRecord]) -> None:
        """Adopt the newest static bundle among records of the models topic; keep pinned ones."""
        await self.assigned()
        news = newest_announcements(records, self._channel)
        self._wanted |= announced_names(records)
        if "pinned" in news:
            self._pinned = pin.name if (pin := news["pinned"]) else None
        if dynamic := news.get("dynamic"):
            self._trained = dynamic.name
        static = news.get("static")
        # The topic may still tell of bundles before the one that a checkpoint learned on.
        if static and static.name != self._static and static.generation >= self._static_generation:
            await self._adopt(static.name)
            self._static_generation = static.generation
        await self._serve(self._pinned or self._trained or self._by_default())

    def _by_default(self) -> str | None:
        """What a channel without a bundle serves."""
        pinned, trained = (announcement_key(kind) for kind in ("pinned", "dynamic"))
        return self._wanted.get(pinned) or self._wanted.get(trained)

    async def _serve(self, name: str | None) -> None:
        """Measure the bundle that workers serve now; hold new ones against it after a restart."""
        if name is None or name == self._measure.serving:
            return
        bundle = await self._measure.fetch(name, self._served)
        async with self._turn:
            if self._trainer is not None:
                trainer = self._trainer
                await self._aside(lambda: self._measure.ask(trainer.popularity))
            await self._aside(lambda: self._measure.serve(name, bundle))
            if self._served is None and name == self._trained:
                self._served = bundle

    async def step(self) -> bool:
        """Train for one slice, publish or checkpoint if it is time; was anything learned?"""
        async with self._turn:
            if self._trainer is None:
                return False
            trainer = self._trainer
            if self._measure.due:
                await self._aside(lambda: self._measure.ask(trainer.popularity))
            done = await self._learn(trainer)
            if self._clock_ms() - self._checkpointed_at >= self._settings.checkpoint_every_s * 1000:
                await self._checkpoint(trainer)
            return done

    async def _learn(self, trainer: Trainer) -> bool:
        if self._cadence.still_reading():
            return False
        stats = await self._aside(lambda: trainer.train(max_seconds=self._settings.slice_s))
        self._cadence.learned(stats)
        self.tally.steps.inc(stats.steps)
        self.tally.resting.set(self._cadence.resting)
        if self._cadence.due(len(trainer.memories["holdout"])):
            await self._publish(trainer)
            return True
        return stats.steps > 0

    async def close(self) -> None:
        """Write a last checkpoint; to be called once nothing else here runs any more."""
        if self._work is not None and not self._work.done():
            await asyncio.wait([self._work])
        failed = self._work is not None and not self._work.cancelled() and self._work.exception()
        if self._trainer is not None and not failed:
            await self._checkpoint(self._trainer)

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do something with the trainer in another thread, to its end even if we are cancelled."""
        done = asyncio.ensure_future(asyncio.to_thread(work))
        self._work = done
        return await asyncio.shield(done)

    async def run(self, stopping: asyncio.Event) -> None:
        """Train until `stopping` is set; canaries are decided on beside it."""
        looking = asyncio.ensure_future(self._canaries.run(stopping))
        try:
            while not stopping.is_set() and not looking.done():
                if not await self.step():
                    await asyncio.sleep(0.1)
            await looking
        finally:
            looking.cancel()

    async def _adopt(self, name: str) -> None:
        static = await self._static_bundle(name)
        if static is None:
            return
        async with self._turn:
            self._static = name
            if self._trainer is None:
                self._trainer = self._new_trainer(static)
            else:
                # What is served stays: the gate holds what comes of the new vectors against it.
                await self._aside(partial(self._trainer.adopt, static))
                self._cadence.adopted()
            for batch in self._early:
                self._take(self._trainer, batch)
            self._early.clear()
        logger.info("learning on static bundle %s", name)

    async def _static_bundle(self, name: str) -> StaticBundle | None:
        """Fetch a static bundle; None, with a line in the log, if it is not there whole."""
        scratch = self._folder / "static"
        try:
            return await asyncio.to_thread(fetch_static, self._store, name, scratch)
        except (CorruptArtifact, BundleError) as error:
            logger.error("static bundle %s is not adopted: %s", name, error)
            return None

    def _new_trainer(self, static: StaticBundle) -> Trainer:
        return Trainer(
            static,
            self._dynamic,
            seed=self._settings.seed,
            ranking=self._dynamic.ranking.enabled,
            live=self._live,
            first_generation=self._next_generation(),
            clock_ms=self._clock_ms,
        )

    async def _open(self) -> None:
        for checkpoint in self._checkpoints.newest():
            serial = checkpoint.manifest["serial"]
            notes = checkpoint.notes.part("agent").values
            # The one that it learned on may have been pruned: then the newest is adopted.
            names = dict.fromkeys([notes["static"], *reversed(self._store.names("static"))])
            for name in names:
                static = await self._static_bundle(name)
                if static is not None:
                    break
            else:
                logger.error("checkpoint %d is of no use without a static bundle", serial)
                return
            trainer = self._new_trainer(static)
            try:
                await asyncio.to_thread(checkpoint.restore, trainer)
            except CorruptCheckpoint as error:
                logger.error("checkpoint %d is passed over: %s", serial, error)
                continue
            self._trainer, self._static = trainer, name
            self._recall(checkpoint.notes)
            if name != notes["static"]:
                logger.warning("static bundle %s is gone, so nothing is aligned", notes["static"])
                self._cadence.adopted()
            self._checkpointed = self._news_of(self._notes())
            logger.info("going on with checkpoint %d, on static bundle %s", serial, name)
            return
        logger.info("no checkpoint: beginning with fresh weights")

    def _notes(self) -> Saved:
        """What a checkpoint holds beside the trainer."""
        own = Saved(
            values={
                "static": self._static,
                "static_generation": self._static_generation,
                "positions": [[*place, offset] for place, offset in self._positions.items()],
                "examples": self.examples,
                **self._cadence.notes(),
            }
        )
        return Saved.joined({"agent": own, "measure": self._measure.saved()})

    def _recall(self, saved: Saved) -> None:
        notes = saved.part("agent").values
        self._measure.restore(saved.part("measure"))
        self._positions = {(topic, part): offset for topic, part, offset in notes["positions"]}
        self._cadence.recall(notes)
        self.examples = notes["examples"]
        self._static_generation = notes["static_generation"]

    def _news_of(self, notes: Saved) -> object:
        """What differs between two checkpoints if anything does."""
        return notes.part("agent").values, self._measure.asked

    async def _checkpoint(self, trainer: Trainer) -> None:
        """Write a checkpoint if anything is new; a failure is reported and training goes on."""
        self._checkpointed_at = self._clock_ms()
        await self._aside(lambda: self._measure.ask(trainer.popularity))
        notes = self._notes()
        news = self._news_of(notes)
        if news == self._checkpointed:
            return
        try:
            await self._aside(self._measure.write)
            seconds = await self._aside(lambda: self._checkpoints.write(trainer, notes))
        except OSError as error:
            logger.error("the checkpoint could not be written, the next may: %s", error)
            self.tally.checkpoints_failed.inc()
            return
        self._checkpointed = news
        self.tally.checkpoints.inc()
        self.tally.checkpoint_seconds.set(seconds)
        self.tally.checkpointed_at.set(self._checkpointed_at / 1000)

    def _next_generation(self) -> int:
        return next_generation(self._store.names("dynamic"), self._channel)

    def _take(self, trainer: Trainer, batch: ExampleBatch) -> None:
        intake = trainer.add(batch, self._measure.sample)
        self.examples += intake.accepted
        self.tally.examples.inc(intake.accepted)
        self._cadence.news += intake.accepted

    async def _publish(self, trainer: Trainer) -> None:
        # Before anything says that it was published: it would not be, after a kill in between.
        await self._checkpoint(trainer)
        half_lives = self._measure.half_lives_days
        candidate = await self._aside(partial(trainer.publish, half_lives))
        held_out = trainer.holdout()
        served = self._served
        found = await self._aside(
            lambda: judge(candidate, served, held_out, self._dynamic.gate, trainer.popularity)
        )
        name = bundle_name(candidate.generation, self._channel)
        decision = self._decision(name, candidate, found)
        await self._aside(lambda: self._quality.decided(decision))
        if found.reasons:
            logger.error("bundle %s is refused: %s", name, "; ".join(found.reasons))
            self.tally.refused.inc()
            self._cadence.judged()
            return
        metrics = {
            **{n: v for n, v in candidate.manifest["metrics"].items() if "hr_at_10" in n},
            "held_out_hr_at_10": await self._aside(
                lambda: served_hit_rate(candidate, held_out, trainer.popularity)
            ),
            "ranking_head": float(candidate.head is not None),
            "examples": float(self.examples),
            "resting": float(self._cadence.resting),
        }
        await announce(
            candidate, name, metrics,
            store=self._store, scratch=self._folder / "publish", outputs=self._outputs,
            topics=self._topics, now_ms=self._clock_ms(), keep=self._settings.keep_bundles,
            wanted={name for name in self._wanted.values() if name}, channel=self._channel,
        )  # fmt: skip
        self._served = candidate
        self._cadence.judged()
        self.tally.published.inc()
        self.tally.published_at.set(self._cadence.published_at / 1000)
        self.tally.hit_ratio.set(metrics["held_out_hr_at_10"])
        logger.info("published %s: %s", name, metrics)

    def _decision(self, name: str, candidate: DynamicBundle, found: Judgement) -> Decision:
        served = None
        if self._served is not None:
            served = bundle_name(self._served.generation, self._channel)
        return Decision(
            at=self._clock_ms(), bundle=name, generation=candidate.generation,
            static=candidate.manifest["static"], reasons=found.reasons, held_out=found.held_out,
            served=served,
            hr_at_10=found.hr_at_10, served_hr_at_10=found.served_hr_at_10,
        )  # fmt: skip
