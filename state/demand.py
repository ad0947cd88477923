"""Live popularity: how many strong events each item had in each short bucket and market.

Counts are integers and a function of the records applied, whatever the cut into batches; a bucket
lies whole in one value of the database, written with the commit that changed it, and goes when it
leaves the window. A market is a number made of the user's country as the state knew it when the
event was applied; the sum over markets depends on the events alone.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash
from rocksdict import Rdict, WriteBatch

from state import database
from state.batches import Bools
from state.kernel import I64, U64

__all__ = ["DEMAND", "MARKETS", "Demand", "DemandBlock", "Markets", "market_of"]

#: First byte of the keys of these counts.
DEMAND = b"d"
#: Markets are numbered below this; 0 is no or an unknown country.
MARKETS = 256
_ROW = np.dtype([("item", "<u4"), ("market", "<u2"), ("count", "<u4")])
Rows = npt.NDArray[np.void]


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
    """The counts of one bucket: item keys u64 [m], markets i64 [m] and counts i64 [m].

    Ascending by item number and market, each pair once.

    live: False where the bucket has left the window; these are its last counts.
    """

    bucket: int
    live: bool
    keys: U64
    markets: I64
    counts: I64


class Demand:
    """The counts of one partition; what was added since the last commit waits in memory."""

    def __init__(self, source: Rdict, *, anew: bool = False) -> None:
        """Read from an open database; anew: forget with the next commit what lies in it."""
        self._database = source
        self._anew = anew
        self._added: list[tuple[I64, I64, I64]] = []
        self._changed: dict[int, Rows] = {}
        self._oldest = next(self._stored(), None)

    def add(self, buckets: I64, items: I64, markets: I64) -> None:
        """Count events: bucket, item number and market of each, int64 [n]."""
        if len(buckets):
            self._added.append((buckets, items, markets))

    def changed(self, first_live: int) -> list[int]:
        """Buckets that events or the window have changed since the last commit, ascending."""
        self._gather()
        return sorted({*self._changed, *self._gone(first_live)})

    def block(self, bucket: int, first_live: int, keys: U64) -> DemandBlock:
        """Counts of a bucket as of now; keys: of the partition's item numbers."""
        self._gather()
        rows = self._changed.get(bucket)
        if rows is None:
            rows = self._read(bucket)
        return DemandBlock(
            bucket=bucket,
            live=bucket >= first_live,
            keys=keys[rows["item"].astype(np.int64)],
            markets=rows["market"].astype(np.int64),
            counts=rows["count"].astype(np.int64),
        )

    def blocks(self, first_live: int, keys: U64) -> Iterator[DemandBlock]:
        """Counts of all buckets of the window, ascending."""
        self._gather()
        stored = () if self._anew else self._stored()
        for bucket in sorted({*stored, *self._changed}):
            if bucket >= first_live:
                yield self.block(bucket, first_live, keys)

    def write(self, batch: WriteBatch, first_live: int) -> None:
        """Put what has changed into the batch of a commit."""
        self._gather()
        for bucket in self._stored() if self._anew else self._gone(first_live):
            batch.delete(_key(bucket))
        for bucket, rows in self._changed.items():
            if bucket >= first_live:
                batch.put(_key(bucket), rows.tobytes())
                if self._oldest is None or bucket < self._oldest:
                    self._oldest = bucket
        if self._oldest is not None:
            self._oldest = max(self._oldest, first_live)

    def written(self) -> None:
        """Note that the batch was written."""
        self._changed.clear()
        self._anew = False

    def _gather(self) -> None:
        """Move what was added into its buckets."""
        if not self._added:
            return
        columns = zip(*self._added, strict=True)
        bucket, item, market = (np.concatenate(parts) for parts in columns)
        self._added.clear()
        order = np.lexsort((market, item, bucket))
        bucket, item, market = bucket[order], item[order], market[order]
        new = (np.diff(bucket) != 0) | (np.diff(item) != 0) | (np.diff(market) != 0)
        starts = np.flatnonzero(np.r_[True, new])
        rows = np.zeros(len(starts), _ROW)
        rows["item"], rows["market"] = item[starts], market[starts]
        rows["count"] = np.diff(np.r_[starts, len(bucket)])
        edges = np.flatnonzero(np.r_[True, np.diff(bucket[starts]) != 0])
        for part in np.split(np.arange(len(starts)), edges[1:]):
            number = int(bucket[starts[part[0]]])
            known = self._changed.get(number)
            before = self._read(number) if known is None else known
            self._changed[number] = _summed(before, rows[part])

    def _read(self, bucket: int) -> Rows:
        stored = None if self._anew else self._database.get(_key(bucket))
        return np.frombuffer(stored or b"", _ROW)

    def _stored(self) -> Iterator[int]:
        for key, _ in database.scan(self._database, DEMAND, database.after(DEMAND)):
            yield struct.unpack(">Q", key[1:])[0]

    def _gone(self, first_live: int) -> list[int]:
        """Stored buckets that have left the window."""
        if self._oldest is None or self._oldest >= first_live:
            return []
        end = _key(first_live)
        found = database.scan(self._database, DEMAND, end)
        return [struct.unpack(">Q", key[1:])[0] for key, _ in found]


def _key(bucket: int) -> bytes:
    return DEMAND + struct.pack(">Q", max(bucket, 0))


def _summed(left: Rows, right: Rows) -> Rows:
    """Return the counts of both, ascending by item and market."""
    if not len(left):
        return right
    rows = np.concatenate([left, right])
    order = np.lexsort((rows["market"], rows["item"]))
    rows = rows[order]
    new = (np.diff(rows["item"].astype(np.int64)) != 0) | (
        np.diff(rows["market"].astype(np.int64)) != 0
    )
    starts = np.flatnonzero(np.r_[True, new])
    found = rows[starts].copy()
    found["count"] = np.add.reduceat(rows["count"], starts)
    return found


class Markets:
    """Market numbers of users, kept at hand for as many as fit."""

    def __init__(self, most: int) -> None:
        """most: users that are kept at hand."""
        self._most = most
        self._known: dict[str, int] = {}

    def forget(self, users: Iterable[str]) -> None:
        """Look these up anew."""
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
