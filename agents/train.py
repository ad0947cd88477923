"""The trainer's agent: trains continuously and publishes bundles."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agents.demand import take_demand
from agents.experiments.arms import ExperimentSettings
from agents.outputs import Outputs
from agents.patience import Aside, Pause, monotonic_ms
from agents.settings import TrainerSettings
from agents.training.cadence import Cadence
from agents.training.canaries import Canaries
from agents.training.continuing import Continuity
from agents.training.examples_read import ExamplesRead
from agents.training.growing import NewItemLearning
from agents.training.measure import Measure
from agents.training.pending import Pending
from agents.training.publishing import FollowedBundles, Publisher
from agents.training.quality import QualityStore
from agents.training.row_sender import RowSender
from agents.training.skew import Skews
from agents.training.train_tally import TrainTally
from dynamic_layer import (
    KEPT_DAYS,
    CorruptExamples,
    DynamicSettings,
    ExampleBatch,
    LivePopularity,
    Saved,
    ServedFeatures,
    SkewCheck,
    Trainer,
)
from state import ArtifactStore
from static_layer import TextEncoder
from streams import ItemCatalogue, LogRecord, Reason, TopicSettings, dead_letter, encode

__all__ = ["Train"]

logger = logging.getLogger(__name__)


class Train:
    """Holds the trainer; waits for the first static bundle, then learns from every example.

    Examples from before the first static bundle wait in memory. A bundle that the gate
    refuses is logged with its reasons and not published.

    Guarantees: each record of the examples topic counts once, because the checkpoint holds its
    offset together with its effect. After a kill the records behind the last checkpoint are read
    again. All that a bundle learned from is in a checkpoint before the bundle is announced.
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
        encoder: Callable[[], TextEncoder] | None = None,
        ticks_ms: Callable[[], int] = monotonic_ms,
        pause: Pause = asyncio.sleep,
        items: ItemCatalogue | None = None,
    ) -> None:
        """Keep scratch files below `folder`; live: sum of the partitions' counts of demand.

        clock_ms: the time, ms UTC; ticks_ms: when periodic work is due, which never goes back.
        read_models: reads the models topic whole, before old bundles are pruned and for decisions
        on canaries; without it no canary is decided on, and pins count once they are announced.
        encoder: of texts, made when the first new item comes; without it, items that came after
        the static bundle are not learned.
        pause: waits for so many seconds between two attempts on the artifact store.
        items: takes the catalogue; by default it is Segue's own topic alone.
        """
        experiments = experiments or ExperimentSettings()
        self.tally = tally or TrainTally()
        self.tally.store.watch(store)
        self._settings, self._topics, self._outputs = settings, topics, outputs
        self._clock_ms, self._ticks_ms = clock_ms, ticks_ms
        self._live = live
        self._aside, self._turn = Aside(), asyncio.Lock()
        self._trainer: Trainer | None = None
        self._static: str | None = None
        self._static_generation = 0
        self._channel = settings.channel
        self._bundles = FollowedBundles(self._channel, read_models)
        self._early: list[ExampleBatch] = []
        self.items = items or ItemCatalogue(topics)
        self._new_items = NewItemLearning(encoder, ticks_ms, self._aside, self.items)
        self._pending: Pending | None = None  # made, and not judged yet
        self._cadence = Cadence(settings, clock_ms, ticks_ms)
        self.read = ExamplesRead()
        quality = QualityStore(store, keep_days=KEPT_DAYS, channel=self._channel)
        self._measure = Measure(
            settings=settings, dynamic=dynamic, store=store, folder=folder, tally=self.tally,
            ticks_ms=ticks_ms, quality=quality, arms=experiments.on_channel(self._channel),
            pause=pause,
        )  # fmt: skip
        check = SkewCheck(history_cap=dynamic.replay.whole_history)
        self._skews = Skews(check, self.tally, ticks_ms)
        self._rows = RowSender(settings, dynamic.live_graph, topics, outputs, self.tally)
        self._publisher = Publisher(
            settings, dynamic, topics, store=store, folder=folder, outputs=outputs,
            clock_ms=clock_ms, ticks_ms=ticks_ms, tally=self.tally, quality=quality,
            rows=self._rows, measure=self._measure, cadence=self._cadence, aside=self._aside,
            pause=pause,
        )  # fmt: skip
        self._continuity = Continuity(
            settings, dynamic, store=store, folder=folder, clock_ms=clock_ms, ticks_ms=ticks_ms,
            tally=self.tally, measure=self._measure, aside=self._aside, live=live, pause=pause,
        )  # fmt: skip
        self._canaries = Canaries(
            experiments, self._channel, store=store, topics=topics, outputs=outputs,
            tally=self.tally, clock_ms=clock_ms, ticks_ms=ticks_ms, read_models=read_models,
        )  # fmt: skip
        self._caught_up: Callable[[], bool] = lambda: True
        self._catalogue_read: Callable[[], bool] = lambda: True
        self._opened, self.examples = False, 0

    def position(self, topic: str, partition: int) -> int | None:
        """Return the next offset to read of the examples topic; None for the earliest there is."""
        return self.read.positions.get((topic, partition))

    def positions(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of each partition that was read, by topic and partition."""
        return self.read.positions

    def passed_over(self, topic: str, partition: int, offset: int) -> None:
        """Record that examples before an offset were deleted before they were read."""
        logger.warning("examples of %s/%d before offset %d are deleted", topic, partition, offset)

    async def assigned(self, _partitions: Iterable[tuple[str, int]] = ()) -> None:
        """Restore the newest complete checkpoint. Call it before a position is asked for.

        Waits for an artifact store that fails; at once from the second call on.
        """
        async with self._turn:
            if not self._opened:
                await self._open()
                self._opened = True

    def begin_when(
        self, caught_up: Callable[[], bool], catalogue_read: Callable[[], bool] = lambda: True
    ) -> None:
        """Do not begin the first training before both are true: the log has been read.

        Before `catalogue_read` no bundle is published either: it would lack new items.
        """
        self._caught_up, self._catalogue_read = caught_up, catalogue_read

    async def examples_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the examples topic."""
        batches: list[tuple[LogRecord, ExampleBatch | None]] = []
        for record in records:
            if self.read.has(record):
                continue
            try:
                served = ServedFeatures.unpack(record.value or b"")
                if served is None:
                    batches.append((record, ExampleBatch.unpack(record.value or b"")))
                else:
                    self._skews.take(served, record.timestamp)
                    batches.append((record, None))
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
                self.read.note(record)

    async def demand(self, records: Sequence[LogRecord]) -> None:
        """Take records of the demand topic, of any partition."""
        if self._live is not None:
            take_demand(self._live, records)

    async def catalogue(self, records: Sequence[LogRecord]) -> None:
        """Take records of a topic of the catalogue (`items`): new items are to be learned."""
        if self._new_items.possible:
            await self.items.prepare(records, asyncio.sleep)
            async with self._turn:
                self._new_items.take(records)

    async def announced(self, records: Sequence[LogRecord]) -> None:
        """Adopt the newest static bundle among records of the models topic; keep pinned ones."""
        await self.assigned()
        static = self._bundles.take(records)
        if static:
            self.tally.static_made_at.set(static.created_at / 1000)
        # The topic may still tell of bundles before the one that a checkpoint learned on.
        if static and static.name != self._static and static.generation >= self._static_generation:
            await self._adopt(static.name)
            self._static_generation = static.generation
        await self._serve(self._bundles.served)

    async def _serve(self, name: str | None) -> None:
        """Measure the bundle that workers serve now; hold new ones against it after a restart."""
        if name is None or name == self._measure.serving:
            return
        bundle = await self._measure.fetch(name, self._publisher.served)
        async with self._turn:
            if self._trainer is not None:
                trainer = self._trainer
                await self._aside(lambda: self._measure.ask(trainer.popularity))
            await self._aside(lambda: self._measure.serve(name, bundle))
            await self._aside(lambda: self._skews.serve(bundle))
            served = self._publisher.served
            # Announcements of earlier bundles may come first, in readings of their own.
            if (
                bundle is not None
                and name == self._bundles.trained
                and (served is None or bundle.generation > served.generation)
            ):
                self._publisher.served = bundle
                self._rows.serve(bundle, self._ticks_ms())

    @property
    def lists_made(self) -> tuple[int, int]:
        """Lists that the ranking head's lesson has made, and how many it makes; (0, 0) without."""
        return (0, 0) if self._trainer is None else self._trainer.lists_made

    @property
    def steps(self) -> int:
        """Optimiser steps since this process started."""
        return self._cadence.steps_done

    @property
    def starved(self) -> bool:
        """Whether there is nothing to learn from and no bundle yet; more examples change that."""
        return self._cadence.starved

    async def step(self) -> bool:
        """Train for one slice, publish or checkpoint if due; returns whether it learned."""
        async with self._turn:
            if self._trainer is None:
                return False
            trainer = self._trainer
            if self._measure.due:
                await self._aside(lambda: self._measure.ask(trainer.popularity))
            if self._skews.due:
                await self._aside(lambda: self._skews.ask(trainer.popularity))
            done = await self._learn(trainer)
            if self._rows.due(self._ticks_ms(), resting=self._cadence.resting):
                await self._send_rows(trainer)
            if self._continuity.due:
                await self._continuity.write(trainer, self._notes)
            return done

    async def _learn(self, trainer: Trainer) -> bool:
        if self._cadence.still_reading(caught_up=self._caught_up() and self._catalogue_read()):
            return False
        # What the first training learns must not depend on when the catalogue was read.
        if self._new_items.waiting and (not self.steps or self._new_items.due):
            await self._new_items.learn(trainer)
        stats = await self._aside(
            lambda: trainer.train(
                max_steps=self._rows.steps_left, max_seconds=self._settings.slice_s
            )
        )
        self._cadence.learned(stats)
        self._rows.learned(stats.steps)
        self.tally.steps.inc(stats.steps)
        self.tally.resting.set(self._cadence.resting)
        due = self._pending is None and self._cadence.due(len(trainer.memories["holdout"]))
        if due and self._new_items.waiting:  # a bundle has all items that are known
            await self._new_items.learn(trainer)
        if due and self._catalogue_read():
            await self._make(trainer)
        if self._pending is None:
            return stats.steps > 0
        settings = self._settings
        alone = self._publisher.served is None and await self._publisher.best_earlier() is None
        if alone or self._pending.ready(
            trainer, self._ticks_ms(), settle_s=settings.settle_s, within_s=settings.judge_within_s
        ):
            pending, self._pending = self._pending, None
            await self._publisher.publish(
                trainer, pending, examples=self.examples, wanted=self._bundles.not_to_prune
            )
            return True
        return stats.steps > 0

    async def _send_rows(self, trainer: Trainer) -> None:
        """Send what changed of the served bundle's rows; a pinned bundle is served as it is."""
        deltas = []
        if self._bundles.pinned is None:
            deltas = await self._aside(lambda: self._rows.changed(trainer, self._clock_ms()))
        await self._rows.send(deltas, self._ticks_ms())

    async def close(self) -> None:
        """Write a last checkpoint; call it when nothing else runs."""
        if await self._aside.ended() and self._trainer is not None:
            await self._continuity.write(self._trainer, self._notes)

    async def run(self, stopping: asyncio.Event) -> None:
        """Train until `stopping` is set; decide on canaries beside it."""
        canaries = asyncio.ensure_future(self._canaries.run(stopping))
        try:
            while not stopping.is_set() and not canaries.done():
                if not await self.step():
                    await asyncio.sleep(0.1)
            await canaries
        finally:
            canaries.cancel()

    async def _adopt(self, name: str) -> None:
        static = await self._continuity.static_bundle(name)
        if static is None:
            return
        dynamic = await self._continuity.names("dynamic")
        async with self._turn:
            self._static = name
            if self._trainer is None:
                self._trainer = self._continuity.new_trainer(static, dynamic)
            else:
                # What is served stays: the gate holds what comes of the new vectors against it.
                # A candidate on the old vectors is not worth waiting for.
                self._pending = None
                await self._aside(partial(self._trainer.adopt, static))
                self._cadence.adopted()
            await self._new_items.learn(self._trainer)
            for batch in self._early:
                self._take(self._trainer, batch)
            self._early.clear()
        logger.info("learning on static bundle %s", name)

    async def _open(self) -> None:
        found = await self._continuity.restored()
        if found is None:
            return
        self._trainer, self._static = found.trainer, found.static
        self._recall(found.notes.values)
        if not found.aligned:
            self._cadence.adopted()
        self._continuity.noted(self._notes())

    def _notes(self) -> Saved:
        """What a checkpoint holds in addition to the trainer."""
        return Saved(
            values={
                "static": self._static,
                "static_generation": self._static_generation,
                **self.read.notes(),
                "examples": self.examples,
                "best": self._publisher.best_name,
                **self._cadence.notes(),
            }
        )

    def _recall(self, notes: Mapping[str, Any]) -> None:
        self.read.recall(notes)
        self._cadence.recall(notes)
        self.examples = notes["examples"]
        self._static_generation = notes["static_generation"]
        # Earlier versions compared with the last one alone.
        self._publisher.best_name = notes.get("best")

    def _take(self, trainer: Trainer, batch: ExampleBatch) -> None:
        intake = trainer.add(batch, self._witness)
        self._rows.counted(self._ticks_ms())
        self.examples += intake.accepted
        self.tally.examples.inc(intake.accepted)
        self._cadence.news += intake.accepted

    def _witness(self, batch: ExampleBatch) -> None:
        """See new examples before any model learns from them."""
        self._measure.sample(batch)
        self._skews.remember(batch)

    async def _make(self, trainer: Trainer) -> None:
        """Make a bundle for the gate, which asks it about examples that come after it."""
        # Before anything says that it was published: it would not be, after a kill in between.
        await self._continuity.write(trainer, self._notes)
        half_lives = self._measure.half_lives_days
        candidate = await self._aside(partial(trainer.publish, half_lives))
        self._pending = Pending.of(
            candidate, trainer, now_ms=self._ticks_ms(), resting=self._cadence.resting
        )
        # What is learned from here on is for the next one.
        self._cadence.judged()
