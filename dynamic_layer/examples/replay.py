"""Bounded memory of the newest examples, for replay."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.examples.entry_ring import EntryRing
from dynamic_layer.examples.shown_columns import ShownColumns
from dynamic_layer.items.features import COUNTRIES, bucket_of
from state.shown import READ

_SECOND_MS = 1_000
_APPENDED = 4_096  # examples that are added at once: histories of 512 entries are 27 MB

#: What an example has several of, by the column that says how many.
_ENTRIES: dict[str, dict[str, type[Any]]] = {
    "length": {
        "history_item": np.uint64, "history_age": np.float32, "history_strong": np.bool_,
    },
    "shown_length": {"shown_item": np.uint64, "shown_age": np.float32, "shown_count": np.uint32},
}  # fmt: skip


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
    kind:           u64 [b], `kind_code` of the event's kind, 0 when unknown; None: all unknown.
    shown_length:   i64 [b], items that the user had been shown; None where none are known.
    shown_item:     u64 [b, s], their keys; only the first `shown_length` of a row count.
    shown_age:      f32 [b, s], seconds from the end of the last bucket in which it was shown.
    shown_count:    u32 [b, s], impressions.
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
    kind: NDArray[np.uint64] | None = None
    shown_length: NDArray[np.int64] | None = None
    shown_item: NDArray[np.uint64] | None = None
    shown_age: NDArray[np.float32] | None = None
    shown_count: NDArray[np.uint32] | None = None

    def __post_init__(self) -> None:
        """Fill what memories of earlier versions do not have: kinds and impressions."""
        n = len(self.target)
        missing: dict[str, NDArray[Any]] = {}
        if self.kind is None:
            missing["kind"] = np.zeros(n, np.uint64)
        if self.shown_length is None:
            missing["shown_length"] = np.zeros(n, np.int64)
            for name, dtype in _ENTRIES["shown_length"].items():
                missing[name] = np.zeros((n, 1), dtype)
        for name, column in missing.items():
            # A frozen value is completed here as __init__ would.
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.target)

    def take(self, rows: NDArray[Any]) -> "PaddedExamples":
        """Return the examples at some rows (row numbers or a mask)."""
        return PaddedExamples(**{name: column[rows] for name, column in vars(self).items()})

    def newest(self, n: int) -> "PaddedExamples":
        """Return the `n` examples with the greatest timestamps, oldest first; all if fewer."""
        return self.take(np.argsort(self.timestamp, kind="stable")[max(0, len(self) - n) :])

    def latest_entries(self, cap: int) -> "PaddedExamples":
        """Return the same examples with at most the newest `cap` entries of each history."""
        return replace(
            self,
            length=np.minimum(self.length, cap),
            history_item=self.history_item[:, :cap],
            history_age=self.history_age[:, :cap],
            history_strong=self.history_strong[:, :cap],
        )


def pad(batch: ExampleBatch, history_cap: int, source: int) -> PaddedExamples:
    """Return a batch as rectangles; histories keep their newest `history_cap` entries.

    The rectangles are as wide as the longest history that is kept, at least 1.
    source: number by which the reader knows the batch's topic and partition.
    """
    n, sizes = len(batch), np.diff(batch.indptr)
    width = max(1, min(int(sizes.max(initial=0)), history_cap))
    row = np.repeat(np.arange(n), sizes)
    place = np.arange(len(batch.history_item)) - np.repeat(batch.indptr[:-1], sizes)
    kept = place < history_cap
    row, place = row[kept], place[kept]
    shown = {} if batch.shown is None else _padded_shown(batch.shown, batch.timestamp)
    items = np.zeros((n, width), np.uint64)
    ages = np.zeros((n, width), np.float32)
    strong = np.zeros((n, width), np.bool_)
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
        kind=batch.kind,
        **shown,
    )


def _padded_shown(shown: ShownColumns, timestamp: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return impressions as rectangles; timestamp: i64 [n], of the examples."""
    sizes = np.diff(shown.indptr)
    row = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(row)) - np.repeat(shown.indptr[:-1], sizes)
    found: dict[str, NDArray[Any]] = {
        name: np.zeros((len(sizes), max(1, int(sizes.max(initial=0)))), dtype)
        for name, dtype in _ENTRIES["shown_length"].items()
    }
    found["shown_item"][row, place] = shown.item
    found["shown_age"][row, place] = (timestamp[row] - shown.end) / _SECOND_MS
    found["shown_count"][row, place] = shown.count
    return {"shown_length": sizes.astype(np.int64), **found}


