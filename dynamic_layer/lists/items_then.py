"""Items that were there when a past list was asked for.

A catalogue is read whole, and lists of past events are made from it afterwards, to learn from them
and to judge by them. Items that came later would be candidates that no user could take: a head
learns that new items are never taken, and a bundle is judged against items that it never meets.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.items.published import ALWAYS
from dynamic_layer.lists.asking import Asking
from dynamic_layer.popularity.demand import Demand

__all__ = ["ItemsThen"]


class ItemsThen:
    """The items that were published at a time, and those that had an event before it.

    A time of publication that an event contradicts says nothing.
    """

    def __init__(self, published: NDArray[np.int64] | None) -> None:
        """published: i64 [n], ms UTC; None: all items were always there."""
        self._published = published
        self._latest = ALWAYS if published is None else int(published.max(initial=ALWAYS))
        self._allowed: NDArray[np.bool_] | None = None

    def __call__(
        self, users: Asking, at_ms: NDArray[np.int64], demand: Demand
    ) -> tuple[Asking, NDArray[np.bool_] | None]:
        """Return the users, and the items that were there at the last of their times, bool [n].

        at_ms: i64 [b], of each user's list; demand: of their moment. Items that came between these
        times are barred for the users before. None in place of the items: all were there.
        """
        published, first, last = self._published, int(at_ms.min()), int(at_ms.max())
        if published is None or self._latest <= first:
            return users, None
        unmet = demand.grown(len(published)).age_days == 0
        came = np.flatnonzero(unmet & (published > first) & (published <= last))
        if len(came):
            late = np.where(published[came] > at_ms[:, None], came, -1)
            before = [] if users.cooling is None else [users.cooling]
            users = replace(users, cooling=np.concatenate([*before, late], axis=1))
        allowed = ~unmet | (published <= last)
        # The same array for the same items: list makers keep what they made of the last one.
        if self._allowed is None or not np.array_equal(self._allowed, allowed):
            self._allowed = allowed
        return users, self._allowed
