"""A trainer decides on the canaries of its channel: reads the measurements and sets the share.

The share in force is the one on the models topic, which workers follow. It is read there before
each decision, so that neither a restart nor a manual change is missed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiokafka.errors import KafkaError

from agents.bundles.announcements import announcement_of, newest_shares
from agents.experiments.arms import ArmSettings, ExperimentSettings
from agents.experiments.canary import FALLS_BY, Evidence, Move, decide, evidence
from agents.experiments.recent import Recent
from agents.outputs import Outputs
from agents.patience import monotonic_ms
from agents.training.quality import EveryChannel
from agents.training.train_tally import TrainTally
from dynamic_layer import KEPT_DAYS
from state import ArtifactStore
from streams import AdminError, ArmShare, LogRecord, TopicSettings, encode

__all__ = ["Canaries", "Canary"]

logger = logging.getLogger(__name__)

#: Time between two questions whether a look is due, in seconds: so long the end may wait.
REST_S = 0.2
#: Newest days of events that count.
DAYS = 14

ReadModels = Callable[[], Awaitable[Sequence[LogRecord]]]


class Canaries:
    """The canaries of one channel, on which its trainer decides."""

    def __init__(
        self,
        experiments: ExperimentSettings,
        channel: str,
        *,
        store: ArtifactStore,
        topics: TopicSettings,
        outputs: Outputs,
        tally: TrainTally,
        clock_ms: Callable[[], int],
        ticks_ms: Callable[[], int] = monotonic_ms,
        read_models: ReadModels | None,
    ) -> None:
        """read_models: reads the models topic whole; None decides on nothing."""
        self.canaries = [
            Canary(
                arm, experiments, store=store, topics=topics, outputs=outputs, tally=tally,
                clock_ms=clock_ms, ticks_ms=ticks_ms, read_models=read_models,
            )
            for arm in experiments.arms
            if read_models is not None and arm.is_canary and arm.channel == channel
        ]  # fmt: skip

    async def run(self, stopping: asyncio.Event) -> None:
        """Look at each as often as it says, until `stopping` is set; raises what a look died of."""
        while not stopping.is_set():
            for canary in self.canaries:
                await canary.look()
            await asyncio.sleep(REST_S)


class Canary:
    """One canary arm. Decisions are logged with the reasons, and announced when they change."""

    def __init__(
        self,
        arm: ArmSettings,
        experiments: ExperimentSettings,
        *,
        store: ArtifactStore,
        topics: TopicSettings,
        outputs: Outputs,
        tally: TrainTally,
        clock_ms: Callable[[], int],
        ticks_ms: Callable[[], int] = monotonic_ms,
        read_models: ReadModels,
    ) -> None:
        """Decide on `arm` of `experiments`."""
        self._arm, self._experiments = arm, experiments
        self._quality = EveryChannel(store, keep_days=KEPT_DAYS)
        self._topics, self._outputs, self._tally = topics, outputs, tally
        self._clock_ms, self._ticks_ms, self._read_models = clock_ms, ticks_ms, read_models
        self._recent = Recent(max(FALLS_BY, arm.canary.questions))
        self._looked_at: int | None = None
        self._said: list[str] = []

    async def look(self) -> None:
        """Decide, if the last decision is long enough ago.

        Where the log or the store cannot be read, the share stays until the next look.
        """
        tick = self._ticks_ms()
        if self._looked_at is not None and tick - self._looked_at < self._arm.canary.look_s * 1000:
            return
        self._looked_at, now = tick, self._clock_ms()
        try:
            records = await self._read_models()
            held = newest_shares(records, self._experiments.salt).get(self._arm.name)
            after = held.after_generation if held else self._served_generation(records) - 1
            found = await asyncio.to_thread(self._evidence, after)
        except (AdminError, KafkaError, OSError) as error:
            logger.warning("canary %s keeps its share: %s", self._arm.name, error)
            return
        before = Move(share=held.share, state=held.state, reasons=held.reasons) if held else None
        changed_at = held.changed_at if held else now
        move = decide(self._arm, before, changed_at, found, now)
        self._tally.canary_share.labels(self._arm.name).set(move.share)
        self._tally.canary_stopped.labels(self._arm.name).set(move.state == "stopped")
        self._log(before, move)
        if move.share != (before.share if before else 0.0) or (
            before and move.state != before.state
        ):
            said = ArmShare(
                arm=self._arm.name, salt=self._experiments.salt, share=move.share,
                state=move.state, started_at=held.started_at if held else now, changed_at=now,
                after_generation=max(0, after), reasons=move.reasons,
            )  # fmt: skip
            await self._outputs.send(self._topics.models, said.key, encode(said))
            await self._outputs.flush()

    def _served_generation(self, records: Sequence[LogRecord]) -> int:
        found = 0
        for record in records:
            said = announcement_of(record)
            if said and said.channel == self._arm.channel and said.kind == "dynamic":
                found = said.generation
        return found

    def _evidence(self, after_generation: int) -> Evidence:
        return evidence(
            self._quality.rows(DAYS),
            self._quality.of(self._arm.channel).decisions(),
            control=self._experiments.control.name,
            arm=self._arm,
            after_generation=after_generation,
            recent=self._recent,
        )

    def _log(self, before: Move | None, move: Move) -> None:
        name, reasons = self._arm.name, "; ".join(move.reasons)
        share = before.share if before else 0.0
        if move.state == "stopped" and before and before.state != "stopped":
            logger.error("canary %s falls from %.3f of the users to none: %s", name, share, reasons)
        elif move.share != share:
            logger.info("canary %s: from %.3f to %.3f: %s", name, share, move.share, reasons)
        elif _kinds(move.reasons) != self._said:
            logger.info("canary %s stays at %.3f: %s", name, share, reasons)
        self._said = _kinds(move.reasons)


def _kinds(reasons: Sequence[str]) -> list[str]:
    """Reasons without their figures, which change at each look."""
    return ["".join(c for c in reason if not c.isdigit()) for reason in reasons]
