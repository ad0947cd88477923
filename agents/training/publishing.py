"""Judges the trainer's bundles, and announces those that may serve."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from agents.bundles.announcements import announced_names, newest_announcements
from agents.bundles.announcing import announce
from agents.bundles.names import bundle_name
from agents.outputs import Outputs
from agents.patience import Aside, Pause
from agents.settings import TrainerSettings
from agents.training.cadence import Cadence
from agents.training.measure import Measure
from agents.training.pending import Pending
from agents.training.quality import Decision, QualityStore
from agents.training.row_sender import RowSender
from agents.training.train_tally import TrainTally
from dynamic_layer import (
    DynamicBundle,
    DynamicSettings,
    HeldOut,
    Judgement,
    Trainer,
    judge,
    serve_popularity,
)
from state import ArtifactStore
from streams import LogRecord, ModelAnnouncement, TopicSettings, announcement_key

__all__ = ["FollowedBundles", "Publisher", "announced_figures"]

logger = logging.getLogger(__name__)


def announced_figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of a manifest that an announcement holds, with how many were asked.

    >>> announced_figures({"prequential_hr_at_10": 1.0, "prequential_examples": 2.0, "steps": 9})
    {'prequential_hr_at_10': 1.0, 'prequential_examples': 2.0}
    """
    return {n: v for n, v in metrics.items() if "hr_at_10" in n or n == "prequential_examples"}


class Publisher:
    """Holds each bundle against the served one and the best, and publishes what the gate accepts.

    served: the last one that was published, or was found announced after a restart. best_name:
    name of the one that no later one has surpassed.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        dynamic: DynamicSettings,
        topics: TopicSettings,
        *,
        store: ArtifactStore,
        folder: Path,
        outputs: Outputs,
        clock_ms: Callable[[], int],
        ticks_ms: Callable[[], int],
        tally: TrainTally,
        quality: QualityStore,
        rows: RowSender,
        measure: Measure,
        cadence: Cadence,
        aside: Aside,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Keep scratch files below `folder`; see `Train` for the others."""
        self._settings, self._dynamic, self._topics = settings, dynamic, topics
        self._store, self._folder, self._outputs = store, folder, outputs
        self._clock_ms, self._ticks_ms, self._pause = clock_ms, ticks_ms, pause
        self._tally, self._quality, self._rows = tally, quality, rows
        self._measure, self._cadence, self._aside = measure, cadence, aside
        self._channel = settings.channel
        self.served: DynamicBundle | None = None
        self.best_name: str | None = None
        self._best: DynamicBundle | None = None  # of all that were published

    async def publish(
        self,
        trainer: Trainer,
        pending: Pending,
        *,
        examples: int,
        wanted: Callable[[], Awaitable[Iterable[str | None]]],
    ) -> None:
        """Judge a bundle, and announce it if it may serve.

        examples: accepted so far; wanted: asked for names of bundles that stay in the store.
        """

        async def stay() -> set[str]:
            return {name for name in (*await wanted(), self.best_name) if name}

        candidate = pending.bundle
        asked, after_both = pending.questions(trainer)
        held_out = HeldOut(asked, trainer.popularity)
        against = await self._aside(lambda: serve_popularity(candidate, held_out))
        served, best = self.served, await self.best_earlier()
        found = await self._aside(
            lambda: judge(candidate, served, held_out, self._dynamic.gate, best)
        )
        name = bundle_name(candidate.generation, self._channel)
        decision = self._decision(name, candidate, found, after_both=after_both)
        await self._aside(lambda: self._quality.decided(decision))
        if found.reasons:
            logger.error("bundle %s is refused: %s", name, "; ".join(found.reasons))
            self._tally.refused.inc()
            await self._rows.withdraw(self._clock_ms(), self._ticks_ms())
            return
        made = candidate.manifest["metrics"]
        # In the manifest too: a name means one number wherever it is shown.
        made["held_out_hr_at_10"] = await self._aside(lambda: held_out.served_hit_rate(candidate))
        metrics = {
            **announced_figures(made),
            "ranking_head": float(candidate.head is not None),
            "popularity_types": float(len(candidate.popularity_types)),
            "examples": float(examples),
            "resting": float(pending.resting),
        }
        try:
            await announce(
                candidate, name, metrics,
                store=self._store, scratch=self._folder / "publish", outputs=self._outputs,
                topics=self._topics, now_ms=self._clock_ms(), keep=self._settings.keep_bundles,
                wanted=stay,
                channel=self._channel,
                pause=self._pause,
            )  # fmt: skip
        except OSError as error:
            logger.error("bundle %s is not published; retrying with the next one: %s", name, error)
            self._tally.unpublished.inc()
            return
        self._tally.compared(against)
        if candidate.popularity_types:
            logger.warning(
                "%s serves live popularity for %s: its own lists are behind it",
                name, ", ".join(sorted(candidate.popularity_types)),
            )  # fmt: skip
        self.served = candidate
        self._rows.serve(candidate, self._ticks_ms())
        if found.best or self._best is None:
            self._best, self.best_name = candidate, name
        self._tally.published.inc()
        self._tally.published_at.set(self._cadence.published_at / 1000)
        self._tally.hit_ratio.set(metrics["held_out_hr_at_10"])
        logger.info("published %s: %s", name, metrics)

    async def best_earlier(self) -> DynamicBundle | None:
        """Return the bundle that no later one has surpassed; read again after a restart."""
        if self._best is None and self.best_name is not None:
            self._best = await self._measure.fetch(self.best_name, self.served)
            self.best_name = self.best_name if self._best is not None else None
        return self._best

    def _decision(
        self, name: str, candidate: DynamicBundle, found: Judgement, *, after_both: bool
    ) -> Decision:
        served = None
        if self.served is not None:
            served = bundle_name(self.served.generation, self._channel)
        return Decision(
            at=self._clock_ms(), bundle=name, generation=candidate.generation,
            static=candidate.manifest["static"], reasons=found.reasons, held_out=found.held_out,
            served=served,
            hr_at_10=found.hr_at_10, served_hr_at_10=found.served_hr_at_10,
            popularity_types=sorted(candidate.popularity_types), after_both=after_both,
        )  # fmt: skip


