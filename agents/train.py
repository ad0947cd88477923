"""The trainer's agent: trains continuously and publishes bundles."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from agents.bundles.announcements import announced_names, newest_announcements
from agents.bundles.announcing import announce, fetch_static
from agents.bundles.launched import Launched, encoded
from agents.bundles.names import bundle_name, next_generation
from agents.bundles.text_encoders import TextEncoders
from agents.demand import take_demand
from agents.experiments.arms import ExperimentSettings
from agents.outputs import Outputs
from agents.patience import UNTIL_THERE, Pause, patiently
from agents.settings import TrainerSettings
from agents.ticks import monotonic_ms
from agents.training.cadence import Cadence
from agents.training.canaries import Canaries
from agents.training.measure import Measure
from agents.training.pending import Pending
from agents.training.quality import Decision, QualityStore
from agents.training.row_sender import RowSender
from agents.training.skew import Skews
from agents.training.train_tally import TrainTally
from dynamic_layer import (
    KEPT_DAYS,
    CorruptCheckpoint,
    CorruptExamples,
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    HeldOut,
    Judgement,
    LivePopularity,
    Saved,
    ServedFeatures,
    SkewCheck,
    Trainer,
    TrainerCheckpoints,
    judge,
    serve_popularity,
)
from state import ArtifactStore, CorruptArtifact
from static_layer import BundleError, StaticBundle, TextEncoder
from streams import (
    LogRecord,
    Reason,
    TopicSettings,
    announcement_key,
    dead_letter,
    decode_items,
    encode,
)

__all__ = ["Train"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: New items of the catalogue wait at most so long until the trainer learns them.
GROW_EVERY_MS = 5_000


def announced_figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of a manifest that an announcement holds, with how many were asked.

    >>> announced_figures({"prequential_hr_at_10": 1.0, "prequential_examples": 2.0, "steps": 9})
    {'prequential_hr_at_10': 1.0, 'prequential_examples': 2.0}
    """
    return {n: v for n, v in metrics.items() if "hr_at_10" in n or n == "prequential_examples"}


