"""Demand as a worker knows it now: the live counts, or what the bundle was made with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundle import DynamicBundle
from dynamic_layer.demand import Demand, DemandReader
from dynamic_layer.features import ItemRows
from dynamic_layer.live_popularity import LivePopularity

#: Favourites of a market are ranked anew after so many milliseconds.
REFRESH_MS = 2_000
_DAY_MS = 86_400_000


class LiveDemand:
    """Answers for one bundle's items: what the bundle knew, and what was counted since.

    So a worker keeps live counts of a few days, however far back the half-lives reach.
    """

    def __init__(self, bundle: DynamicBundle, live: LivePopularity | None) -> None:
        """live: shared with whoever adds to it."""
        self._bundle, self._live = bundle, live
        self._rows = ItemRows(bundle.item_keys)
        self._type_number = bundle.features.type_number.numpy()
        made = bundle.demand
        self._reader = None if made is None else self._goes_on(made, None)
        self._by_market: dict[int, DemandReader] = {}
        self._later: tuple[int, Demand] | None = None
        self._favourites: dict[tuple[int, int], tuple[int, NDArray[np.int64]]] = {}
        self._counts: dict[int, tuple[int, NDArray[np.float32]]] = {}

    def _goes_on(self, made: Demand, market: int | None) -> DemandReader | None:
        if self._live is None:
            return None
        items = len(self._bundle.item_keys)
        return DemandReader(self._live, self._rows, items, made.half_lives_days, market, made)

    def at(self, now_ms: int) -> Demand:
        """Return the demand of the bundle's items at the end of the last whole bucket."""
        if self._reader is not None:
            return self._reader.at(now_ms)
        made = self._bundle.demand
        if made is None:
            raise ValueError("expected a bundle with demand: it has a head, but nothing to read")
        bucket_ms = int(self._bundle.manifest["demand_bucket_ms"])
        at_ms = max(made.at_ms, now_ms // bucket_ms * bucket_ms)
        if self._later is None or self._later[0] != at_ms:
            self._later = (at_ms, made.later(at_ms))
        return self._later[1]

    def favourites(
        self, market: int, types: Sequence[int], k: int, removed: int, now_ms: int
    ) -> tuple[NDArray[np.float32], list[NDArray[np.int64]]]:
        """Return a market's counts f32 [n], and its first rows of each type, best first.

        Enough rows for k that are not removed. A market that nobody knows is all markets.
        """
        popularity = self._bundle.popularity
        market = market if market in popularity else 0
        counts = self._counted(market, now_ms)
        everywhere = self._counted(0, now_ms)
        best = []
        for number in types:
            known = self._favourites.get((market, number))
            if known is None or (self._live and abs(now_ms - known[0]) >= REFRESH_MS):
                rows = np.flatnonzero(self._type_number == number)
                # Ties, and items without events in the market, are settled by all markets.
                order = np.lexsort((-everywhere[rows], -counts[rows]))
                known = (now_ms, rows[order])
                self._favourites[market, number] = known
            best.append(known[1][: k + removed])
        return counts, best

    def _counted(self, market: int, now_ms: int) -> NDArray[np.float32]:
        known = self._counts.get(market)
        if known is not None and abs(now_ms - known[0]) < REFRESH_MS:
            return known[1]
        reader = self._by_market.get(market) or self._of_market(market)
        if reader is None:
            return self._bundle.popularity[market]
        self._by_market[market] = reader
        self._counts[market] = (now_ms, reader.now(now_ms)[:, 0])
        return self._counts[market][1]

    def _of_market(self, market: int) -> DemandReader | None:
        """Return a reader of a market's counts, from the hour behind the bundle's newest event.

        What the bundle knew of that hour is in its popularity.
        """
        manifest = self._bundle.manifest
        if self._live is None or "popularity_at" not in manifest:
            return None
        bucket_ms = self._live.bucket_ms
        half_life = float(manifest["popularity"]["half_life_days"])
        begin_ms = (int(manifest["newest_event"]) // bucket_ms + 1) * bucket_ms
        days = (int(manifest["popularity_at"]) - begin_ms) / _DAY_MS
        known = self._bundle.popularity[market][:, None] * np.float32(2 ** (days / half_life))
        nothing = np.zeros(len(known), np.float32)
        made = Demand(
            at_ms=begin_ms,
            half_lives_days=(half_life,),
            values=known,
            age_days=nothing,
            silent_days=nothing,
        )
        return self._goes_on(made, market or None)
