"""The trainer: examples in, bundles out, continuously."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.bundles.publish import counted_to, demand_bias, make_bundle
from dynamic_layer.examples.batch import ExampleBatch, kind_code
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import PaddedExamples, Replay, pad
from dynamic_layer.examples.same_user import later_events
from dynamic_layer.examples.seen_offsets import SeenOffsets
from dynamic_layer.examples.shares import hashed_share
from dynamic_layer.head.ranking_head import RankingHead
from dynamic_layer.items.features import ItemRows, StaticItems
from dynamic_layer.items.grown_items import NewItems
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.lists.head_learning import HeadLearning, hit_rates
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.fit import PopularityFit, of_items
from dynamic_layer.saved import Saved
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.training.following import follow
from dynamic_layer.training.learner import Learner
from dynamic_layer.training.schedule import Schedule
from static_layer.procrustes import procrustes

_JUDGED = 2_048  # held-out examples that decide whether a head serves
_TURNED_BY = 1_024  # examples whose users tell how the towers have turned since a bundle


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What became of the examples of a batch.

    accepted: kept for training; held_out: kept for judging only; duplicate: seen before;
    before_snapshot: older than the static bundle, whose graph may contain them;
    unwanted: repeats and weak signals that the settings do not train on.
    """

    accepted: int
    held_out: int
    duplicate: int
    before_snapshot: int
    unwanted: int


