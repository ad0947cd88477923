"""The trainer: examples in, bundles out, for ever."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynamic_layer.bundle import DynamicBundle
from dynamic_layer.examples import ExampleBatch
from dynamic_layer.features import ItemRows, StaticItems, item_features
from dynamic_layer.head_learning import HeadLearning, hit_rates
from dynamic_layer.loss import candidates, inclusion_log_q, sampled_softmax
from dynamic_layer.popularity import Popularity
from dynamic_layer.publish import make_bundle
from dynamic_layer.ranking import user_features
from dynamic_layer.ranking_head import RankingHead
from dynamic_layer.replay import PaddedExamples, Replay, SeenOffsets, pad
from dynamic_layer.schedule import Schedule
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.towers import TwoTower

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_JUDGED = 2_048  # held-out examples that decide whether a head serves


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
        use_hgnn: bool = True,
        ranking: bool = False,
        live: Popularity | None = None,
        first_generation: int = 1,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """static: items and vectors; use_hgnn: whether the towers read the HGNN's vectors.

        ranking: whether a ranking head is trained beside the towers; live: counts of demand by
        others, used instead of the examples' own where it has more events;
        first_generation: number of the first bundle; clock_ms: stamps bundles.
        """
        self.settings = settings or DynamicSettings()
        self.use_hgnn = use_hgnn
        self._clock_ms = clock_ms
        self._generation = first_generation
        self._seed = seed
        self._torch_rng = torch.Generator().manual_seed(seed)
        replay = self.settings.replay
        self._replay = Replay(capacity=replay.capacity, history_cap=replay.history_cap)
        self._holdout = Replay(capacity=replay.holdout_size, history_cap=replay.history_cap)
        self._schedule = Schedule(
            self._replay,
            replay,
            batch_size=self.settings.batch_size,
            rng=np.random.default_rng(seed),
        )
        self._seen = SeenOffsets()
        self._sources: dict[tuple[str, int], int] = {}
        self._popularity = Popularity(
            bucket_hours=self.settings.popularity.bucket_hours, window_days=replay.window_days
        )
        self._live = live
        self._ranking = HeadLearning(self.settings.ranking, seed=seed) if ranking else None
        self._steps = 0
        self._newest_ms = 0
        self._read(static)
        self._start()

    def _read(self, static: StaticItems) -> None:
        self._static = static
        self._types = sorted(set(static.item_types))
        self._rows = ItemRows(static.item_keys)
        self._features = item_features(
            types=self._types,
            item_types=static.item_types,
            languages=static.languages,
            genres=static.genres,
            text=static.text,
            hgnn=static.hgnn if self.use_hgnn else None,
        )

    def _start(self) -> None:
        width = self._features.content.shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            self._model = TwoTower(width, len(self._types), self.settings.towers)
            self._published = TwoTower(width, len(self._types), self.settings.towers)
        self._published.load_state_dict(self._model.state_dict())
        self._optimiser = torch.optim.Adam(self._model.parameters(), lr=self.settings.learning_rate)
        self._schedule.restart()
        self._unseen = 0  # number of the first example that these weights never saw
        self._staged = False  # whether the first head has had its towers
        self._counted = -1  # examples in the replay when frequencies were counted
        self._frequency = torch.zeros(0)
        self._averaged = 0  # steps in the published average

    def add(self, batch: ExampleBatch) -> Intake:
        """Take in the examples of a batch that are new, trainable and of known items."""
        fresh = self._seen.mark(batch.topic, batch.partition, batch.offset)
        duplicate = len(batch) - int(fresh.sum())
        batch = batch.take(fresh)
        self._newest_ms = max(self._newest_ms, int(batch.timestamp.max(initial=0)))
        source = self._sources.setdefault((batch.topic, batch.partition), len(self._sources))
        examples = pad(batch, self.settings.replay.history_cap, source)
        strong = examples.strong
        self._popularity.add(
            examples.target[strong], examples.timestamp[strong], examples.country[strong]
        )
        after = self._after_snapshot(examples)
        # A hash, not a draw: the same examples are held out in every run and after a restart.
        mixed = (batch.offset.astype(np.uint64) * _GOLDEN) >> np.uint64(32)
        place = mixed.astype(np.float64) / 2**32
        held = (place < self.settings.replay.holdout_share) & strong & ~examples.repeat & after
        wanted = ~examples.repeat | (place < self.settings.loss.repeat_share)
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
        first = np.zeros(max(1, len(self._sources)), np.int64)
        for (topic, partition), source in self._sources.items():
            # The manifest is JSON: its partitions are strings.
            offsets = self._static.manifest.get("offsets", {}).get(topic, {})
            first[source] = offsets.get(str(partition), offsets.get(partition, 0))
        return examples.offset >= first[examples.source]

    def _weights(self, examples: PaddedExamples) -> NDArray[np.float32]:
        loss = self.settings.loss
        return np.where(examples.strong, 1.0, loss.weak_weight).astype(np.float32)

    def train(
        self, max_steps: int | None = None, max_seconds: float | None = None
    ) -> TrainingStats:
        """Train until the limits, or until each example has had its epochs.

        With `max_seconds` the number of steps depends on the machine; `max_steps` alone is
        reproducible.
        """
        start, seen = time.monotonic(), 0
        losses: list[Tensor] = []
        self._model.train()
        with torch.random.fork_rng():
            torch.manual_seed(self._seed + self._steps)
            while (max_steps is None or len(losses) < max_steps) and (
                max_seconds is None or time.monotonic() - start < max_seconds
            ):
                self._stage()
                numbers = self._schedule.next_batch()
                if numbers is None:
                    break
                losses.append(self._step(self._replay.take(numbers)))
                seen += len(numbers)
        return TrainingStats(
            steps=len(losses),
            examples=seen,
            seconds=time.monotonic() - start,
            loss=float(torch.stack(losses).mean()) if losses else float("nan"),
            pending=self._schedule.pending,
        )

    def _stage(self) -> None:
        """Freeze the first towers before they have seen the last examples at hand.

        The first head learns from these; the towers then go on with them.
        """
        if self._ranking is None or self._staged:
            return
        share = self.settings.ranking.first_share
        if self._schedule.trained >= (1 - share) * self._replay.written > 0:
            self._staged = True
            self._ranking.freeze(self._bundle(None, {}), self._schedule.trained)

    def _step(self, examples: PaddedExamples) -> Tensor:
        settings, model, features = self.settings, self._model, self._features
        target = torch.from_numpy(self._rows(examples.target))
        known = target >= 0
        weight = torch.from_numpy(self._weights(examples)) * known
        uniform = torch.randint(
            len(features), (settings.loss.uniform_negatives,), generator=self._torch_rng
        )
        items, place = candidates(target.clamp(min=0), uniform)
        users = model.user(
            user_features(examples, self._rows), features.content, features.type_number
        )
        loss = sampled_softmax(
            users,
            model.item(features.take(items)),
            place,
            weight,
            temperature=model.temperature,
            log_q=self._log_q(items, len(target)) if settings.loss.log_q else None,
        )
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        self._steps += 1
        self._average()
        return loss.detach()

    def _log_q(self, items: Tensor, batch_size: int) -> Tensor:
        if self._counted != self._replay.written:
            rows = self._rows(self._replay.targets())
            counts = np.bincount(rows[rows >= 0], minlength=len(self._features))
            self._frequency = torch.from_numpy(counts / max(1, counts.sum())).float()
            self._counted = self._replay.written
        return inclusion_log_q(self._frequency[items], batch_size)

    def _average(self) -> None:
        """Move the published weights towards the current ones."""
        self._averaged += 1
        # A young average would otherwise remember the random start.
        decay = min(self.settings.averaging, self._averaged / (self._averaged + 10))
        if self.settings.averaging == 0:
            decay = 0.0
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._published.parameters()), list(self._model.parameters()), 1 - decay
            )

    def holdout(self) -> PaddedExamples:
        """Return the held-out examples that lie after the snapshot, oldest arrival first."""
        return self._holdout.take(self._holdout.numbers())

    def publish(self) -> DynamicBundle:
        """Return a bundle of the current state; later training does not change it."""
        figures, head = {}, None
        if self._ranking is not None:
            figures = self._ranking.learn(self._replay, self.popularity)
            head = self._ranking.publish()
        bundle = self._bundle(head, figures)
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
    def popularity(self) -> Popularity:
        """Counts of demand: those of others where they have more events than our examples."""
        live = self._live
        known = live is not None and live.events() >= self._popularity.events()
        return live if live is not None and known else self._popularity

    def _bundle(self, head: RankingHead | None, figures: dict[str, float]) -> DynamicBundle:
        model = TwoTower(self._features.content.shape[1], len(self._types), self.settings.towers)
        model.load_state_dict(self._published.state_dict())
        metrics = {"steps": self._steps, "examples": self._replay.written, **figures}
        return make_bundle(
            self._static,
            self._features,
            model.eval(),
            self.popularity,
            self.holdout(),
            self.settings,
            use_hgnn=self.use_hgnn,
            newest_ms=self._newest_ms,
            seed=self._seed,
            manifest={
                "generation": self._generation,
                "created_at": self._clock_ms(),
                "types": self._types,
                "metrics": metrics,
            },
            head=head,
        )

    def adopt(self, static: StaticItems) -> None:
        """Go over to a new static bundle, keeping the towers' weights (warm start).

        Of the examples at hand, those that came after its snapshot are trained on (again), with
        the new vectors; the others are forgotten. Where the types or the widths of the vectors
        changed, the towers start anew.
        """
        before = (self._types, self._features.content.shape[1])
        self._read(static)
        for memory in (self._replay, self._holdout):
            memory.keep(self._after_snapshot(memory.take(memory.numbers())))
        if self._ranking is not None:
            self._ranking.thaw()
        # The towers have seen the examples at hand: only later ones teach the head again.
        self._unseen, self._staged = self._replay.written, True
        if before != (self._types, self._features.content.shape[1]):
            self._start()
        self._schedule.restart()
        self._counted = -1
