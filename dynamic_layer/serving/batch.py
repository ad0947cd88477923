"""Users who are answered together, and what ranks items for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.hits import Hits
from dynamic_layer.lists.asking import Asking
from dynamic_layer.serving.new_items import KnownItems
from dynamic_layer.serving.rankings import UserState
from dynamic_layer.settings import ListSettings

__all__ = ["Batch", "Rankers"]


Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Users who are answered together.

    markets: i64 [b]; personal: whether anything of their histories is known; hurry: no head.
    """

    users: Sequence[UserState]
    asked: Asking
    markets: NDArray[np.int64]
    personal: list[bool]
    now_ms: int
    hurry: bool

    def take(self, places: Sequence[int]) -> "Batch":
        """Return some of the users; the same object for all of them."""
        if len(places) == len(self.users):
            return self
        chosen = np.asarray(places)
        return replace(
            self,
            users=[self.users[place] for place in places],
            asked=self.asked.take(chosen),
            markets=self.markets[chosen],
            personal=[self.personal[place] for place in places],
        )


class Rankers(KnownItems, Protocol):
    """What a recommender ranks with; the only items are those of `allowed`, all when None."""

    def ranked(
        self, batch: Batch, lists: Sequence[ListSettings], allowed: Mask | None
    ) -> Iterator[tuple[ListSettings, Hits, bool]]:
        """Yield each list's best items for users with a history, and whether a head ranked."""
        ...

    def popular(
        self, market: int, types: Sequence[int], k: int, now_ms: int, allowed: Mask | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows most in demand in a market, best first, and their scores."""
        ...

    def type_numbers(self, item_types: Sequence[str]) -> list[int]:
        """Return the numbers of types, of all where none is named."""
        ...
