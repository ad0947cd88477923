"""A trainer to disk and back: its state whole, its examples in segments that are written once."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_layer.errors import CorruptCheckpoint
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.saved import Saved
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.training.checkpoint_files import CheckpointFiles
from dynamic_layer.training.trainer import Trainer

#: Examples of a segment. A checkpoint writes the last segment again (5.7 MB at history_cap 50), and
#: a million examples are 122 files.
SEGMENT = 8_192

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """Examples `first` to before `end` of a memory, in the file of that name."""

    first: int
    end: int
    file: str


class TrainerCheckpoint:
    """A checkpoint that was read; its files are verified when a trainer is restored from it."""

    def __init__(self, files: CheckpointFiles, manifest: dict[str, Any]) -> None:
        """Read the state, not yet the examples. Raises CorruptCheckpoint."""
        self._files = files
        self.manifest = manifest
        self._saved = Saved(arrays=files.get(manifest["state"]), values=manifest["values"])

    @property
    def notes(self) -> Saved:
        """What the writer of the checkpoint keeps in addition to the trainer."""
        return self._saved.part("notes")

    def restore(self, trainer: Trainer) -> None:
        """Have a fresh trainer go on where the one was that was written.

        Raises CorruptCheckpoint, after which the trainer is of no use.
        """
        if form_of(trainer.settings) != self.manifest["fingerprint"]:
            raise CorruptCheckpoint("it was made with other settings of towers, replay or head")
        try:
            for name, memory in trainer.memories.items():
                described = self.manifest["memories"][name]
                segments = [_Segment(**values) for values in described["segments"]]
                first = segments[0].first if segments else described["written"]
                memory.restore(
                    first,
                    (PaddedExamples(**self._files.get(one.file)) for one in segments),
                    described["numbered"],
                )
                if memory.written != described["written"]:
                    raise CorruptCheckpoint(
                        f"expected {described['written']} examples, got {memory.written}"
                    )
            trainer.restore(self._saved.part("trainer"))
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            if isinstance(error, CorruptCheckpoint):
                raise
            raise CorruptCheckpoint(f"expected a trainer of this form: {error}") from error


class TrainerCheckpoints:
    """Checkpoints of one trainer in a folder.

    Guarantees: a checkpoint holds one moment of the trainer and the notes of that moment; one that
    is torn or damaged is never restored. The disk holds as many examples as the trainer's memory,
    and those of a segment more for each checkpoint kept.
    """

    def __init__(self, folder: Path, *, keep: int = 2, segment: int = SEGMENT) -> None:
        """keep: checkpoints that stay; segment: examples in a file."""
        self._files = CheckpointFiles(folder, keep=keep)
        self._size = segment
        self._known: dict[str, tuple[int, dict[int, _Segment]]] = {}

    def write(self, trainer: Trainer, notes: Saved) -> float:
        """Write a checkpoint; return how many seconds it took."""
        start = time.monotonic()
        state = Saved.joined({"trainer": trainer.saved(), "notes": notes})
        memories = {name: self._segments(name, m) for name, m in trainer.memories.items()}
        name = self._files.put(state.arrays)
        self._files.commit(
            {
                "fingerprint": form_of(trainer.settings),
                "state": name,
                "values": state.values,
                "memories": {
                    memory: {
                        "numbered": held.numbered,
                        "written": held.written,
                        "segments": [vars(one) for one in memories[memory]],
                    }
                    for memory, held in trainer.memories.items()
                },
            },
            {name, *(one.file for segments in memories.values() for one in segments)},
        )
        return time.monotonic() - start

    def newest(self) -> Iterator[TrainerCheckpoint]:
        """Yield the checkpoints whose state is whole, newest first.

        Those that are torn are passed over with a line in the log. The last one yielded is taken
        to be the one that was restored: the next `write` goes on from its files.
        """
        for manifest in self._files.checkpoints():
            try:
                checkpoint = TrainerCheckpoint(self._files, manifest)
            except CorruptCheckpoint as error:
                logger.error("checkpoint %d is passed over: %s", manifest["serial"], error)
                continue
            self._known = {
                name: (
                    memory["numbered"],
                    {one["first"] // self._size: _Segment(**one) for one in memory["segments"]},
                )
                for name, memory in manifest["memories"].items()
            }
            yield checkpoint
        self._known = {}

    def _segments(self, name: str, memory: Replay) -> list[_Segment]:
        """Write the segments of a memory that are not on disk; return all of them, oldest first."""
        numbered, known = self._known.get(name, (-1, {}))
        if numbered != memory.numbered:
            known = {}
        oldest = memory.written - len(memory)
        found: dict[int, _Segment] = {}
        for place in range(oldest // self._size, -(-memory.written // self._size)):
            end = min((place + 1) * self._size, memory.written)
            segment = known.get(place)
            if segment is None or segment.end != end:
                first = max(place * self._size, oldest)
                columns = vars(memory.take(np.arange(first, end)))
                segment = _Segment(first=first, end=end, file=self._files.put(columns))
            found[place] = segment
        self._known[name] = (memory.numbered, found)
        return list(found.values())


def form_of(settings: DynamicSettings) -> str:
    """Return a hash of the settings that decide the form of what a trainer saves."""
    replay = settings.replay
    # What a head of few lists is decides nothing that is saved: it is fitted when it is published.
    head = asdict(settings.ranking.head)
    del head["few_lists"], head["few_strength"]
    form = {
        "towers": asdict(settings.towers),
        "memories": [replay.capacity, replay.history_cap, replay.holdout_size],
        "bucket_hours": settings.popularity.bucket_hours,
        "head": head,
        "use_hgnn": settings.use_hgnn,
    }
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:16]
