"""Demand as a worker knows it now: the live counts, or what the bundle was made with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.items.features import ItemRows, rows_by_type
from dynamic_layer.popularity.demand import Demand, DemandReader
from dynamic_layer.popularity.live import LivePopularity

#: Favourites of a market are ranked again after so many milliseconds; so long may new items wait.
REFRESH_MS = 2_000
#: Counts of earlier moments are given up when none was asked for in so many milliseconds.
_PAST_MS = 60_000
_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class _OfNew:
    """A reader of the first `items` of the items that the bundle does not have."""

    reader: DemandReader
    items: int
    made_ms: int


class LiveDemand:
    """Answers for one bundle's items: what the bundle knew, and what was counted since.

    So a worker keeps live counts of a few days, however far back the half-lives reach. Items that
    came after the bundle have what is counted of them alone.

    Earlier moments, which previews of policies ask for, are counted apart: otherwise each change
    between now and then would count the whole window again, for the preview and for live requests.
    """

    def __init__(
        self, bundle: DynamicBundle, live: LivePopularity | None, rows: ItemRows | None = None
    ) -> None:
        """live: shared with the readers that add to it; rows: finds the bundle's items."""
        self._bundle, self._live = bundle, live
        self._newest_ms, self._past_used_ms = 0, 0
        self._past: LiveDemand | None = None
        self._rows = rows or ItemRows(bundle.item_keys)
        self._type_number = bundle.features.type_number.numpy()
        self._new = bundle.item_keys[:0]
        self._of_new: dict[tuple[int | None, tuple[float, ...]], _OfNew] = {}
        self._joined: tuple[Demand, Demand, Demand] | None = None
        made = bundle.demand
        self._reader = None if made is None else self._goes_on(made, None)
        self._by_market: dict[int, DemandReader] = {}
        self._later: tuple[int, Demand] | None = None
        self._favourites: dict[int, tuple[int, dict[int, NDArray[np.int64]]]] = {}
        self._counts: dict[int, tuple[int, NDArray[np.float32]]] = {}
        of_types = np.array([bundle.half_lives_days[name] for name in bundle.types])
        halves, self._half_life_of_type = np.unique(of_types, return_inverse=True)
        self._half_lives: tuple[float, ...] = tuple(halves.tolist())

    def _goes_on(self, made: Demand, market: int | None) -> DemandReader | None:
        if self._live is None:
            return None
        items = len(self._bundle.item_keys)
        return DemandReader(self._live, self._rows, items, made.half_lives_days, market, made)

    def add_items(self, item_keys: NDArray[np.uint64], type_number: NDArray[np.int64]) -> None:
        """Append items behind all others, u64 [m] and i64 [m]; their counts are read soon."""
        self._new = np.concatenate([self._new, item_keys])
        self._type_number = np.concatenate([self._type_number, type_number])
        if self._past is not None:
            self._past.add_items(item_keys, type_number)

    def _of(self, now_ms: int) -> "LiveDemand":
        """Return what counts for a moment: this object, or one for earlier moments."""
        if self._live is None or now_ms > self._newest_ms - REFRESH_MS:
            self._newest_ms = max(self._newest_ms, now_ms)
            if self._newest_ms - self._past_used_ms > _PAST_MS:
                self._past = None
            return self
        self._past_used_ms = self._newest_ms
        if self._past is None:
            self._past = LiveDemand(self._bundle, self._live, self._rows)
            known = len(self._bundle.item_keys)
            self._past.add_items(self._new, self._type_number[known:])
        return self._past

    def _reader_of_new(
        self, market: int | None, half_lives_days: tuple[float, ...], now_ms: int
    ) -> DemandReader | None:
        """Return a reader of the items that came after the bundle, perhaps not of the latest.

        One that knows them all begins with all that is counted: not each time that one comes.
        """
        if self._live is None or not len(self._new):
            return None
        which = (market, half_lives_days)
        known = self._of_new.get(which)
        late = known is not None and known.items < len(self._new)
        if known is None or (late and abs(now_ms - known.made_ms) >= REFRESH_MS):
            rows, items = ItemRows(self._new), len(self._new)
            reader = DemandReader(self._live, rows, items, half_lives_days, market)
            known = self._of_new[which] = _OfNew(reader=reader, items=items, made_ms=now_ms)
        return known.reader

    def at(self, now_ms: int) -> Demand:
        """Return the demand at the end of the last whole bucket; the latest items may be missing.

        Of the bundle's items, and behind them of those that came later.
        """
        return self._of(now_ms)._at(now_ms)

    def _at(self, now_ms: int) -> Demand:
        if self._reader is not None:
            known = self._reader.at(now_ms)
            of_new = self._reader_of_new(None, known.half_lives_days, now_ms)
            return known if of_new is None else self._join(known, of_new.at(now_ms))
        made = self._bundle.demand
        if made is None:
            raise ValueError("expected a bundle with demand: it has a head, but nothing to read")
        bucket_ms = int(self._bundle.manifest["demand_bucket_ms"])
        at_ms = max(made.at_ms, now_ms // bucket_ms * bucket_ms)
        if self._later is None or self._later[0] != at_ms:
            self._later = (at_ms, made.later(at_ms))
        return self._later[1]

    def _join(self, known: Demand, new: Demand) -> Demand:
        """Return both as one; the same object while they are, since it remembers its order."""
        if self._joined is None or self._joined[0] is not known or self._joined[1] is not new:
            joined = Demand(
                at_ms=known.at_ms,
                half_lives_days=known.half_lives_days,
                values=np.concatenate([known.values, new.values]),
                age_days=np.concatenate([known.age_days, new.age_days]),
                silent_days=np.concatenate([known.silent_days, new.silent_days]),
            )
            self._joined = (known, new, joined)
        return self._joined[2]

    def favourites(
        self, market: int, types: Sequence[int], k: int, removed: int, now_ms: int
    ) -> tuple[NDArray[np.float32], list[NDArray[np.int64]]]:
        """Return a market's counts f32 [n], and its first rows of each type, best first.

        Enough rows for k that are not removed. An unknown market means all markets.
        """
        return self._of(now_ms)._best(market, types, k + removed, now_ms)

    def _best(
        self, market: int, types: Sequence[int], k: int, now_ms: int
    ) -> tuple[NDArray[np.float32], list[NDArray[np.int64]]]:
        popularity = self._bundle.popularity
        market = market if market in popularity else 0
        counts = self._counted(market, now_ms)
        everywhere = self._counted(0, now_ms)
        known = self._favourites.get(market)
        if known is None or (self._live and abs(now_ms - known[0]) >= REFRESH_MS):
            # Ties, and items without events in the market, are settled by all markets.
            order = np.lexsort((-everywhere, -counts))
            places = rows_by_type(self._type_number[order])
            known = (now_ms, {number: order[own] for number, own in places.items()})
            self._favourites[market] = known
        nothing = np.zeros(0, np.int64)
        return counts, [known[1].get(number, nothing)[:k] for number in types]

    def counted(self, market: int, now_ms: int) -> NDArray[np.float32]:
        """Return the counts of all items f32 [n]; 0 for the latest, whose counts are not read."""
        return self._of(now_ms)._counted(market, now_ms)

    def _counted(self, market: int, now_ms: int) -> NDArray[np.float32]:
        known = self._counts.get(market)
        if known is None or abs(now_ms - known[0]) >= REFRESH_MS:
            known = self._counts[market] = (now_ms, self._count(market, now_ms))
        return np.pad(known[1], (0, len(self._type_number) - len(known[1])))

    def _count(self, market: int, now_ms: int) -> NDArray[np.float32]:
        reader = self._by_market.get(market) or self._of_market(market)
        if reader is None:
            return self._bundle.popularity[market]
        self._by_market[market] = reader
        counts = reader.now(now_ms)
        of_new = self._reader_of_new(market or None, self._half_lives, now_ms)
        if of_new is not None:
            counts = np.concatenate([counts, of_new.now(now_ms)])
        return np.take_along_axis(counts, self._column(len(counts)), axis=1)[:, 0]

    def _column(self, items: int) -> NDArray[np.int64]:
        """Return which of the half-lives is that of an item's type, i64 [items, 1]."""
        return np.asarray(self._half_life_of_type[self._type_number[:items], None], np.int64)

    def _of_market(self, market: int) -> DemandReader | None:
        """Return a reader of a market's counts, from the hour behind the bundle's newest event.

        What the bundle knew of that hour is in its popularity.
        """
        manifest = self._bundle.manifest
        if self._live is None or "popularity_at" not in manifest:
            return None
        bucket_ms = self._live.bucket_ms
        halves = np.asarray(self._half_lives)
        begin_ms = (int(manifest["newest_event"]) // bucket_ms + 1) * bucket_ms
        days = (int(manifest["popularity_at"]) - begin_ms) / _DAY_MS
        # Of each type the column of its own half-life is right, and no other is read.
        counted = self._bundle.popularity[market][:, None]
        known = (counted * np.exp2(days / halves)).astype(np.float32)
        nothing = np.zeros(len(known), np.float32)
        made = Demand(
            at_ms=begin_ms,
            half_lives_days=self._half_lives,
            values=known,
            age_days=nothing,
            silent_days=nothing,
        )
        return self._goes_on(made, market or None)
