"""What users were shown and did not take, as a ranking head reads it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numba
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.ragged import take_rows

__all__ = ["FEATURE", "Impressions", "is_of_impressions"]

#: Beginning of the names of these features; a half-life follows.
FEATURE = "shown@"
_DAY_S = np.float32(86_400.0)


def is_of_impressions(name: str) -> bool:
    """Return whether a feature is read from impressions.

    >>> [is_of_impressions(name) for name in ("shown@1d", "z:shown@1d", "new")]
    [True, True, False]
    """
    return name.removeprefix("z:").startswith(FEATURE)


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """The items that each of `b` users was shown before the moment's bucket of the window.

    indptr:   i64 [b + 1]; user r has rows indptr[r]:indptr[r + 1].
    item:     i64 [t], item rows, ascending within a user.
    age_days: f32 [t], days from the end of the last bucket in which it was shown to the moment.
    count:    f32 [t], impressions.
    to_ms:    when that bucket began, ms UTC; 0 where that is not known.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int64]
    age_days: NDArray[np.float32]
    count: NDArray[np.float32]
    to_ms: int = 0

    @classmethod
    def of(
        cls,
        users: int,
        owner: NDArray[np.int64],
        rows: NDArray[np.int64],
        age_s: NDArray[np.float32],
        count: NDArray[np.integer[Any]],
        to_ms: int = 0,
    ) -> Self:
        """Return the impressions of so many users.

        owner: i64 [t], whose; rows: i64 [t], item rows, -1 for unknown ones, which are left out;
        age_s: f32 [t], seconds.
        """
        known = np.flatnonzero(rows >= 0)
        order = known[np.lexsort((rows[known], owner[known]))]
        return cls(
            indptr=np.searchsorted(owner[order], np.arange(users + 1)).astype(np.int64),
            item=rows[order],
            age_days=(age_s[order] / _DAY_S).astype(np.float32),
            count=count[order].astype(np.float32),
            to_ms=to_ms,
        )

    def take(self, users: NDArray[np.int64]) -> "Impressions":
        """Return those of some users, i64 [m]."""
        indptr, chosen = take_rows(self.indptr, users)
        return replace(
            self, indptr=indptr, item=self.item[chosen], age_days=self.age_days[chosen],
            count=self.count[chosen],
        )  # fmt: skip

    def features(
        self, candidates: NDArray[np.int64], half_lives_days: Sequence[float]
    ) -> NDArray[np.float32]:
        """Return log(1 + impressions) * 0.5 ** (age / half-life) of candidates, f32 [b, c, h].

        candidates: i64 [b, c], item rows; 0 for those that were not shown.
        """
        times = np.log1p(self.count)
        worth = [times * np.exp2(-self.age_days / np.float32(half)) for half in half_lives_days]
        return _found(  # type: ignore[no-any-return]
            self.indptr, self.item, np.stack(worth, axis=1).astype(np.float32), candidates
        )


@numba.njit(cache=True, nogil=True)
def _found(
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    worth: NDArray[np.float32],
    candidates: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the worth of the candidates' rows, found by bisection, f32 [b, c, h]."""
    b, c = candidates.shape
    out = np.zeros((b, c, worth.shape[1]), np.float32)
    for user in range(b):
        first, end = indptr[user], indptr[user + 1]
        if first == end:
            continue
        for place in range(c):
            low, high = first, end
            while low < high:
                middle = (low + high) // 2
                if item[middle] < candidates[user, place]:
                    low = middle + 1
                else:
                    high = middle
            if low < end and item[low] == candidates[user, place]:
                for half in range(worth.shape[1]):
                    out[user, place, half] = worth[low, half]
    return out
