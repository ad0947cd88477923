"""What the trainer must have made of the log of examples, whatever was killed meanwhile."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from agents.bundles.announcements import announcement_of
from agents.bundles.announcing import fetch_dynamic
from agents.bundles.rows import FollowedRows
from dynamic_layer import (
    CorruptBundle,
    ExampleBatch,
    Saved,
    Trainer,
    TrainerCheckpoints,
)
from segue.settings import Settings
from state import CorruptArtifact
from streams import DEFAULT_CHANNEL, LogRecord, Recommendation
from tests.crash.world import static_bundle
from tests.dynamic_layer.worlds import Items

__all__ = [
    "Learned",
    "announced_differences",
    "judge_learning",
    "memory_differences",
    "row_differences",
]

Held = Mapping[str, Counter[tuple[int, int]]]


@dataclass(frozen=True)
class Learned:
    """Differences, none if all is well, and figures for the report."""

    differences: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)


def judge_learning(
    settings: Settings,
    items: Items,
    seed: int,
    examples: Sequence[LogRecord],
    models: Sequence[LogRecord],
    answers: Iterable[Recommendation],
    channel: str = DEFAULT_CHANNEL,
) -> Learned:
    """Hold a trainer's last checkpoint against the log, and answers against announcements.

    The trainer of the channel, which made what was answered, has ended in order after it had read
    everything.
    """
    again = _trainer(settings, items, seed)
    accepted = sum(
        again.add(ExampleBatch.unpack(record.value or b"")).accepted for record in examples
    )
    name = "trainer" if channel == DEFAULT_CHANNEL else f"trainer-{channel}"
    [folder] = (settings.folder / "disks" / name / "trainers").glob("*/checkpoints")
    checkpoint = next(TrainerCheckpoints(folder).newest(), None)
    if checkpoint is None:
        return Learned([f"{name} left no checkpoint"])
    trainer = _trainer(settings, items, seed)
    checkpoint.restore(trainer)
    counted = _examples(checkpoint.notes)
    differences = memory_differences(_held(trainer), _held(again))
    if counted != accepted:
        differences.append(f"{name} took {counted} examples, the log has {accepted}")
    said = map(announcement_of, sorted(models, key=lambda record: record.offset))
    generations = [
        one.generation for one in said if one and one.kind == "dynamic" and one.channel == channel
    ]
    served = {answer.generation for answer in answers}
    differences += announced_differences(generations, served)
    differences += _broken_bundles(settings)
    return Learned(
        differences,
        {
            "examples": accepted,
            "bundles_announced": len(generations),
            "bundles_served": len(served),
        },
    )


def memory_differences(mine: Held, log: Held) -> list[str]:
    """Examples that are held twice, not held, or held by the wrong memory."""
    return [
        f"{memory}: example {place} is held {mine[memory][place]} times, not {log[memory][place]}"
        for memory in log
        for place in sorted(mine[memory].keys() | log[memory].keys())
        if mine[memory][place] != log[memory][place]
    ][:10]


def announced_differences(generations: Sequence[int], served: Iterable[int]) -> list[str]:
    """Generations that do not rise, and answers from bundles of which nobody was told."""
    found = [
        f"generation {later} was announced after {earlier}"
        for earlier, later in pairwise(generations)
        if later <= earlier
    ]
    unknown = sorted(set(served) - set(generations))
    return found + [f"generation {one} was served and never announced" for one in unknown]


def row_differences(records: Iterable[LogRecord], seen: Iterable[int]) -> list[str]:
    """Changed rows that a worker served, and that no worker which never failed has ever served.

    records: of the rows topic, all of them; seen: checksums that workers showed.
    """
    follower, known = FollowedRows(DEFAULT_CHANNEL), set[int]()
    for record in sorted(records, key=lambda record: record.offset):
        for made in follower.take([record]):
            rows = follower.of(made)
            if rows is not None:
                known.add(rows.checksum(made))
    return [f"rows with checksum {one:08x} were served and never sent"
            for one in sorted(set(seen) - known)]  # fmt: skip


def _trainer(settings: Settings, items: Items, seed: int) -> Trainer:
    return Trainer(static_bundle(items), settings.dynamic, seed=seed)


def _examples(notes: Saved) -> int:
    return int(notes.part("agent").values["examples"])


def _held(trainer: Trainer) -> dict[str, Counter[tuple[int, int]]]:
    """Return the (partition, offset) of the examples in each memory."""
    partition = dict(enumerate(trainer.sources))
    return {
        name: Counter(
            (partition[source][1], offset)
            for source, offset in zip(
                *(column.tolist() for column in (held.source, held.offset)), strict=True
            )
        )
        for name, memory in trainer.memories.items()
        for held in [memory.take(memory.numbers())]
    }


def _broken_bundles(settings: Settings) -> list[str]:
    """Read every bundle that is in the store; nobody is writing any more."""
    store, found = settings.store(), []
    for name in store.names("dynamic"):
        try:
            fetch_dynamic(store, name, settings.folder / "scratch")
        except (CorruptArtifact, CorruptBundle) as error:
            found.append(f"bundle {name} is incomplete: {error}")
    return found
