"""Where a trainer begins: with new weights, or with those of a checkpoint."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.bundles.announcing import fetch_static
from agents.bundles.names import next_generation
from agents.patience import UNTIL_THERE, Aside, Pause, patiently
from agents.settings import TrainerSettings
from agents.training.measure import Measure
from agents.training.train_tally import TrainTally
from dynamic_layer import (
    CorruptCheckpoint,
    DynamicSettings,
    LivePopularity,
    Saved,
    Trainer,
    TrainerCheckpoints,
)
from state import ArtifactStore, CorruptArtifact
from static_layer import BundleError, StaticBundle

__all__ = ["Continuity", "Restored"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A trainer of a checkpoint.

    static: name of its static bundle. notes: what `Continuity.write` was told. aligned: whether it
    is the bundle that the trainer learned on.
    """

    trainer: Trainer
    static: str
    notes: Saved
    aligned: bool


class Continuity:
    """Makes trainers on static bundles, writes their checkpoints and begins again from these."""

    def __init__(
        self,
        settings: TrainerSettings,
        dynamic: DynamicSettings,
        *,
        store: ArtifactStore,
        folder: Path,
        clock_ms: Callable[[], int],
        ticks_ms: Callable[[], int],
        tally: TrainTally,
        measure: Measure,
        aside: Aside,
        live: LivePopularity | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Keep checkpoints and scratch files below `folder`; see `Train` for the others."""
        self._settings, self._dynamic, self._live = settings, dynamic, live
        self._store, self._folder = store, folder
        self._clock_ms, self._ticks_ms, self._pause = clock_ms, ticks_ms, pause
        self._tally, self._measure, self._aside = tally, measure, aside
        self._checkpoints = TrainerCheckpoints(
            folder / "checkpoints", keep=settings.keep_checkpoints
        )
        self._written_at = ticks_ms()
        self._written: object = None  # what was new in the last checkpoint

    async def static_bundle(self, name: str) -> StaticBundle | None:
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

    async def names(self, kind: str) -> Sequence[str]:
        """Bundles of a kind in the store; waits for a store that fails."""
        return await patiently(
            lambda: self._store.names(kind), f"listing {kind} bundles", UNTIL_THERE, self._pause
        )

    def new_trainer(self, static: StaticBundle, dynamic: Sequence[str]) -> Trainer:
        """Make a trainer; dynamic: names of the bundles before its first one."""
        return Trainer(
            static,
            self._dynamic,
            seed=self._settings.seed,
            ranking=self._dynamic.ranking.enabled,
            live=self._live,
            first_generation=next_generation(dynamic, self._settings.channel),
            clock_ms=self._clock_ms,
        )

    async def restored(self) -> Restored | None:
        """Return the trainer of the newest complete checkpoint; None if there is none."""
        for checkpoint in self._checkpoints.newest():
            serial = checkpoint.manifest["serial"]
            notes = checkpoint.notes.part("agent")
            learned_on = notes.values["static"]
            # The one that it learned on may have been pruned: then the newest is adopted.
            stored = await self.names("static")
            names = dict.fromkeys([learned_on, *reversed(stored)])
            for name in names:
                static = await self.static_bundle(name)
                if static is not None:
                    break
            else:
                logger.error("checkpoint %d is unusable without a static bundle", serial)
                return None
            trainer = self.new_trainer(static, await self.names("dynamic"))
            try:
                await asyncio.to_thread(checkpoint.restore, trainer)
            except CorruptCheckpoint as error:
                logger.error("checkpoint %d is skipped: %s", serial, error)
                continue
            self._measure.restore(checkpoint.notes.part("measure"))
            if name != learned_on:
                logger.warning("static bundle %s is missing; vectors are not aligned", learned_on)
            logger.info("continuing from checkpoint %d, on static bundle %s", serial, name)
            return Restored(trainer=trainer, static=name, notes=notes, aligned=name == learned_on)
        logger.info("no checkpoint: starting with new weights")
        return None

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is so long ago that the next one is due."""
        return self._ticks_ms() - self._written_at >= self._settings.checkpoint_every_s * 1000

    def noted(self, notes: Saved) -> None:
        """Take notes, as of `write`, for those of the last checkpoint."""
        self._written = self._news_of(notes)

    async def write(self, trainer: Trainer, notes_now: Callable[[], Saved]) -> None:
        """Write a checkpoint if anything is new; a failure is reported and training goes on.

        notes_now: returns what the checkpoint holds beside the trainer and the measure.
        """
        self._written_at = self._ticks_ms()
        await self._aside(lambda: self._measure.ask(trainer.popularity))
        own = notes_now()
        news = self._news_of(own)
        if news == self._written:
            return
        try:
            notes = Saved.joined({"agent": own, "measure": self._measure.saved()})
            await self._aside(self._measure.write)
            seconds = await self._aside(lambda: self._checkpoints.write(trainer, notes))
        except OSError as error:
            logger.error("the checkpoint could not be written; retrying at the next one: %s", error)
            self._tally.checkpoints_failed.inc()
            return
        self._written = news
        self._tally.checkpoints.inc()
        self._tally.checkpoint_seconds.set(seconds)
        self._tally.checkpointed_at.set(self._written_at / 1000)

    def _news_of(self, notes: Saved) -> object:
        """What differs between two checkpoints if anything does."""
        return notes.values, self._measure.asked
