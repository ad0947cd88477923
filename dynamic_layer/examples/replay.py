"""Bounded memory of examples: which were seen, and the newest of them for replay."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.items.features import COUNTRIES, bucket_of
from dynamic_layer.saved import Saved

_SECOND_MS = 1_000


@dataclass(frozen=True, kw_only=True)
class PaddedExamples:
    """`b` examples with histories of at most `h` entries, newest first.

    source:         i64 [b], number of the topic and partition that the example came from.
    offset:         i64 [b], of the event in it.
    target:         u64 [b], item keys.
    timestamp:      i64 [b], ms UTC.
    strong, repeat: bool [b].
    country:        i64 [b], bucket of the country's name; 0 when unknown.
    birth_year:     i64 [b], 0 when unknown.
    length:         i64 [b], entries in each history.
    history_item:   u64 [b, h], item keys; only the first `length` of a row count.
    history_age:    f32 [b, h], seconds from the entry to the example.
    history_strong: bool [b, h].
    """

    source: NDArray[np.int64]
    offset: NDArray[np.int64]
    target: NDArray[np.uint64]
    timestamp: NDArray[np.int64]
    strong: NDArray[np.bool_]
    repeat: NDArray[np.bool_]
    country: NDArray[np.int64]
    birth_year: NDArray[np.int64]
    length: NDArray[np.int64]
    history_item: NDArray[np.uint64]
    history_age: NDArray[np.float32]
    history_strong: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.target)

    def take(self, rows: NDArray[Any]) -> "PaddedExamples":
        """Return the examples at some rows (row numbers or a mask)."""
        return PaddedExamples(**{name: column[rows] for name, column in vars(self).items()})

    def newest(self, n: int) -> "PaddedExamples":
        """Return the `n` examples with the greatest timestamps, oldest first."""
        return self.take(np.argsort(self.timestamp, kind="stable")[-n:])


def pad(batch: ExampleBatch, history_cap: int, source: int) -> PaddedExamples:
    """Return a batch as rectangles; histories keep their newest `history_cap` entries.

    source: number by which the reader knows the batch's topic and partition.
    """
    n, sizes = len(batch), np.diff(batch.indptr)
    row = np.repeat(np.arange(n), sizes)
    place = np.arange(len(batch.history_item)) - np.repeat(batch.indptr[:-1], sizes)
    kept = place < history_cap
    row, place = row[kept], place[kept]
    items = np.zeros((n, history_cap), np.uint64)
    ages = np.zeros((n, history_cap), np.float32)
    strong = np.zeros((n, history_cap), np.bool_)
    items[row, place] = batch.history_item[kept]
    ages[row, place] = (batch.timestamp[row] - batch.history_time[kept]) / _SECOND_MS
    strong[row, place] = batch.history_strong[kept]
    return PaddedExamples(
        source=np.full(n, source, np.int64),
        offset=batch.offset.astype(np.int64),
        target=batch.target.astype(np.uint64),
        timestamp=batch.timestamp.astype(np.int64),
        strong=batch.strong.astype(np.bool_),
        repeat=batch.repeat.astype(np.bool_),
        country=bucket_of(batch.country, COUNTRIES),
        birth_year=batch.birth_year.astype(np.int64),
        length=np.minimum(sizes, history_cap).astype(np.int64),
        history_item=items,
        history_age=np.maximum(ages, 0.0),
        history_strong=strong,
    )


def joined(parts: Sequence[PaddedExamples]) -> PaddedExamples:
    """Return several as one; their histories must be padded to one width."""
    return PaddedExamples(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    )


class SeenOffsets:
    """Remembers which offsets of a partition were seen, in bounded memory.

    A window of `span` offsets slides with the greatest one. Offsets that have fallen out of the
    window count as seen, so that nothing is ever accepted twice.
    """

    def __init__(self, span: int = 1 << 20) -> None:
        """span: offsets remembered, one byte each."""
        self._span = span
        self._floor: dict[tuple[str, int], int] = {}
        self._seen: dict[tuple[str, int], NDArray[np.bool_]] = {}

    def mark(self, topic: str, partition: int, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return a mask of the offsets met for the first time, and remember them.

        A repetition inside `offsets` is new only once.
        """
        fresh = np.zeros(len(offsets), np.bool_)
        if not len(offsets):
            return fresh
        name = (topic, partition)
        seen = self._seen.setdefault(name, np.zeros(self._span, np.bool_))
        top = int(offsets.max()) + 1
        floor = self._floor.setdefault(name, max(0, top - self._span))
        if top > floor + self._span:
            moved = top - self._span
            gone = np.arange(floor, min(moved, floor + self._span)) % self._span
            seen[gone] = False
            self._floor[name] = floor = moved
        inside = offsets >= floor
        _, first = np.unique(offsets, return_index=True)
        fresh[first] = True
        fresh &= inside
        fresh[inside] &= ~seen[offsets[inside] % self._span]
        seen[offsets[fresh] % self._span] = True
        return fresh

    def saved(self) -> Saved:
        """Return what was seen, one bit for each offset remembered."""
        return Saved(
            arrays={str(n): np.packbits(seen) for n, seen in enumerate(self._seen.values())},
            values={
                "span": self._span,
                "floors": [[*name, self._floor[name]] for name in self._seen],
            },
        )

    def restore(self, saved: Saved) -> None:
        """Know what another knew. Raises ValueError for one with another span."""
        if saved.values["span"] != self._span:
            raise ValueError(f"expected a span of {self._span}, got {saved.values['span']}")
        self._floor, self._seen = {}, {}
        for n, (topic, partition, floor) in enumerate(saved.values["floors"]):
            self._floor[topic, partition] = floor
            self._seen[topic, partition] = np.unpackbits(
                saved.arrays[str(n)], count=self._span
            ).astype(np.bool_)


