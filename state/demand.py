"""Live popularity: how many strong events each item had in each short bucket and market.

Counts are integers and a function of the records applied, whatever the cut into batches; a bucket
lies whole in one value of the database, written with the commit that changed it, and goes when it
leaves the window. A market is a number made of the user's country as the state knew it when the
event was applied; the sum over markets depends on the events alone.
"""

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from state import database
from state.batches import Bools
from state.database import Batch, Database
from state.kernel import I64, U64

__all__ = ["DEMAND", "MARKETS", "Demand", "DemandBlock", "Markets", "Telling", "market_of"]

#: First byte of the keys of these counts.
DEMAND = b"d"
#: Markets are numbered below this; 0 is no or an unknown country.
MARKETS = 256
#: Bits of a market, and of an item and a market, in a code.
_MARKET_BITS, _CODE_BITS = 8, 40
_ROW_BYTES = 12
#: Span of buckets up to which an added one's place is its distance from the first.
_NEAR = 1 << 20


def market_of(country: str) -> int:
    """Return the market's number of a country's name; 0 without one.

    >>> market_of(""), market_of("DE") == market_of("DE")
    (0, True)
    """
    if not country:
        return 0
    return 1 + xxhash.xxh3_64_intdigest(country.encode()) % (MARKETS - 1)


@dataclass(frozen=True, kw_only=True)
class DemandBlock:
    """The counts of one bucket: item keys u64 [m], markets i16 [m] and counts i32 [m].

    Ascending by item number and market, each pair once.

    live: False where the bucket has left the window; these are its last counts.
    """

    bucket: int
    live: bool
    keys: U64
    markets: npt.NDArray[np.int16]
    counts: npt.NDArray[np.int32]


class _Rows(NamedTuple):
    """Counts of a bucket: codes i64 [m], ascending, (item << 8) | market; and counts i32 [m]."""

    codes: I64
    counts: npt.NDArray[np.int32]

    @classmethod
    def of(cls, value: bytes) -> "_Rows":
        n = len(value) // _ROW_BYTES
        return cls(np.frombuffer(value, "<i8", n), np.frombuffer(value, "<i4", n, 8 * n))

    def pack(self) -> bytes:
        return self.codes.tobytes() + self.counts.tobytes()

    def plus(self, other: "_Rows") -> "_Rows":
        if not len(self.codes):
            return other
        place = np.searchsorted(self.codes, other.codes)
        known = self.codes[np.minimum(place, len(self.codes) - 1)] == other.codes
        counts = self.counts.copy()
        counts[place[known]] += other.counts[known]
        if known.all():
            return _Rows(self.codes, counts)
        new = ~known
        return _Rows(
            np.insert(self.codes, place[new], other.codes[new]),
            np.insert(counts, place[new], other.counts[new]),
        )


