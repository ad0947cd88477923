"""When items were published, where the catalogue says so."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from static_layer.bundle import ALWAYS

__all__ = ["ALWAYS", "known_times", "published_ms", "times_of"]


class _Items(Protocol):
    @property
    def item_keys(self) -> NDArray[np.uint64]: ...


def times_of(published_at: Iterable[int | None]) -> NDArray[np.int64]:
    """Return times of the catalogue, ms UTC, as i64 [n]; `ALWAYS` where there is none.

    >>> times_of([5, None]).tolist() == [5, ALWAYS]
    True
    """
    return np.array([ALWAYS if at is None else at for at in published_at], np.int64)


def published_ms(static: _Items) -> NDArray[np.int64]:
    """Return when a static bundle's items were published, i64 [n]; see `times_of`."""
    known: NDArray[np.int64] | None = getattr(static, "published_ms", None)
    return np.full(len(static.item_keys), ALWAYS) if known is None else known


def known_times(static: _Items) -> NDArray[np.int64] | None:
    """Return `published_ms`; None where no item has a time."""
    found = published_ms(static)
    return found if (found > ALWAYS).any() else None