class Train:
    """Holds the trainer; waits for the first static bundle, then learns from every example.

    Examples from before the first static bundle wait in memory. A bundle that the gate
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
        encoder: Callable[[], TextEncoder] | None = None,
        ticks_ms: Callable[[], int] = monotonic_ms,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Keep scratch files below `folder`; live: sum of the partitions' counts of demand.

        clock_ms: the time, ms UTC; ticks_ms: when periodic work is due, which never goes back.

        read_models: reads the models topic whole; without it no canary is decided on.
        encoder: of texts, made when the first new item comes; without it, items that came after
        the static bundle are not learned.
        pause: waits for so many seconds between two attempts on the artifact store.
        """
        self._pause = pause
        experiments = experiments or ExperimentSettings()
        self.tally = tally or TrainTally()
        self.tally.store.watch(store)
        self._settings = settings
        self._dynamic = dynamic
        self._topics = topics
        self._store = store
        self._folder = folder
        self._outputs = outputs
        self._clock_ms = clock_ms
        self._ticks_ms = ticks_ms
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
        self._launched = Launched()
        self._encoders = None if encoder is None else TextEncoders(encoder)
        self._grow_at: int | None = None  # when new items are to be learned
        self._served: DynamicBundle | None = None
        self._best: DynamicBundle | None = None  # of all that were published
        self._best_name: str | None = None
        self._pending: Pending | None = None  # made, and not judged yet
        self._cadence = Cadence(settings, clock_ms, ticks_ms)
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
            ticks_ms=ticks_ms,
            quality=self._quality,
            arms=experiments.on_channel(self._channel),
            pause=pause,
        )
        check = SkewCheck(history_cap=dynamic.replay.whole_history)
        self._skews = Skews(check, self.tally, ticks_ms)
        self._rows = RowSender(settings, topics, outputs, self.tally)
        self._canaries = Canaries(
            experiments, self._channel, store=store, topics=topics, outputs=outputs,
            tally=self.tally, clock_ms=clock_ms, ticks_ms=ticks_ms, read_models=read_models,
        )  # fmt: skip
        self._opened = False
        self._caught_up: Callable[[], bool] = lambda: True
        self._catalogue_read: Callable[[], bool] = lambda: True
        self._checkpointed_at = ticks_ms()
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
            if record.offset < self._positions.get((record.topic, record.partition), 0):
                continue  # it was taken
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
                self._positions[record.topic, record.partition] = record.offset + 1

    async def demand(self, records: Sequence[LogRecord]) -> None:
        """Take records of the demand topic, of any partition."""
        if self._live is not None:
            take_demand(self._live, records)

    async def catalogue(self, records: Sequence[LogRecord]) -> None:
        """Take records of the catalogue topic, of any partition: new items are to be learned."""
        if self._encoders is None:
            return
        async with self._turn:
            if self._launched.take(decode_items(records)[0].records)[1] and self._grow_at is None:
                self._grow_at = self._ticks_ms() + GROW_EVERY_MS

    async def _grow(self, trainer: Trainer) -> None:
        """Learn the items of the catalogue that the static bundle does not have from now on."""
        self._grow_at = None
        waiting = self._launched.unknown(trainer)
        new = {key: item for key, item in waiting.items() if item.item_type in trainer.types}
        if not new or self._encoders is None:
            return
        encoder = await self._aside(partial(self._encoders.of, trainer.static.manifest))
        if encoder is None:  # the log says why
            return
        async for part in encoded(new, encoder):
            await self._aside(partial(trainer.grow, part))
        logger.info("learning %d items that came after the static bundle", len(new))

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
        if static:
            self.tally.static_made_at.set(static.created_at / 1000)
        # The topic may still tell of bundles before the one that a checkpoint learned on.
        if static and static.name != self._static and static.generation >= self._static_generation:
            await self._adopt(static.name)
            self._static_generation = static.generation
        await self._serve(self._pinned or self._trained or self._by_default())

    def _by_default(self) -> str | None:
        """The bundle that a channel without its own serves."""
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
            await self._aside(lambda: self._skews.serve(bundle))
            if self._served is None and name == self._trained:
                self._served = bundle
                if bundle is not None:
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
            if self._ticks_ms() - self._checkpointed_at >= self._settings.checkpoint_every_s * 1000:
                await self._checkpoint(trainer)
            return done

    async def _learn(self, trainer: Trainer) -> bool:
        if self._cadence.still_reading(caught_up=self._caught_up() and self._catalogue_read()):
            return False
        # What the first training learns must not depend on when the catalogue was read.
        if self._grow_at is not None and (not self.steps or self._ticks_ms() >= self._grow_at):
            await self._grow(trainer)
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
        if due and self._grow_at is not None:  # a bundle has all items that are known
            await self._grow(trainer)
        if due and self._catalogue_read():
            await self._make(trainer)
        if self._pending is None:
            return stats.steps > 0
        settings = self._settings
        alone = self._served is None and await self._best_earlier() is None
        if alone or self._pending.ready(
            trainer, self._ticks_ms(), settle_s=settings.settle_s, within_s=settings.judge_within_s
        ):
            pending, self._pending = self._pending, None
            await self._publish(trainer, pending)
            return True
        return stats.steps > 0

    async def _send_rows(self, trainer: Trainer) -> None:
        """Send what changed of the served bundle's rows; a pinned bundle is served as it is."""
        deltas = []
        if self._pinned is None:
            deltas = await self._aside(lambda: self._rows.changed(trainer, self._clock_ms()))
        await self._rows.send(deltas, self._ticks_ms())

    async def close(self) -> None:
        """Write a last checkpoint; call it when nothing else runs."""
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
        dynamic = await self._names("dynamic")
        async with self._turn:
            self._static = name
            if self._trainer is None:
                self._trainer = self._new_trainer(static, dynamic)
            else:
                # What is served stays: the gate holds what comes of the new vectors against it.
                # A candidate on the old vectors is not worth waiting for.
                self._pending = None
                await self._aside(partial(self._trainer.adopt, static))
                self._cadence.adopted()
            await self._grow(self._trainer)
            for batch in self._early:
                self._take(self._trainer, batch)
            self._early.clear()
        logger.info("learning on static bundle %s", name)

    async def _static_bundle(self, name: str) -> StaticBundle | None:
        """Fetch a static bundle; None, with a line in the log, if it is not there whole.

        Waits for a store that fails: without the bundle nothing can be learned.
        """
        scratch = self._folder / "static"
        try:
            return await patiently(
                lambda: fetch_static(self._store, name, scratch),
                f"reading static bundle {name}", UNTIL_THERE, self._pause,
            )  # fmt: skip
        except (CorruptArtifact, BundleError) as error:
            logger.error("static bundle %s is not adopted: %s", name, error)
            return None

    async def _names(self, kind: str) -> Sequence[str]:
        """Bundles of a kind in the store; waits for a store that fails."""
        return await patiently(
            lambda: self._store.names(kind), f"listing {kind} bundles", UNTIL_THERE, self._pause
        )

    def _new_trainer(self, static: StaticBundle, dynamic: Sequence[str]) -> Trainer:
        """Make a trainer; dynamic: names of the bundles before its first one."""
        return Trainer(
            static,
            self._dynamic,
            seed=self._settings.seed,
            ranking=self._dynamic.ranking.enabled,
            live=self._live,
            first_generation=next_generation(dynamic, self._channel),
            clock_ms=self._clock_ms,
        )

    async def _open(self) -> None:
        for checkpoint in self._checkpoints.newest():
            serial = checkpoint.manifest["serial"]
            notes = checkpoint.notes.part("agent").values
            # The one that it learned on may have been pruned: then the newest is adopted.
            stored = await self._names("static")
            names = dict.fromkeys([notes["static"], *reversed(stored)])
            for name in names:
                static = await self._static_bundle(name)
                if static is not None:
                    break
            else:
                logger.error("checkpoint %d is unusable without a static bundle", serial)
                return
            trainer = self._new_trainer(static, await self._names("dynamic"))
            try:
                await asyncio.to_thread(checkpoint.restore, trainer)
            except CorruptCheckpoint as error:
                logger.error("checkpoint %d is skipped: %s", serial, error)
                continue
            self._trainer, self._static = trainer, name
            self._recall(checkpoint.notes)
            if name != notes["static"]:
                logger.warning(
                    "static bundle %s is missing; vectors are not aligned", notes["static"]
                )
                self._cadence.adopted()
            self._checkpointed = self._news_of(self._notes())
            logger.info("continuing from checkpoint %d, on static bundle %s", serial, name)
            return
        logger.info("no checkpoint: starting with new weights")

    def _notes(self) -> Saved:
        """What a checkpoint holds in addition to the trainer."""
        own = Saved(
            values={
                "static": self._static,
                "static_generation": self._static_generation,
                "positions": [[*place, offset] for place, offset in self._positions.items()],
                "examples": self.examples,
                "best": self._best_name,
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
        self._best_name = notes.get("best")  # earlier versions compared with the last one alone

    def _news_of(self, notes: Saved) -> object:
        """What differs between two checkpoints if anything does."""
        return notes.part("agent").values, self._measure.asked

    async def _checkpoint(self, trainer: Trainer) -> None:
        """Write a checkpoint if anything is new; a failure is reported and training goes on."""
        self._checkpointed_at = self._ticks_ms()
        await self._aside(lambda: self._measure.ask(trainer.popularity))
        notes = self._notes()
        news = self._news_of(notes)
        if news == self._checkpointed:
            return
        try:
            await self._aside(self._measure.write)
            seconds = await self._aside(lambda: self._checkpoints.write(trainer, notes))
        except OSError as error:
            logger.error("the checkpoint could not be written; retrying at the next one: %s", error)
            self.tally.checkpoints_failed.inc()
            return
        self._checkpointed = news
        self.tally.checkpoints.inc()
        self.tally.checkpoint_seconds.set(seconds)
        self.tally.checkpointed_at.set(self._checkpointed_at / 1000)

    def _take(self, trainer: Trainer, batch: ExampleBatch) -> None:
        intake = trainer.add(batch, self._witness)
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
        await self._checkpoint(trainer)
        half_lives = self._measure.half_lives_days
        candidate = await self._aside(partial(trainer.publish, half_lives))
        self._pending = Pending.of(
            candidate, trainer, now_ms=self._ticks_ms(), resting=self._cadence.resting
        )
        # What is learned from here on is for the next one.
        self._cadence.judged()

    async def _publish(self, trainer: Trainer, pending: Pending) -> None:
        """Judge a bundle, and announce it if it may serve."""
        candidate = pending.bundle
        examples, after_both = pending.questions(trainer)
        held_out = HeldOut(examples, trainer.popularity)
        against = await self._aside(lambda: serve_popularity(candidate, held_out))
        served, best = self._served, await self._best_earlier()
        found = await self._aside(
            lambda: judge(candidate, served, held_out, self._dynamic.gate, best)
        )
        name = bundle_name(candidate.generation, self._channel)
        decision = self._decision(name, candidate, found, after_both=after_both)
        await self._aside(lambda: self._quality.decided(decision))
        if found.reasons:
            logger.error("bundle %s is refused: %s", name, "; ".join(found.reasons))
            self.tally.refused.inc()
            await self._rows.withdraw(self._clock_ms(), self._ticks_ms())
            return
        made = candidate.manifest["metrics"]
        # In the manifest too: a name means one number wherever it is shown.
        made["held_out_hr_at_10"] = await self._aside(lambda: held_out.served_hit_rate(candidate))
        metrics = {
            **announced_figures(made),
            "ranking_head": float(candidate.head is not None),
            "popularity_types": float(len(candidate.popularity_types)),
            "examples": float(self.examples),
            "resting": float(pending.resting),
        }
        try:
            await announce(
                candidate, name, metrics,
                store=self._store, scratch=self._folder / "publish", outputs=self._outputs,
                topics=self._topics, now_ms=self._clock_ms(), keep=self._settings.keep_bundles,
                wanted={name for name in (*self._wanted.values(), self._best_name) if name},
                channel=self._channel,
                pause=self._pause,
            )  # fmt: skip
        except OSError as error:
            logger.error("bundle %s is not published; retrying with the next one: %s", name, error)
            self.tally.unpublished.inc()
            return
        self.tally.compared(against)
        if candidate.popularity_types:
            logger.warning(
                "%s serves live popularity for %s: its own lists are behind it",
                name, ", ".join(sorted(candidate.popularity_types)),
            )  # fmt: skip
        self._served = candidate
        self._rows.serve(candidate, self._ticks_ms())
        if found.best or self._best is None:
            self._best, self._best_name = candidate, name
        self.tally.published.inc()
        self.tally.published_at.set(self._cadence.published_at / 1000)
        self.tally.hit_ratio.set(metrics["held_out_hr_at_10"])
        logger.info("published %s: %s", name, metrics)

    async def _best_earlier(self) -> DynamicBundle | None:
        """Return the bundle that no later one has surpassed; read again after a restart."""
        if self._best is None and self._best_name is not None:
            self._best = await self._measure.fetch(self._best_name, self._served)
            self._best_name = self._best_name if self._best is not None else None
        return self._best

    def _decision(
        self, name: str, candidate: DynamicBundle, found: Judgement, *, after_both: bool
    ) -> Decision:
        served = None
        if self._served is not None:
            served = bundle_name(self._served.generation, self._channel)
        return Decision(
            at=self._clock_ms(), bundle=name, generation=candidate.generation,
            static=candidate.manifest["static"], reasons=found.reasons, held_out=found.held_out,
            served=served,
            hr_at_10=found.hr_at_10, served_hr_at_10=found.served_hr_at_10,
            popularity_types=sorted(candidate.popularity_types), after_both=after_both,
        )  # fmt: skip