def joined(parts: Sequence[PaddedExamples]) -> PaddedExamples:
    """Return several as one, as wide as the widest of them."""
    found = {}
    for name in vars(parts[0]):
        columns = [getattr(part, name) for part in parts]
        width = max(column.shape[-1] for column in columns)
        found[name] = np.concatenate([_widened(column, width) for column in columns])
    return PaddedExamples(**found)


def _widened(column: NDArray[Any], width: int) -> NDArray[Any]:
    return np.pad(column, ((0, 0), (0, width - column.shape[1]))) if column.ndim == 2 else column


class Replay:
    """A ring of the newest examples, and rings of the entries that they have several of.

    Guarantees: memory is fixed by `capacity` and `entries`; an example is dropped only when newer
    ones need its place or the place of its entries.
    """

    def __init__(self, *, capacity: int, history_cap: int, entries: int | None = None) -> None:
        """Reserve the memory.

        capacity:    examples held, at most.
        history_cap: newest history entries of an example that are kept.
        entries:     history entries held in all, at most, and as many impressions; at least
                     `history_cap`. Default: enough for `capacity` full histories.
        """
        self.capacity, self.history_cap = capacity, history_cap
        room = capacity * history_cap if entries is None else entries
        self._room = {"length": max(history_cap, room), "shown_length": max(READ, room)}
        self._first = 0  # number of the oldest example held
        self._written = 0
        self._numbered = 0
        self._reserve()

    def _reserve(self) -> None:
        """Take fresh memory for columns and entries."""
        capacity = self.capacity
        self._columns: dict[str, NDArray[Any]] = {
            "source": np.zeros(capacity, np.int64),
            "offset": np.zeros(capacity, np.int64),
            "target": np.zeros(capacity, np.uint64),
            "timestamp": np.zeros(capacity, np.int64),
            "strong": np.zeros(capacity, np.bool_),
            "repeat": np.zeros(capacity, np.bool_),
            "country": np.zeros(capacity, np.int64),
            "birth_year": np.zeros(capacity, np.int64),
            "length": np.zeros(capacity, np.int64),
            "kind": np.zeros(capacity, np.uint64),
            "shown_length": np.zeros(capacity, np.int64),
        }
        # Pages of memory that are never written, as those of no impressions, are never taken.
        self._entries = {
            name: EntryRing(capacity, self._room[name], columns)
            for name, columns in _ENTRIES.items()
        }

    def __len__(self) -> int:
        """Examples held."""
        return self._written - self._first

    @property
    def written(self) -> int:
        """Examples ever appended; the newest held has number `written - 1`."""
        return self._written

    @property
    def numbered(self) -> int:
        """How often the examples were renumbered; until then a number means one example."""
        return self._numbered

    def append(self, examples: PaddedExamples) -> None:
        """Add examples, oldest first; of more than fit only the last are kept."""
        for start in range(0, len(examples), _APPENDED):
            self._append(examples.take(np.arange(start, min(start + _APPENDED, len(examples)))))

    def _append(self, examples: PaddedExamples) -> None:
        columns = vars(examples.latest_entries(self.history_cap))
        numbers = np.arange(self._written, self._written + len(examples))
        self._written += len(examples)
        # The last ones, since numbers and places of entries ascend.
        kept = numbers >= self._written - self.capacity
        starts = {}
        for name, entries in self._entries.items():
            starts[name], fits = entries.reserve(columns[name])
            kept &= fits
        columns = {name: column[kept] for name, column in columns.items()}
        ring = numbers[kept] % self.capacity
        for name, column in self._columns.items():
            column[ring] = columns[name]
        for name, entries in self._entries.items():
            entries.write(ring, starts[name][kept], columns[name], columns)
        if not kept.all():
            self._first = self._written - int(kept.sum())
            return
        self._first = max(self._first, self._written - self.capacity)
        for entries in self._entries.values():
            self._first += entries.lost(self.numbers() % self.capacity)

    def keep(self, wanted: NDArray[np.bool_]) -> None:
        """Forget all but some examples; wanted: bool [len], in order of arrival.

        Those that stay are renumbered from 0.
        """
        self.arrange(self.numbers()[wanted])

    def arrange(self, numbers: NDArray[np.int64]) -> None:
        """Hold just the examples of the given numbers, in their order, renumbered from 0.

        While it copies, it takes its memory a second time.
        """
        held = copy.copy(self)
        self._reserve()
        self._first = self._written = 0
        self._numbered += 1
        for start in range(0, len(numbers), _APPENDED):
            self.append(held.take(numbers[start : start + _APPENDED]))

    def restore(self, first: int, segments: Iterable[PaddedExamples], numbered: int) -> None:
        """Hold the examples of another memory: number `first` and those that follow it."""
        self._first, self._written = first, first
        self._numbered = numbered
        for segment in segments:
            self.append(segment)

    def numbers(self) -> NDArray[np.int64]:
        """Return the numbers of the examples held, i64 [len], in order of arrival."""
        return np.arange(self._first, self._written)

    def timestamps(self) -> NDArray[np.int64]:
        """Return the timestamps of the examples held, i64 [len], in order of arrival, ms UTC."""
        return np.asarray(self._columns["timestamp"][self.numbers() % self.capacity])

    def in_time(self, topics: Sequence[tuple[str, int]]) -> NDArray[np.int64]:
        """Return the numbers of the examples held by time, then place in the log, i64 [len].

        topics: topic and partition by the number that `source` gives them.
        """
        place = {name: rank for rank, name in enumerate(sorted(topics))}
        rank = np.array([place[name] for name in topics], np.int64)
        ring = self.numbers() % self.capacity
        held = self._columns
        source = rank[held["source"][ring]] if len(ring) else ring
        order = np.lexsort((held["offset"][ring], source, held["timestamp"][ring]))
        return np.asarray(self.numbers()[order])

    def targets(self) -> NDArray[np.uint64]:
        """Return the item keys of the targets held, u64 [len], in order of arrival."""
        return np.asarray(self._columns["target"][self.numbers() % self.capacity])

    def discoveries(self, cut: int) -> NDArray[np.int64]:
        """Return the numbers of the examples that lists of discovery can be made of.

        These are strong events on items that the user did not know, with whole histories.
        cut: entries to which workers cut the histories of most examples. A whole history of just
        that length counts as cut.
        """
        numbers = self.numbers()
        ring = numbers % self.capacity
        held = self._columns
        wanted = held["strong"][ring] & ~held["repeat"][ring] & (held["length"][ring] != cut)
        return np.asarray(numbers[wanted])

    def take(self, numbers: NDArray[np.int64], entries: int | None = None) -> PaddedExamples:
        """Return the examples of the given numbers, which must be held.

        entries: newest history entries of each example, at most; all by default.
        """
        ring = numbers % self.capacity
        columns = {name: column[ring] for name, column in self._columns.items()}
        if entries is not None:
            columns["length"] = np.minimum(columns["length"], entries)
        for name, held in self._entries.items():
            width = max(1, int(columns[name].max(initial=1)))
            columns |= held.take(ring, columns[name], width)
        return PaddedExamples(**columns)