class Demand:
    """The counts of one partition; what was added since the last commit waits in memory."""

    def __init__(self, source: Database, prefix: bytes = DEMAND, *, reset: bool = False) -> None:
        """Read from an open database.

        prefix: first byte of the keys. reset: delete the present counts with the next commit.
        """
        self._database, self._prefix = source, prefix
        self._reset = reset
        self._added: list[tuple[I64, I64]] = []
        self._changed: dict[int, _Rows] = {}
        self._commits = 0
        self._written_in: dict[int, int] = {}
        self._oldest = next(self.stored(), None)

    def add(self, buckets: I64, items: I64, markets: I64) -> None:
        """Count events: bucket, item number and market of each, int64 [n]."""
        if len(buckets):
            self._added.append((buckets, (items << _MARKET_BITS) | markets))

    def change(self, buckets: I64, items: I64, markets: I64, by: I64) -> None:
        """Add `by`, which may be negative, to counts, int64 [n] each; those of zero go."""
        codes = (items << _MARKET_BITS) | markets
        order = np.lexsort((codes, buckets))
        buckets, codes = buckets[order], codes[order]
        starts = np.flatnonzero(
            np.r_[len(order) > 0, (np.diff(buckets) != 0) | (np.diff(codes) != 0)]
        )
        added = np.add.reduceat(by[order], starts) if len(starts) else by
        starts, added = starts[added != 0], added[added != 0].astype(np.int32)
        buckets, codes = buckets[starts], codes[starts]
        for number in np.unique(buckets).tolist():
            own = slice(*np.searchsorted(buckets, [number, number + 1]))
            rows = self._rows(number).plus(_Rows(codes[own], added[own]))
            kept = rows.counts != 0
            self._changed[number] = _Rows(rows.codes[kept], rows.counts[kept])

    def changed(self, first_live: int) -> set[int]:
        """Buckets that events or the window have changed since the last commit."""
        self._gather()
        return {*self._changed, *self._gone(first_live)}

    def blocks(self, first_live: int, keys: U64) -> Iterator[DemandBlock]:
        """Counts of all buckets of the window, ascending; keys: of the partition's item numbers."""
        self._gather()
        stored = () if self._reset else self.stored()
        for bucket in sorted({*stored, *self._changed}):
            if bucket >= first_live:
                yield from self.some([bucket], first_live, keys)

    def of_item(self, number: int, first: int, end: int) -> tuple[I64, I64, I64]:
        """Buckets, markets and counts of one item, int64 [m] each, as of the last commit.

        Reads all of the buckets in [first, end): some kilobytes for each.
        """
        found: list[tuple[int, int, int]] = []
        ends = np.array([number, number + 1], np.int64) << _MARKET_BITS
        for key, value in self._committed(first, end):
            rows = _Rows.of(value)
            begin, end = np.searchsorted(rows.codes, ends).tolist()
            bucket = struct.unpack(">Q", key[1:])[0]
            for code, count in zip(
                rows.codes[begin:end].tolist(), rows.counts[begin:end].tolist(), strict=True
            ):
                found.append((bucket, code & (MARKETS - 1), count))
        bucket, market, count = np.array(found, np.int64).reshape(-1, 3).T
        return bucket, market, count

    def sums(self, first: int, end: int) -> tuple[I64, I64, I64]:
        """Item numbers, markets and counts over the buckets in [first, end), int64 [m] each.

        As of the last commit; ascending by item and market, each pair once.
        """
        rows = [_Rows.of(value) for _, value in self._committed(first, end)]
        if not rows:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        codes, place = np.unique(np.concatenate([part.codes for part in rows]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([part.counts for part in rows]))
        return codes >> _MARKET_BITS, codes & (MARKETS - 1), counts.astype(np.int64)

    def written_in(self, bucket: int) -> int:
        """Number of the last commit since the opening that wrote a bucket; 0 for none."""
        return self._written_in.get(bucket, 0)

    def write(self, batch: Batch, first_live: int) -> None:
        """Put what has changed into the batch of a commit."""
        self._gather()
        for bucket in self.stored() if self._reset else self._gone(first_live):
            batch.delete(self._key(bucket))
        for bucket, rows in self._changed.items():
            if bucket >= first_live:
                batch.put(self._key(bucket), rows.pack())
                if self._oldest is None or bucket < self._oldest:
                    self._oldest = bucket
        if self._oldest is not None:
            self._oldest = max(self._oldest, first_live)

    def written(self) -> None:
        """Note that the batch was written."""
        self._commits += 1
        self._written_in.update(dict.fromkeys(self._changed, self._commits))
        self._changed.clear()
        self._reset = False

    def some(self, buckets: Sequence[int], first_live: int, keys: U64) -> list[DemandBlock]:
        """Counts of some buckets as of now; keys: of the partition's item numbers."""
        self._gather()
        if not buckets:
            return []
        # A commit of old events changes thousands of buckets: columns are made once for all.
        rows = [self._rows(bucket) for bucket in buckets]
        codes = np.concatenate([part.codes for part in rows])
        counts = np.concatenate([part.counts for part in rows])
        item_keys = keys[codes >> _MARKET_BITS]
        markets = (codes & (MARKETS - 1)).astype(np.int16)
        ends = np.cumsum([len(part.codes) for part in rows]).tolist()
        return [
            DemandBlock(
                bucket=bucket,
                live=bucket >= first_live,
                keys=item_keys[begin:end],
                markets=markets[begin:end],
                counts=counts[begin:end],
            )
            for bucket, begin, end in zip(buckets, [0, *ends], ends, strict=False)
        ]

    def stored(self) -> Iterator[int]:
        """Yield the buckets that the last commit holds, ascending."""
        for key, _ in self._database.scan(self._prefix, database.after(self._prefix)):
            yield struct.unpack(">Q", key[1:])[0]

    def _rows(self, bucket: int) -> _Rows:
        rows = self._changed.get(bucket)
        return self._read(bucket) if rows is None else rows

    def _gather(self) -> None:
        """Move what was added into its buckets."""
        if not self._added:
            return
        bucket, code = (np.concatenate(parts) for parts in zip(*self._added, strict=True))
        self._added.clear()
        numbers, place = _places(bucket)
        # One sort of one column: three times as fast as a sort by three.
        joined = np.sort((place << _CODE_BITS) | code)
        starts = np.flatnonzero(np.r_[True, joined[1:] != joined[:-1]])
        counts = np.diff(np.r_[starts, len(joined)]).astype(np.int32)
        joined = joined[starts]
        ends = np.searchsorted(joined >> _CODE_BITS, np.arange(len(numbers)), side="right").tolist()
        codes = joined & ((1 << _CODE_BITS) - 1)
        for number, begin, end in zip(numbers.tolist(), [0, *ends], ends, strict=False):
            if begin < end:
                new = _Rows(codes[begin:end], counts[begin:end])
                self._changed[number] = self._rows(number).plus(new)

    def _committed(self, first: int, end: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of the stored buckets in [first, end)."""
        if not self._reset:
            yield from self._database.scan(self._key(first), self._key(end))

    def _read(self, bucket: int) -> _Rows:
        stored = None if self._reset else self._database.get(self._key(bucket))
        return _Rows.of(stored or b"")

    def _gone(self, first_live: int) -> list[int]:
        """Stored buckets that have left the window."""
        if self._oldest is None or self._oldest >= first_live:
            return []
        found = self._database.scan(self._prefix, self._key(first_live))
        return [struct.unpack(">Q", key[1:])[0] for key, _ in found]

    def _key(self, bucket: int) -> bytes:
        return self._prefix + struct.pack(">Q", max(bucket, 0))


def _places(buckets: I64) -> tuple[I64, I64]:
    """Return bucket numbers, ascending, and the place of each bucket among them, i64 [n]."""
    first, last = int(buckets.min()), int(buckets.max())
    if last - first < _NEAR:
        return np.arange(first, last + 1), buckets - first
    numbers, place = np.unique(buckets, return_inverse=True)
    return numbers, place.astype(np.int64)


class Markets:
    """Market numbers of users, kept at hand for as many as fit."""

    def __init__(self, most: int) -> None:
        """most: users that are kept at hand."""
        self._most = most
        self._known: dict[str, int] = {}

    def forget(self, users: Iterable[str]) -> None:
        """Look these users up again at their next event."""
        for user in users:
            self._known.pop(user, None)

    def of(self, users: Sequence[str], wanted: Bools, country: Callable[[str], str]) -> I64:
        """Market of each user that is wanted, int64 [wanted]; users: n, wanted: bool [n]."""
        chosen = [user for user, is_wanted in zip(users, wanted.tolist(), strict=True) if is_wanted]
        if len(self._known) > self._most:
            self._known.clear()
        found = list(map(self._known.get, chosen))
        if None in found:
            unknown = dict.fromkeys(
                user for user, market in zip(chosen, found, strict=True) if market is None
            )
            self._known.update((user, market_of(country(user))) for user in unknown)
            found = [self._known[user] for user in chosen]
        return np.array(found, np.int64)


class Telling:
    """Tells changed buckets of counts, and knows which are still to be told.

    To be told before a commit, which notes the rest (`to_note`): a state that is opened again
    knows it.
    """

    def __init__(self, counts: Demand, untold: Iterable[int]) -> None:
        """untold: buckets that the last commit noted."""
        self._counts = counts
        self._noted = frozenset(untold)
        self._untold, self._told = set(self._noted), set[int]()

    def tell(self, first_live: int, keys: U64, first: int = 0) -> list[DemandBlock]:
        """Return the buckets from `first` on that others do not know; they count as told.

        keys: of the partition's item numbers.
        """
        news = self._untold | self._counts.changed(first_live)
        told = sorted(bucket for bucket in news if bucket >= first)
        self._told.update(told)
        self._untold = news.difference(told)
        return self._counts.some(told, first_live, keys)

    @property
    def is_ahead(self) -> bool:
        """Whether buckets were told of which the last commit says otherwise."""
        return not self._told.isdisjoint(self._noted)

    def to_note(self, first_live: int) -> tuple[int, ...]:
        """Return the buckets that a commit notes as untold, ascending."""
        self._untold |= self._counts.changed(first_live) - self._told
        return tuple(sorted(self._untold))

    def committed(self, noted: Collection[int]) -> None:
        """Take what a commit has noted."""
        self._noted = frozenset(noted)
        self._told.clear()
