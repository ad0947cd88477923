"""Demand as a worker knows it now: the live counts, or what the bundle was made with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundle import DynamicBundle
from dynamic_layer.demand import Demand, DemandReader
from dynamic_layer.features import ItemRows
from dynamic_layer.live_popularity import LivePopularity

#: Share of the events behind a bundle that the live counts must know: some have left the window
#: since it was made.
CAUGHT_UP = 0.98
#: Favourites of a market are ranked anew after so many milliseconds.
REFRESH_MS = 2_000


class LiveDemand:
    """Answers for one bundle's items. Live counts are used once they know what the bundle knew."""

    def __init__(self, bundle: DynamicBundle, live: LivePopularity | None) -> None:
        """live: shared with whoever adds to it; both must not be used at the same time."""
        self._bundle, self._live = bundle, live
        self._rows = ItemRows(bundle.item_keys)
        self._type_number = bundle.features.type_number.numpy()
        self._reader = self._reads(None)
        self._by_market: dict[int, DemandReader] = {}
        self._late: tuple[int, Demand] | None = None
        self._favourites: dict[tuple[int, int], tuple[int, NDArray[np.int64]]] = {}
        self._counts: dict[int, tuple[int, NDArray[np.float32]]] = {}

    def _reads(self, market: int | None) -> DemandReader | None:
        made = self._bundle.demand
        if self._live is None or made is None:
            return None
        halves = made.half_lives_days
        if market is not None:
            halves = (float(self._bundle.manifest["popularity"]["half_life_days"]),)
        return DemandReader(
            self._live, self._rows, len(self._bundle.item_keys), halves, market or None
        )

    def _is_live(self) -> bool:
        """Whether the live counts hold about the events that the bundle was made with."""
        known = self._bundle.manifest.get("demand_events")
        if self._live is None or self._reader is None or known is None:
            return False
        return self._live.events() >= CAUGHT_UP * known

    def at(self, now_ms: int) -> Demand:
        """Return the demand of the bundle's items at the end of the last whole bucket."""
        if self._reader is not None and self._is_live():
            return self._reader.at(now_ms)
        made = self._bundle.demand
        if made is None:
            raise ValueError("expected a bundle with demand: it has a head, but nothing to read")
        bucket_ms = int(self._bundle.manifest["demand_bucket_ms"])
        at_ms = max(made.at_ms, now_ms // bucket_ms * bucket_ms)
        if self._late is None or self._late[0] != at_ms:
            self._late = (at_ms, made.later(at_ms))
        return self._late[1]

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
            if known is None or (self._is_live() and abs(now_ms - known[0]) >= REFRESH_MS):
                rows = np.flatnonzero(self._type_number == number)
                # Ties, and items without events in the market, are settled by all markets.
                order = np.lexsort((-everywhere[rows], -counts[rows]))
                known = (now_ms, rows[order])
                self._favourites[market, number] = known
            best.append(known[1][: k + removed])
        return counts, best

    def _counted(self, market: int, now_ms: int) -> NDArray[np.float32]:
        if not self._is_live():
            return self._bundle.popularity[market]
        known = self._counts.get(market)
        if known is None or abs(now_ms - known[0]) >= REFRESH_MS:
            reader = self._by_market.get(market) or self._reads(market)
            if reader is None:
                return self._bundle.popularity[market]
            self._by_market[market] = reader
            known = (now_ms, reader.now(now_ms)[:, 0])
            self._counts[market] = known
        return known[1]
