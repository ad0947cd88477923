"""Which examples a trainer keeps: each once, none that the graph may contain, some held out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.examples.batch import ExampleBatch, kind_code
from dynamic_layer.examples.offsets import SeenOffsets, hashed_share
from dynamic_layer.examples.replay import PaddedExamples, Replay, pad
from dynamic_layer.items.features import StaticItems
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.saved import Saved
from dynamic_layer.settings import DynamicSettings, LossSettings
from dynamic_layer.training.live_graph import LiveGraph

__all__ = ["ExampleIntake", "Intake", "example_weights"]

_AT_ONCE = 4_096  # examples: histories of 512 entries are 27 MB

#: By topic and partition, the offset from which on a graph holds no event.
GraphEnds = Mapping[str, Mapping[str, int]]


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


class ExampleIntake:
    """Takes in examples, and holds those to train on and those to judge by.

    replay, holdout: the two. popularity: counts of all strong examples. sources: number of each
    topic and partition. newest_ms: time of the newest example, ms UTC. graph: follows the examples
    after the static bundle's snapshot; None where it is off.
    """

    def __init__(self, settings: DynamicSettings) -> None:
        """Begin with nothing; memory is bounded by the settings."""
        self._settings, replay = settings, settings.replay
        self.replay = Replay(
            capacity=replay.capacity, history_cap=replay.whole_history, entries=replay.entries
        )
        self.holdout = Replay(capacity=replay.holdout_size, history_cap=replay.whole_history)
        self.popularity = Popularity(
            bucket_hours=settings.popularity.bucket_hours, window_days=replay.window_days
        )
        self.sources: dict[tuple[str, int], int] = {}
        self.newest_ms = 0
        self.graph: LiveGraph | None = None
        self._seen = SeenOffsets()
        self._next: dict[tuple[str, int], int] = {}  # behind the greatest offset taken

    def add(
        self,
        batch: ExampleBatch,
        graph_ends: GraphEnds,
        witness: Callable[[ExampleBatch], None] | None = None,
    ) -> Intake:
        """Take in the examples of a batch that are new and trainable; see `Trainer.add`.

        graph_ends: of the graph behind the vectors that they are to be trained on.
        """
        fresh = self._seen.mark(batch.topic, batch.partition, batch.offset)
        duplicate = len(batch) - int(fresh.sum())
        batch = batch.take(fresh)
        if witness is not None:
            witness(batch)
        self.newest_ms = max(self.newest_ms, int(batch.timestamp.max(initial=0)))
        name = (batch.topic, batch.partition)
        source = self.sources.setdefault(name, len(self.sources))
        self._next[name] = max(self._next.get(name, 0), int(batch.offset.max(initial=-1)) + 1)
        settings = self._settings
        examples = pad(batch, settings.replay.whole_history, source)
        strong = examples.strong
        self.popularity.add(
            examples.target[strong], examples.timestamp[strong], examples.country[strong]
        )
        after = self.after(examples, graph_ends)
        if self.graph is not None:
            self.graph.add(examples.take(after))
        # A hash, not a draw: the same examples are held out in every run and after a restart.
        held = hashed_share(batch.offset, settings.replay.holdout_share)
        held &= strong & ~examples.repeat & after
        wanted = ~examples.repeat | hashed_share(batch.offset, settings.loss.repeat_share)
        wanted &= example_weights(examples, settings.loss) > 0
        kept = after & wanted & ~held
        self.replay.append(examples.take(kept))
        self.holdout.append(examples.take(held))
        return Intake(
            accepted=int(kept.sum()),
            held_out=int(held.sum()),
            duplicate=duplicate,
            before_snapshot=int((~after).sum()),
            unwanted=int((after & ~wanted & ~held).sum()),
        )

    def follow(self, static: StaticItems) -> None:
        """Have the graph begin with a static bundle and the examples that are held after it."""
        settings = self._settings
        self.graph = graph = LiveGraph.of(settings.live_graph, static, use_hgnn=settings.use_hgnn)
        if graph is None:
            return
        for memory in (self.replay, self.holdout):
            numbers = memory.numbers()
            for start in range(0, len(numbers), _AT_ONCE):
                graph.add(memory.take(numbers[start : start + _AT_ONCE]))

    def after(self, examples: PaddedExamples, graph_ends: GraphEnds) -> NDArray[np.bool_]:
        """Return which examples a graph cannot contain, bool [b]."""
        first = np.zeros(max(1, len(self.sources)), np.int64)
        for (topic, partition), source in self.sources.items():
            first[source] = graph_ends.get(topic, {}).get(str(partition), 0)
        return examples.offset >= first[examples.source]

    def unseen_from(self, graph_ends: GraphEnds) -> dict[str, dict[str, int]]:
        """Return, by topic and partition, the offset from which on nothing was learned from.

        Neither by the towers nor in the graph behind the HGNN's vectors.
        """
        found = {topic: dict(ends) for topic, ends in graph_ends.items()}
        for (topic, partition), end in self._next.items():
            ends = found.setdefault(topic, {})
            ends[str(partition)] = max(end, ends.get(str(partition), 0))
        return found

    def in_order_of_time(self) -> bool:
        """Put the examples held in order of time; return whether they were in another one.

        Which partition was read first depends on the load of machines; what is learned must not.
        """
        changed = False
        for memory in (self.replay, self.holdout):
            order = memory.in_time(list(self.sources))
            if (np.diff(order) < 0).any():
                memory.arrange(order)
                changed = True
        return changed

    def notes(self) -> dict[str, Any]:
        """Return what a checkpoint says of the log; `saved` has the rest, without the examples."""
        return {
            "newest_ms": self.newest_ms,
            "sources": [[*source, self._next[source]] for source in self.sources],
        }

    def saved(self) -> dict[str, Saved]:
        """Return the parts of a checkpoint that are no examples."""
        parts = {"seen": self._seen.saved(), "popularity": self.popularity.saved()}
        return parts if self.graph is None else {**parts, "graph": self.graph.saved()}

    def restore(self, notes: Mapping[str, Any], saved: Saved, static: StaticItems) -> None:
        """Go on where another was, of `notes` and the parts of `saved`; with its examples held.

        static: the bundle that it learned on. Where its graph was off, that one begins here with
        the examples held.
        """
        self.follow(static)
        if self.graph is not None and "graph" in saved.values:
            self.graph.restore(saved.part("graph"))
        self.newest_ms = int(notes["newest_ms"])
        self.sources = {(topic, part): n for n, (topic, part, _) in enumerate(notes["sources"])}
        self._next = {(topic, part): end for topic, part, end in notes["sources"]}
        self._seen.restore(saved.part("seen"))
        self.popularity.restore(saved.part("popularity"))


def example_weights(examples: PaddedExamples, loss: LossSettings) -> NDArray[np.float32]:
    """Return what each example weighs in the loss, f32 [b]; 0 where it is not trained on."""
    weights = np.where(examples.strong, 1.0, loss.weak_weight).astype(np.float32)
    for own in loss.kind_weights:
        weights[examples.kind == kind_code(own.kind)] = own.weight
    return weights
