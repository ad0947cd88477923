"""Evaluates the served bundle on examples that no model has learned from."""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path

from agents.bundles.announcing import fetch_dynamic
from agents.bundles.names import bundle_name
from agents.patience import UNTIL_THERE, Pause, patiently
from agents.settings import TrainerSettings
from agents.training.quality import QualityStore
from agents.training.train_tally import TrainTally
from dynamic_layer import (
    CorruptBundle,
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    Popularity,
    Prequential,
    Saved,
)
from state import ArtifactStore, CorruptArtifact

__all__ = ["Measure"]

logger = logging.getLogger(__name__)

#: Examples that are asked about at once, and the longest time that fewer wait, in milliseconds.
TOGETHER = 64
LONGEST_MS = 5_000


class Measure:
    """The prequential measure of a trainer: follows the bundle that is served, counts, tabulates.

    The bundle is the announced one that workers load, pinned ones included. They take a second or
    so to load it, in which this is ahead of them.
    """

    def __init__(
        self,
        *,
        settings: TrainerSettings,
        dynamic: DynamicSettings,
        store: ArtifactStore,
        folder: Path,
        tally: TrainTally,
        ticks_ms: Callable[[], int],
        quality: QualityStore,
        arms: Collection[str] | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Keep the table in `<folder>/prequential` and in `quality`.

        arms: assignment of users to arms; None without arms.
        pause: waits for so many seconds between two attempts on the artifact store.
        """
        self._pause = pause
        self._channel = settings.channel
        self._table = Prequential(
            folder / "prequential",
            per_second=settings.prequential_per_s,
            history_cap=dynamic.replay.whole_history,
            popularity=dynamic.popularity,
            ticks_ms=ticks_ms,
            arms=arms,
        )
        self._on = settings.prequential_per_s > 0
        self._store, self._scratch, self._tally = store, folder / "served", tally
        self._ticks_ms = ticks_ms
        self._asked_at = ticks_ms()
        self._quality = quality
        self.serving: str | None = None

    async def fetch(self, name: str, held: DynamicBundle | None) -> DynamicBundle | None:
        """Return a bundle by its name; None, with a line in the log, if it is incomplete.

        Waits for an artifact store that fails.

        held: the one that was published last, which need not be read again.
        """
        if held is not None and name == bundle_name(held.generation, self._channel):
            return held
        try:
            return await patiently(
                lambda: fetch_dynamic(self._store, name, self._scratch),
                f"reading bundle {name}", UNTIL_THERE, self._pause,
            )  # fmt: skip
        except (CorruptArtifact, CorruptBundle) as error:
            logger.warning("the served bundle cannot be measured: bundle %s: %s", name, error)
            return None

    def serve(self, name: str, bundle: DynamicBundle | None) -> None:
        """Switch to another bundle."""
        self.serving = name
        self._table.serve(bundle)

    def sample(self, batch: ExampleBatch) -> None:
        """Collect new examples before any model learns from them."""
        self._table.sample(batch)

    @property
    def due(self) -> bool:
        """Whether enough examples wait, or some have waited for long."""
        late = self._ticks_ms() - self._asked_at >= LONGEST_MS
        return self._table.waiting >= (1 if late else TOGETHER)

    @property
    def asked(self) -> int:
        """Examples in the rows that are open."""
        return self._table.asked

    @property
    def half_lives_days(self) -> dict[str, float]:
        """Half-lives of demand by item type, as the questions so far choose them."""
        return self._table.half_lives.chosen()

    def ask(self, popularity: Popularity) -> None:
        """Ask about what waits. popularity: counts from which a head reads demand."""
        self._asked_at = self._ticks_ms()
        for row, asked in self._table.ask(popularity).items():
            self._tally.asked(row, asked)
        for reason, examples in self._table.left_out.items():
            self._tally.left_out.labels(reason).inc(examples)
        self._table.left_out.clear()

    def write(self) -> None:
        """Write the table's files, here and where a console can read them."""
        self._quality.put_days(self._table.write())

    def saved(self) -> Saved:
        """Return the rows that are open, and what is known of half-lives."""
        return self._table.saved()

    def restore(self, saved: Saved) -> None:
        """Go on with what another knew."""
        self._table.restore(saved)
