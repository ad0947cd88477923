"""Sends item rows that changed since the last bundle, between bundles."""

import logging

from agents.bundles.rows import rows_key
from agents.outputs import Outputs
from agents.settings import TrainerSettings
from agents.training.train_tally import TrainTally
from dynamic_layer import ChangedRows, DynamicBundle, LiveGraphSettings, RowDelta, Trainer
from streams import TopicSettings

__all__ = ["RowSender"]

logger = logging.getLogger(__name__)


class RowSender:
    """Decides when changed rows are due, and writes them to the rows topic.

    They are due after a number of steps, so that what is sent depends on no machine's speed; and
    when training comes to rest or a time has passed, if there was a step, or if the live graph has
    examples that are in no row. What it puts off waits for that time. Nothing is sent before a
    bundle was announced, nor after the gate refused one: then workers serve the bundle as it was
    judged until the next one.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        graph: LiveGraphSettings,
        topics: TopicSettings,
        outputs: Outputs,
        tally: TrainTally,
    ) -> None:
        """Write through `outputs`; graph: if it is on, examples change rows without a step."""
        self._settings, self._topics = settings, topics
        self._outputs, self._tally = outputs, tally
        self._rows: ChangedRows | None = None
        self._steps, self._sent_at = 0, 0
        self._live_graph = graph.enabled
        if graph.enabled and not settings.rows_every_steps:
            logger.warning("dynamic.live_graph needs trainer.rows_every_steps: no rows are sent")
        self._counted_at: int | None = None  # when the oldest example came that is in no row
        self._behind = False

    def serve(self, bundle: DynamicBundle, now_ms: int) -> None:
        """Send rows of another bundle from now on; now_ms: in ticks."""
        if self._settings.rows_every_steps:
            self._rows = ChangedRows(bundle, threshold=self._settings.rows_threshold)
            self._steps, self._sent_at = 0, now_ms
            self.counted(now_ms)  # the bundle's own vectors are those of its snapshot

    @property
    def steps_left(self) -> int | None:
        """Steps until rows are due; None where none will be."""
        return None if self._rows is None else self._settings.rows_every_steps - self._steps

    def learned(self, steps: int) -> None:
        """Note optimiser steps."""
        self._steps += steps

    def counted(self, now_ms: int) -> None:
        """Note that examples came; now_ms: in ticks."""
        if self._live_graph and self._rows is not None and self._counted_at is None:
            self._counted_at = now_ms

    def due(self, now_ms: int, *, resting: bool) -> bool:
        """Whether rows are to be sent; now_ms: in ticks; resting: nothing is left to learn."""
        if self._rows is None or (not self._steps and self._counted_at is None):
            return False
        late = now_ms - self._sent_at >= self._settings.rows_within_s * 1000
        ready = resting and not self._behind
        return ready or late or self._steps >= self._settings.rows_every_steps

    def changed(self, trainer: Trainer, now_ms: int) -> list[tuple[int, RowDelta]]:
        """Return what is to be sent, with slots; now_ms: UTC. It computes every item's vector."""
        rows = None if self._rows is None else trainer.item_rows(self._rows.bundle)
        if rows is not None and trainer.graph is not None and trainer.graph.last is not None:
            self._behind = trainer.graph.last.waiting > 0
            self._tally.followed(trainer.graph.last)
        return [] if rows is None or self._rows is None else [*self._rows.deltas(*rows, now_ms)]

    async def send(self, deltas: list[tuple[int, RowDelta]], now_ms: int) -> None:
        """Write deltas in their order; now_ms: in ticks."""
        self._steps, self._sent_at = 0, now_ms
        if self._counted_at is not None:
            self._tally.graph_lag.set((now_ms - self._counted_at) / 1000)
            self._counted_at = self._counted_at if self._behind else None
        for slot, delta in deltas:
            value = delta.pack()
            await self._outputs.send(
                self._topics.rows, rows_key(self._settings.channel, slot), value
            )
            self._tally.rows_sent.inc(len(delta.keys))
            self._tally.row_deltas.inc()
            self._tally.row_bytes.inc(len(value))
        if deltas:
            await self._outputs.flush()

    async def withdraw(self, now_ms: int, ticks_ms: int) -> None:
        """Have workers serve the bundle's own rows, and send no more of it."""
        if self._rows is not None:
            await self.send([*self._rows.withdrawn(now_ms)], ticks_ms)
        self._rows = None
