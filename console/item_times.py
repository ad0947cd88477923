"""An item's events and its neighbours' common users, by bucket of the window."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from console.demand_days import DemandDays
from console.replica import Replica
from state import item_key, market_of
from state.database import USERS, after

__all__ = ["Edges", "ItemTimes", "Wanting"]

#: Markets that are told apart, those with the most events; the others are one.
MARKETS = 8
#: Users of each partition that are asked for their country: a market's number does not tell it.
SAMPLED_USERS = 1_000


class _Person(msgspec.Struct):
    country: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wanting:
    """Events of an item by bucket of the window.

    starts: ms UTC of each bucket; events: in each; markets: (number, countries seen in it, events
    in each bucket), the greatest first; number 0 is no country, None all others.
    """

    bucket_ms: int
    starts: list[int]
    events: list[int]
    markets: list[tuple[int | None, list[str], list[int]]]


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Users that an item and its neighbours share, by bucket.

    by_neighbour: other item's key -> users in each bucket, the strongest neighbours first.
    """

    bucket_ms: int
    starts: list[int]
    by_neighbour: dict[int, list[int]]


class ItemTimes:
    """Reads the replica's committed states in another thread, without blocking other answers."""

    def __init__(self, replica: Replica) -> None:
        """Read from `replica`."""
        self._replica = replica
        settings = replica.state_settings
        self._days = DemandDays(settings.window.bucket_ms // settings.demand_ms)
        # One at a time: the first reads all buckets of the window, and sums are kept.
        self._reading = asyncio.Lock()

    async def wanting(self, item_type: str, item_id: str) -> Wanting:
        """Return an item's events of the graph kinds inside the window."""
        async with self._reading:
            return await asyncio.to_thread(self._wanting, item_type, item_id)

    async def edges(self, item_type: str, item_id: str, neighbours: Iterable[int]) -> Edges:
        """Return from which buckets the edges to some neighbours come."""
        wanted = np.fromiter(neighbours, np.uint64)
        async with self._reading:
            return await asyncio.to_thread(self._edges, item_type, item_id, wanted)

    def _window(self) -> tuple[int, int]:
        """First bucket of the window, and how many there are up to the newest."""
        states = self._replica.partitions.states.values()
        watermark = max((state.watermark for state in states), default=0)
        first = max(self._replica.state_settings.window.first_live(watermark), 0)
        return first, watermark - first + 1

    def _starts(self, first: int, length: int) -> list[int]:
        bucket_ms = self._replica.state_settings.window.bucket_ms
        return [(first + place) * bucket_ms for place in range(length)]

    def _wanting(self, item_type: str, item_id: str) -> Wanting:
        settings, (first, length) = self._replica.state_settings, self._window()
        states = list(self._replica.partitions.states.values())
        by_market = self._days.of_item(states, item_type, item_id, first, length)
        ranked = sorted(by_market, key=lambda market: (-by_market[market].sum(), market))
        named = self._countries(ranked[:MARKETS])
        rest = sum((by_market[market] for market in ranked[MARKETS:]), np.zeros(length, np.int64))
        told: list[tuple[int | None, list[str], list[int]]] = [
            (market, named.get(market, []), by_market[market].tolist())
            for market in ranked[:MARKETS]
        ]
        if rest.any():
            told.append((None, [], rest.tolist()))
        return Wanting(
            bucket_ms=settings.window.bucket_ms,
            starts=self._starts(first, length),
            events=sum(by_market.values(), np.zeros(length, np.int64)).tolist(),
            markets=told,
        )

    def _countries(self, markets: list[int]) -> dict[int, list[str]]:
        """Market -> countries that are in it, of those that some users are from."""
        seen: set[str] = set()
        for state in list(self._replica.partitions.states.values()):
            for _, stored in islice(state.database.scan(USERS, after(USERS)), SAMPLED_USERS):
                seen.add(msgspec.json.decode(stored, type=_Person).country or "")
        found: dict[int, list[str]] = {}
        for country in sorted(seen - {""}):
            if market_of(country) in markets:
                found.setdefault(market_of(country), []).append(country)
        return found

    def _edges(self, item_type: str, item_id: str, wanted: NDArray[np.uint64]) -> Edges:
        settings, (first, length) = self._replica.state_settings, self._window()
        rows = {key: np.zeros(length, np.int64) for key in wanted.tolist()}
        own = item_key(item_type, item_id)
        for state in list(self._replica.partitions.states.values()):
            keys, buckets, deltas = state.edges(item_type, item_id, first_bucket=first)
            chosen = np.isin(keys, wanted) & (keys != np.uint64(own)) & (buckets < first + length)
            for key in np.unique(keys[chosen]).tolist():
                of_key = chosen & (keys == np.uint64(key))
                np.add.at(rows[key], buckets[of_key] - first, deltas[of_key])
        return Edges(
            bucket_ms=settings.window.bucket_ms,
            starts=self._starts(first, length),
            by_neighbour={key: row.tolist() for key, row in rows.items()},
        )