class Replay:
    """A ring of the newest examples.

    Guarantees: memory is fixed by `capacity` and `history_cap`; an example is replaced only by
    `capacity` newer arrivals.
    """

    def __init__(self, *, capacity: int, history_cap: int) -> None:
        """capacity: examples held; history_cap: history entries held per example."""
        self.capacity = capacity
        self._written = 0
        self._numbered = 0
        self._ring = PaddedExamples(
            source=np.zeros(capacity, np.int64),
            offset=np.zeros(capacity, np.int64),
            target=np.zeros(capacity, np.uint64),
            timestamp=np.zeros(capacity, np.int64),
            strong=np.zeros(capacity, np.bool_),
            repeat=np.zeros(capacity, np.bool_),
            country=np.zeros(capacity, np.int64),
            birth_year=np.zeros(capacity, np.int64),
            length=np.zeros(capacity, np.int64),
            history_item=np.zeros((capacity, history_cap), np.uint64),
            history_age=np.zeros((capacity, history_cap), np.float32),
            history_strong=np.zeros((capacity, history_cap), np.bool_),
        )

    def __len__(self) -> int:
        """Examples held."""
        return min(self._written, self.capacity)

    @property
    def written(self) -> int:
        """Examples ever appended; the newest held has number `written - 1`."""
        return self._written

    @property
    def numbered(self) -> int:
        """How often the examples were numbered anew; until then a number means one example."""
        return self._numbered

    def append(self, examples: PaddedExamples) -> None:
        """Add examples, oldest first; of more than `capacity` only the last are kept."""
        keep = slice(max(0, len(examples) - self.capacity), None)
        numbers = np.arange(self._written, self._written + len(examples))[keep] % self.capacity
        for name, column in vars(self._ring).items():
            values = getattr(examples, name)[keep]
            if column.ndim == 2:
                column[numbers, : values.shape[1]] = values
            else:
                column[numbers] = values
        self._written += len(examples)

    def keep(self, wanted: NDArray[np.bool_]) -> None:
        """Forget all but some examples; wanted: bool [len], in order of arrival.

        Those that stay are numbered anew, from 0.
        """
        kept = self.take(self.numbers()[wanted])
        self._written = 0
        self._numbered += 1
        self.append(kept)

    def restore(self, first: int, segments: Iterable[PaddedExamples], numbered: int) -> None:
        """Hold the examples of another memory: number `first` and those that follow it."""
        self._written, self._numbered = first, numbered
        for segment in segments:
            self.append(segment)

    def numbers(self) -> NDArray[np.int64]:
        """Return the numbers of the examples held, i64 [len], in order of arrival."""
        return np.arange(self._written - len(self), self._written)

    def timestamps(self) -> NDArray[np.int64]:
        """Return the timestamps of the examples held, i64 [len], in order of arrival, ms UTC."""
        return self._ring.timestamp[self.numbers() % self.capacity]

    def targets(self) -> NDArray[np.uint64]:
        """Return the item keys of the targets held, u64 [len], in order of arrival."""
        return self._ring.target[self.numbers() % self.capacity]

    def take(self, numbers: NDArray[np.int64]) -> PaddedExamples:
        """Return the examples of the given numbers, which must be held."""
        rows = numbers % self.capacity
        widest = max(1, int(self._ring.length[rows].max(initial=1)))
        columns = {
            name: column[rows, :widest] if column.ndim == 2 else column[rows]
            for name, column in vars(self._ring).items()
        }
        return PaddedExamples(**columns)