class FollowedBundles:
    """Names of the bundles that are announced: of one channel, and of all that a store must keep.

    pinned: the one that a person has fixed, until the pin is removed; trained: the newest one.
    """

    def __init__(
        self,
        channel: str,
        read_models: Callable[[], Awaitable[Sequence[LogRecord]]] | None = None,
    ) -> None:
        """read_models: reads the whole models topic; None where it cannot be read."""
        self._channel, self._read_models = channel, read_models
        self._wanted: dict[bytes, str | None] = {}  # by all channels, by key of the models topic
        self.pinned: str | None = None
        self.trained: str | None = None

    def take(self, records: Sequence[LogRecord]) -> ModelAnnouncement | None:
        """Take records of the models topic; return the newest static bundle among them."""
        news = newest_announcements(records, self._channel)
        self._wanted |= announced_names(records)
        if "pinned" in news:
            self.pinned = pin.name if (pin := news["pinned"]) else None
        if dynamic := news.get("dynamic"):
            self.trained = dynamic.name
        return news.get("static")

    @property
    def served(self) -> str | None:
        """The bundle that the channel's workers serve; that of the default one without its own."""
        pinned, trained = (announcement_key(kind) for kind in ("pinned", "dynamic"))
        own = self.pinned or self.trained
        return own or self._wanted.get(pinned) or self._wanted.get(trained)

    async def not_to_prune(self) -> set[str | None]:
        """Names of the bundles that some channel serves or may go back to.

        Reads the topic: after a restart, or just after a person pinned a bundle, its announcements
        may not have arrived here yet. Raises what the reading raises.
        """
        wanted = set(self._wanted.values())
        if self._read_models is not None:
            wanted |= set(announced_names(await self._read_models()).values())
        return wanted
