"""Users who are answered together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.lists.asking import Asking
from dynamic_layer.serving.rankings import UserState

__all__ = ["WITHOUT_HEAD", "Batch"]

#: In the place of the number that divides candidates: no head ranks.
WITHOUT_HEAD = 0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Users who are answered together.

    markets: i64 [b]; personal: whether anything of their histories is known; fewer: see
    `Recommender.recommend`.
    """

    users: Sequence[UserState]
    asked: Asking
    markets: NDArray[np.int64]
    personal: list[bool]
    now_ms: int
    fewer: int

    @property
    def without_head(self) -> bool:
        """Whether lists are made without a head and by a rough search, since many users wait."""
        return self.fewer == WITHOUT_HEAD

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
