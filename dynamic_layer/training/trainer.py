"""The trainer: examples in, bundles out, continuously."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.bundles.publish import make_bundle
from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.items.features import StaticItems
from dynamic_layer.items.grown_items import NewItems
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.lists.head_learning import HeadLearning
from dynamic_layer.lists.hit_rates import hit_rates
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.fit import PopularityFit
from dynamic_layer.saved import Saved
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.training.bundle_rows import rows_for
from dynamic_layer.training.following import follow
from dynamic_layer.training.intake import ExampleIntake, Intake
from dynamic_layer.training.learner import Learner
from dynamic_layer.training.live_graph import LiveGraph
from dynamic_layer.training.renewed_weights import RenewedWeights
from dynamic_layer.training.schedule import Schedule
from dynamic_layer.training.steps import Steps, TrainingStats

__all__ = ["Trainer"]

_JUDGED = 2_048  # held-out examples that decide whether a head serves


class Trainer:
    """Learns a two-tower from examples, continually.

    Guarantees: an example is accepted once, by (topic, partition, offset); none that lies before
    the static bundle's offsets is trained on (its event would be in the HGNN's graph); memory is
    bounded by the settings; equal seeds, batches and steps give equal weights. Not thread-safe.
    """

    def __init__(
        self,
        static: StaticItems,
        settings: DynamicSettings | None = None,
        *,
        seed: int,
        ranking: bool = False,
        live: Popularity | None = None,
        first_generation: int = 1,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """static: items and vectors.

        ranking: whether a ranking head is trained beside the towers; live: counts of demand by
        others, used instead of the examples' own where it has more events;
        first_generation: number of the first bundle; clock_ms: stamps bundles.
        """
        self.settings = settings or DynamicSettings()
        self._clock_ms = clock_ms
        self._generation = first_generation
        self._seed = seed
        self._intake = ExampleIntake(self.settings)
        self._replay, self._holdout = self._intake.replay, self._intake.holdout
        self._schedule = Schedule(
            self._replay,
            self.settings.replay,
            batch_size=self.settings.batch_size,
            rng=np.random.default_rng(seed),
        )
        self._live = live
        self._ranking = (
            HeadLearning(
                self.settings.ranking, history_cap=self.settings.replay.history_cap, seed=seed
            )
            if ranking
            else None
        )
        self._fit: PopularityFit | None = None  # of the last bundle
        self._items = TrainedItems(static, use_hgnn=self.settings.use_hgnn)
        self._intake.follow(static)
        self._weights = RenewedWeights()
        self._learner = Learner(
            self.settings,
            seed=seed,
            features=self._items.features,
            types=len(self._items.types),
        )
        self._steps = Steps(self.settings, self._learner, self._holdout, seed=seed)
        self._start()

    def _start(self) -> None:
        """Begin with fresh towers, for which every example at hand is new."""
        self._learner.begin(self._items.features, len(self._items.types))
        self._schedule.restart()
        self._unseen = 0  # number of the first example that these weights never saw
        self._staged = False  # whether the first head has had its towers
        self._restored = False  # whether the head still lacks the towers of a checkpoint
        self._steps.begin()

    def add(
        self, batch: ExampleBatch, witness: Callable[[ExampleBatch], None] | None = None
    ) -> Intake:
        """Take in the examples of a batch that are new, trainable and of known items.

        witness: is shown the new ones before anything learns from them.
        """
        return self._intake.add(batch, self._items.graph_ends(), witness)

    def train(
        self, max_steps: int | None = None, max_seconds: float | None = None
    ) -> TrainingStats:
        """Train until the limits, or until each example has had its epochs.

        The limits do not decide what is learned: however training is cut into calls, the same
        examples give the same weights. With `max_seconds` the number of steps of a call depends on
        the machine, and is at least one while there is anything to learn.
        """
        start, seen = time.monotonic(), 0
        losses: list[Tensor] = []
        self._arrange()
        while (max_steps is None or len(losses) < max_steps) and (
            max_seconds is None or not losses or time.monotonic() - start < max_seconds
        ):
            self._stage()
            numbers = self._schedule.next_batch()
            if numbers is None:
                break
            examples = self._replay.take(numbers, self.settings.replay.history_cap)
            losses.append(self._steps.take(examples, self._items, self._replay))
            seen += len(numbers)
        return TrainingStats(
            steps=len(losses),
            examples=seen,
            seconds=time.monotonic() - start,
            loss=float(torch.stack(losses).mean()) if losses else float("nan"),
            pending=self._schedule.pending,
        )

    def _arrange(self) -> None:
        """Before the first step, put the examples in order of time."""
        if not (self._learner.steps or self._unseen) and self._intake.in_order_of_time():
            self._schedule.restart()
            self._steps.count_again()

    def _stage(self) -> None:
        """Freeze towers before they have seen examples that the head is to learn from.

        The first ones before the last examples at hand, and those of a checkpoint before later
        examples; the towers then go on with them.
        """
        if self._ranking is None:
            return
        if self._restored and self._learner.steps and self._schedule.pending:
            # The towers behind the last lists are not in a checkpoint: those in it replace them.
            self._restored = False
            if not self._ranking.ready:
                self._ranking.freeze(self._bundle({}), self._learned)
        if self._staged:
            return
        settings, written = self.settings.ranking, self._replay.written
        left = max(settings.first_share * written, settings.first_least)
        if self._schedule.trained >= max(1, written - left):
            self._staged = True
            self._ranking.freeze(self._bundle({}), self._learned)

    @property
    def _learned(self) -> int:
        """Number of the first example that neither towers nor item-item weights know."""
        return max(self._schedule.trained, self._unseen)

    def holdout(self) -> PaddedExamples:
        """Return the held-out examples that lie after the snapshot, oldest arrival first."""
        return self._holdout.take(self._holdout.numbers())

    def publish(self, half_lives_days: Mapping[str, float] | None = None) -> DynamicBundle:
        """Return a bundle of the current state; later training does not change it.

        half_lives_days: of popularity by item type, as `HalfLives` chose them; types that are not
        in it keep theirs.
        """
        ranking = self._ranking
        figures = {} if ranking is None else ranking.learn(self._replay, self.popularity)
        bundle = self._bundle(figures, half_lives_days)
        self._fit = PopularityFit.of(bundle.manifest["popularity"])
        head = None if self._ranking is None else self._ranking.publish(bundle)
        if self._ranking is not None and head is not None:
            bundle = replace(bundle, head=head)
            found = hit_rates(bundle, self.holdout().newest(_JUDGED), self.popularity)
            bundle.manifest["metrics"] |= {
                "held_out_hr_at_10_head": found.head, "held_out_hr_at_10_towers": found.towers
            }  # fmt: skip
            if found.towers_win:
                bundle = replace(bundle, head=None)
            bundle.manifest["reach"] = self._ranking.reach()
        if self._ranking is not None:
            self._ranking.freeze(bundle, self._learned)
        self._generation += 1
        return bundle

    @property
    def lists_made(self) -> tuple[int, int]:
        """Lists that the ranking head's lesson has made so far, and how many it makes.

        (0, 0) while it has no lesson. May be read from another thread.
        """
        return (0, 0) if self._ranking is None else self._ranking.making

    @property
    def popularity(self) -> Popularity:
        """Counts of demand: those of others where they have more events than our examples."""
        live = self._live
        known = live is not None and live.events() >= self._intake.popularity.events()
        return live if live is not None and known else self._intake.popularity

    def _bundle(
        self,
        figures: dict[str, float],
        half_lives_days: Mapping[str, float] | None = None,
    ) -> DynamicBundle:
        metrics = {"steps": self._learner.steps, "examples": self._replay.written, **figures}
        return make_bundle(
            self._items,
            self._learner.published(),
            self.popularity,
            self.holdout(),
            self.settings,
            newest_ms=self._intake.newest_ms,
            seed=self._seed,
            last_fit=self._fit,
            half_lives_days=half_lives_days or {},
            manifest={
                "generation": self._generation,
                "created_at": self._clock_ms(),
                "types": self._items.types,
                "unseen_from": self._intake.unseen_from(self._items.graph_ends()),
                "metrics": metrics,
            },
            weights=self._weights.until(
                self._items.static, self._replay, self._learned, self.settings.ranking
            ),
            sequence=self._steps.sequence(self._items, self._replay),
        )

    def item_rows(
        self, bundle: DynamicBundle
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.float32]] | None:
        """Return item keys u64 [n], vectors f32 [n, d] and biases f32 [n] for workers of a bundle.

        See `rows_for`. None where the bundle is of another static bundle or form, or there are no
        examples.
        """
        return rows_for(
            bundle, self._items, self._learner.published(), self._intake, self.popularity,
            self.settings,
        )  # fmt: skip

    @property
    def graph(self) -> LiveGraph | None:
        """Follows the examples after the static bundle; None where it is off."""
        return self._intake.graph

    def adopt(self, static: StaticItems) -> None:
        """Go over to a new static bundle, keeping the towers' weights (warm start).

        Its vectors are turned into the space of those in use, and the towers follow what they said
        of these, as far as the settings say so. Examples that came before its snapshot are then
        forgotten; those after it are trained on again only if the settings say so. The towers grow
        where there are new item types. Where the widths of the vectors changed, they start again.
        """
        settings, before = self.settings.adoption, self._items
        self._items = before.next(static, align=settings.align)
        old = self._learner.published()
        fits = before.fits(self._items) and self._learner.grow(before.types, self._items.types)
        if fits and self._learner.steps:  # fresh towers have said nothing yet
            follow(
                self._learner, old, before, self._items, self._replay,
                steps=settings.follow_steps, batch_size=self.settings.batch_size,
                history_cap=self.settings.replay.history_cap,
                seed=self._seed + self._learner.steps,
            )  # fmt: skip
        self._adopted(fits=fits)

    @property
    def static(self) -> StaticItems:
        """The static bundle, with the items that came after it."""
        return self._items.static

    @property
    def types(self) -> list[str]:
        """Names of the item types that the towers know."""
        return self._items.types

    def knows(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which items can be learned, bool [m]."""
        return self._items.rows(keys) >= 0

    def lasting(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which items the static bundle has, bool [m]."""
        rows = self._items.rows(keys)
        return np.asarray((rows >= 0) & (rows < self._items.static_items))

    def grow(self, new: NewItems) -> int:
        """Learn items that came after the static bundle from now on; return how many were new.

        Items of types that the towers do not know wait for the next static bundle.
        """
        before = len(self._items.features)
        self._items = self._items.grown(new)
        self._steps.count_again()
        return len(self._items.features) - before

    def _adopted(self, *, fits: bool) -> None:
        """Keep what came after the new snapshot; fits: whether the towers can read its vectors."""
        ends = self._items.graph_ends()
        after = {
            name: self._intake.after(memory.take(memory.numbers()), ends)
            for name, memory in self.memories.items()
        }
        self._holdout.keep(after["holdout"])
        self._schedule.keep(after["replay"], relearn=self.settings.adoption.relearn)
        self._intake.follow(self._items.static)
        if self._ranking is not None:
            self._ranking.thaw()
        # The towers have seen the examples at hand: only later ones teach the head again.
        self._unseen, self._staged = self._replay.written, True
        if not fits:
            self._start()
        self._steps.count_again()

    @property
    def memories(self) -> dict[str, Replay]:
        """The examples held: those that are trained on, and those that are held out."""
        return {"replay": self._replay, "holdout": self._holdout}

    @property
    def sources(self) -> list[tuple[str, int]]:
        """The topics and partitions of the examples, by the number that `memories` give them."""
        return list(self._intake.sources)

    def saved(self) -> Saved:
        """Return all that later training depends on, but for the examples in `memories`."""
        rotation = self._items.rotation
        own = Saved(
            arrays={} if rotation is None else {"rotation": rotation},
            values={
                "static": self._items.name,
                "types": self._items.types,
                "fit": None if self._fit is None else asdict(self._fit),
                "generation": self._generation,
                **self._intake.notes(),
                "unseen": self._unseen,
                "staged": self._staged,
            },
        )
        parts = {
            "own": own,
            "learner": self._learner.saved(),
            "schedule": self._schedule.saved(),
            **self._intake.saved(),
            **self._steps.saved(),
        }
        if self._ranking is not None:
            parts["ranking"] = self._ranking.saved()
        return Saved.joined(parts)

    def restore(self, saved: Saved) -> None:
        """Go on where another trainer was; `memories` must hold its examples already.

        If that one learned on another static bundle, this one's is adopted now, with its vectors
        as they are. Raises ValueError, KeyError or RuntimeError for what another form of trainer
        saved.
        """
        own, arrays = saved.part("own").values, saved.part("own").arrays
        same = own["static"] == self._items.name
        if same and "rotation" in arrays:
            self._items = self._items.turned_by(arrays["rotation"])
        # Checkpoints of earlier versions know of no fit.
        self._fit = PopularityFit.of(own.get("fit"))
        self._generation = max(self._generation, int(own["generation"]))
        self._intake.restore(own, saved, self._items.static)
        self._schedule.restore(saved.part("schedule"))
        self._unseen, self._staged = int(own["unseen"]), bool(own["staged"])
        if self._ranking is not None and "ranking" in saved.values:
            self._ranking.restore(saved.part("ranking"))
        self._steps.restore(saved)
        fits = self._learner.restore(saved.part("learner")) and own["types"] == self._items.types
        if not same or not fits:
            self._adopted(fits=fits)
        self._restored = same and fits and self._staged
