"""Items that existed when a past list was asked for.

The trainer reads the whole catalogue first. Then it makes lists of past events, to learn from them
and to judge bundles. Items that were published later would be candidates that no user could take: a
head would learn that new items are never taken, and bundles would be judged against items that
they never serve.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.items.published import ALWAYS
from dynamic_layer.lists.asking import Asking
from dynamic_layer.popularity.demand import Demand

__all__ = ["ExistingItems"]


class ExistingItems:
    """The items that were published at a time, and those that had an event before it.

    An event before the time of publication shows that the time is wrong.
    """

    def __init__(self, published: NDArray[np.int64] | None) -> None:
        """published: i64 [n], ms UTC; None: all items always existed."""
        self._published = published
        self._latest = ALWAYS if published is None else int(published.max(initial=ALWAYS))
        self._allowed: NDArray[np.bool_] | None = None

    def __call__(
        self, users: Asking, at_ms: NDArray[np.int64], demand: Demand
    ) -> tuple[Asking, NDArray[np.bool_] | None]:
        """Return the users, and which items existed at the last of their times, bool [n].

        at_ms: i64 [b], of each user's list; demand: of their moment. Items that came between these
        times are barred for the earlier users. None in place of the items: all existed.
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