@dataclass(frozen=True, kw_only=True)
class TrainingStats:
    """What a call of `train` did.

    steps: optimiser steps; examples: examples in them; seconds: wall time;
    loss: mean loss, nan without steps; pending: new examples not yet trained on.
    """

    steps: int
    examples: int
    seconds: float
    loss: float
    pending: int


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
        replay = self.settings.replay
        self._replay = Replay(
            capacity=replay.capacity, history_cap=replay.whole_history, entries=replay.entries
        )
        self._holdout = Replay(capacity=replay.holdout_size, history_cap=replay.whole_history)
        self._schedule = Schedule(
            self._replay,
            replay,
            batch_size=self.settings.batch_size,
            rng=np.random.default_rng(seed),
        )
        self._seen = SeenOffsets()
        self._sources: dict[tuple[str, int], int] = {}
        self._next: dict[tuple[str, int], int] = {}  # behind the greatest offset taken
        self._popularity = Popularity(
            bucket_hours=self.settings.popularity.bucket_hours, window_days=replay.window_days
        )
        self._live = live
        self._ranking = (
            HeadLearning(self.settings.ranking, history_cap=replay.history_cap, seed=seed)
            if ranking
            else None
        )
        self._newest_ms = 0
        self._fit: PopularityFit | None = None  # of the last bundle
        self._items = TrainedItems(static, use_hgnn=self.settings.use_hgnn)
        self._learner = Learner(
            self.settings,
            seed=seed,
            features=self._items.features,
            types=len(self._items.types),
        )
        self._start()

    def _start(self) -> None:
        """Begin with fresh towers, for which every example at hand is new."""
        self._learner.begin(self._items.features, len(self._items.types))
        self._schedule.restart()
        self._unseen = 0  # number of the first example that these weights never saw
        self._staged = False  # whether the first head has had its towers
        self._restored = False  # whether the head still lacks the towers of a checkpoint
        self._counted = -1  # examples in the replay when frequencies were counted
        self._frequency = torch.zeros(0)

    def add(
        self, batch: ExampleBatch, witness: Callable[[ExampleBatch], None] | None = None
    ) -> Intake:
        """Take in the examples of a batch that are new, trainable and of known items.

        witness: is shown the new ones before anything learns from them.
        """
        fresh = self._seen.mark(batch.topic, batch.partition, batch.offset)
        duplicate = len(batch) - int(fresh.sum())
        batch = batch.take(fresh)
        if witness is not None:
            witness(batch)
        self._newest_ms = max(self._newest_ms, int(batch.timestamp.max(initial=0)))
        name = (batch.topic, batch.partition)
        source = self._sources.setdefault(name, len(self._sources))
        self._next[name] = max(self._next.get(name, 0), int(batch.offset.max(initial=-1)) + 1)
        examples = pad(batch, self.settings.replay.whole_history, source)
        strong = examples.strong
        self._popularity.add(
            examples.target[strong], examples.timestamp[strong], examples.country[strong]
        )
        after = self._after_snapshot(examples)
        # A hash, not a draw: the same examples are held out in every run and after a restart.
        held = hashed_share(batch.offset, self.settings.replay.holdout_share)
        held &= strong & ~examples.repeat & after
        wanted = ~examples.repeat | hashed_share(batch.offset, self.settings.loss.repeat_share)
        wanted &= self._weights(examples) > 0
        kept = after & wanted & ~held
        self._replay.append(examples.take(kept))
        self._holdout.append(examples.take(held))
        return Intake(
            accepted=int(kept.sum()),
            held_out=int(held.sum()),
            duplicate=duplicate,
            before_snapshot=int((~after).sum()),
            unwanted=int((after & ~wanted & ~held).sum()),
        )

    def _after_snapshot(self, examples: PaddedExamples) -> NDArray[np.bool_]:
        """Return which examples the static bundle's graph cannot contain, bool [b]."""
        first, ends = np.zeros(max(1, len(self._sources)), np.int64), self._items.graph_ends()
        for (topic, partition), source in self._sources.items():
            first[source] = ends.get(topic, {}).get(str(partition), 0)
        return examples.offset >= first[examples.source]

    def _weights(self, examples: PaddedExamples) -> NDArray[np.float32]:
        loss = self.settings.loss
        weights = np.where(examples.strong, 1.0, loss.weak_weight).astype(np.float32)
        for own in loss.kind_weights:
            weights[examples.kind == kind_code(own.kind)] = own.weight
        return weights

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
            losses.append(self._step(self._replay.take(numbers, self.settings.replay.history_cap)))
            seen += len(numbers)
        return TrainingStats(
            steps=len(losses),
            examples=seen,
            seconds=time.monotonic() - start,
            loss=float(torch.stack(losses).mean()) if losses else float("nan"),
            pending=self._schedule.pending,
        )

    def _arrange(self) -> None:
        """Before the first step, put the examples in order of time.

        Which partition was read first depends on the load of machines; what is learned must not.
        """
        if self._learner.steps or self._unseen:
            return
        for memory in self.memories.values():
            order = memory.in_time(self.sources)
            if (np.diff(order) < 0).any():
                memory.arrange(order)
                self._schedule.restart()
                self._counted = -1

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
                trained = max(self._schedule.trained, self._unseen)
                self._ranking.freeze(self._bundle(None, {}), trained)
        if self._staged:
            return
        share = self.settings.ranking.first_share
        if self._schedule.trained >= (1 - share) * self._replay.written > 0:
            self._staged = True
            self._ranking.freeze(self._bundle(None, {}), self._schedule.trained)

    def _step(self, examples: PaddedExamples) -> Tensor:
        target = torch.from_numpy(self._items.rows(examples.target))
        known = target >= 0
        later = None
        if self.settings.loss.mask_next:
            earlier, after = (torch.from_numpy(part) for part in later_events(examples))
            both = known[earlier] & known[after]
            later = earlier[both], after[both]
        return self._learner.step(
            user_features(examples, self._items.rows, self.settings.replay.history_cap),
            target.clamp(min=0),
            torch.from_numpy(self._weights(examples)) * known,
            self._items.features,
            self._frequencies() if self.settings.loss.log_q else None,
            later,
        )

    def _frequencies(self) -> Tensor:
        if self._counted != self._replay.written:
            rows = self._items.rows(self._replay.targets())
            counts = np.bincount(rows[rows >= 0], minlength=len(self._items.features))
            self._frequency = torch.from_numpy(counts / max(1, counts.sum())).float()
            self._counted = self._replay.written
        return self._frequency

    def _unseen_from(self) -> dict[str, dict[str, int]]:
        """Return, by topic and partition, the offset from which on nothing was learned from.

        Neither by the towers nor in the graph behind the HGNN's vectors.
        """
        found = self._items.graph_ends()
        for (topic, partition), end in self._next.items():
            ends = found.setdefault(topic, {})
            ends[str(partition)] = max(end, ends.get(str(partition), 0))
        return found

    def holdout(self) -> PaddedExamples:
        """Return the held-out examples that lie after the snapshot, oldest arrival first."""
        return self._holdout.take(self._holdout.numbers())

    def publish(self, half_lives_days: Mapping[str, float] | None = None) -> DynamicBundle:
        """Return a bundle of the current state; later training does not change it.

        half_lives_days: of popularity by item type, as `HalfLives` chose them; types that are not
        in it keep theirs.
        """
        figures, head = {}, None
        if self._ranking is not None:
            figures = self._ranking.learn(self._replay, self.popularity)
            head = self._ranking.publish()
        bundle = self._bundle(head, figures, half_lives_days)
        self._fit = PopularityFit.of(bundle.manifest["popularity"])
        if head is not None:
            found = hit_rates(bundle, self.holdout().newest(_JUDGED), self.popularity)
            bundle.manifest["metrics"] |= {
                "held_out_hr_at_10_head": found.head, "held_out_hr_at_10_towers": found.towers
            }  # fmt: skip
            if not found.head_wins:
                bundle = replace(bundle, head=None)
        if self._ranking is not None:
            self._ranking.freeze(bundle, max(self._schedule.trained, self._unseen))
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
        known = live is not None and live.events() >= self._popularity.events()
        return live if live is not None and known else self._popularity

    def _bundle(
        self,
        head: RankingHead | None,
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
            newest_ms=self._newest_ms,
            seed=self._seed,
            last_fit=self._fit,
            half_lives_days=half_lives_days or {},
            manifest={
                "generation": self._generation,
                "created_at": self._clock_ms(),
                "types": self._items.types,
                "unseen_from": self._unseen_from(),
                "metrics": metrics,
            },
            head=head,
        )

    def item_rows(
        self, bundle: DynamicBundle
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.float32]] | None:
        """Return item keys u64 [n], vectors f32 [n, d] and biases f32 [n] for workers of a bundle.

        Training turns both towers together. Workers have the bundle's user tower, so the vectors
        are turned back by the rotation that brings the users of the latest examples nearest to
        where the bundle has them. Demand has the bundle's weight and half-lives. None where the
        bundle is of another static bundle or form, or there are no examples.
        """
        numbers = self._replay.numbers()[-_TURNED_BY:]
        model = self._learner.published()
        width = self._items.features.content.shape[1]
        same = bundle.manifest.get("static") == self._items.name and bundle.types == self.types
        if not same or not len(numbers) or width != bundle.features.content.shape[1]:
            return None
        cap = self.settings.replay.history_cap
        examples = self._replay.take(numbers, cap)
        then = bundle.user_vectors(user_features(examples, ItemRows(bundle.item_keys), cap))
        with torch.no_grad():
            features = self._items.features
            users = user_features(examples, self._items.rows, cap)
            now = model.user(users, features.content, features.type_number)
        turned = procrustes(now.numpy(), then.numpy(), np.ones(len(numbers)))
        number = features.type_number.numpy()
        half_lives = of_items(bundle.half_lives_days, bundle.types, number)
        recent = self.popularity.read(
            self._items.rows, len(features), half_life_days=half_lives,
            at_ms=counted_to(self._newest_ms, self.settings.popularity),
        )  # fmt: skip
        weight = float(bundle.manifest["popularity"]["weight"])
        bias = demand_bias(recent, weight, self.settings.popularity)
        keys = np.asarray(self._items.static.item_keys)
        # Workers give an item without events the average demand, until a bundle has it.
        kept = (ItemRows(bundle.item_keys)(keys) >= 0) | (recent > 0)
        vectors = model.item_vectors(features).numpy() @ turned
        return keys[kept], vectors[kept], bias[kept]

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
                self._learner,
                old,
                before,
                self._items,
                self._replay,
                steps=settings.follow_steps,
                batch_size=self.settings.batch_size,
                history_cap=self.settings.replay.history_cap,
                seed=self._seed + self._learner.steps,
            )
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
        self._counted = -1
        return len(self._items.features) - before

    def _adopted(self, *, fits: bool) -> None:
        """Keep what came after the new snapshot; fits: whether the towers can read its vectors."""
        after = {
            name: self._after_snapshot(memory.take(memory.numbers()))
            for name, memory in self.memories.items()
        }
        self._holdout.keep(after["holdout"])
        self._schedule.keep(after["replay"], relearn=self.settings.adoption.relearn)
        if self._ranking is not None:
            self._ranking.thaw()
        # The towers have seen the examples at hand: only later ones teach the head again.
        self._unseen, self._staged = self._replay.written, True
        if not fits:
            self._start()
        self._counted = -1

    @property
    def memories(self) -> dict[str, Replay]:
        """The examples held: those that are trained on, and those that are held out."""
        return {"replay": self._replay, "holdout": self._holdout}

    @property
    def sources(self) -> list[tuple[str, int]]:
        """The topics and partitions of the examples, by the number that `memories` give them."""
        return list(self._sources)

    @property
    def fingerprint(self) -> str:
        """Hash of the settings that decide the form of what `saved` returns."""
        settings, replay = self.settings, self.settings.replay
        form = {
            "towers": asdict(settings.towers),
            "memories": [replay.capacity, replay.history_cap, replay.holdout_size],
            "bucket_hours": settings.popularity.bucket_hours,
            "head": asdict(settings.ranking.head),
            "use_hgnn": self.settings.use_hgnn,
        }
        return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:16]

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
                "newest_ms": self._newest_ms,
                "sources": [[*source, self._next[source]] for source in self._sources],
                "unseen": self._unseen,
                "staged": self._staged,
            },
        )
        parts = {
            "own": own,
            "learner": self._learner.saved(),
            "schedule": self._schedule.saved(),
            "seen": self._seen.saved(),
            "popularity": self._popularity.saved(),
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
        self._newest_ms = int(own["newest_ms"])
        self._sources = {(topic, part): n for n, (topic, part, _) in enumerate(own["sources"])}
        self._next = {(topic, part): end for topic, part, end in own["sources"]}
        self._seen.restore(saved.part("seen"))
        self._popularity.restore(saved.part("popularity"))
        self._schedule.restore(saved.part("schedule"))
        self._unseen, self._staged = int(own["unseen"]), bool(own["staged"])
        if self._ranking is not None and "ranking" in saved.values:
            self._ranking.restore(saved.part("ranking"))
        fits = self._learner.restore(saved.part("learner")) and own["types"] == self._items.types
        if not same or not fits:
            self._adopted(fits=fits)
        self._restored = same and fits and self._staged
