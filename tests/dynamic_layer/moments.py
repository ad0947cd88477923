"""The state at a moment, made from events: what features are compared with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories, Moment

_DAY_MS = 86_400_000


def moment_at(
    at_ms: int,
    *,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    timestamp: NDArray[np.int64],
    n_users: int,
    n_items: int,
    half_lives_days: Sequence[float],
) -> Moment:
    """Return the state at a moment from events in any order, i64 [n] each; later ones are ignored.

    A half-life of infinity counts all events alike.
    """
    before = timestamp < at_ms
    user, item, timestamp = user[before], item[before], timestamp[before]
    age_days = ((at_ms - timestamp) / _DAY_MS).astype(np.float32)
    demand = np.stack(
        [
            np.bincount(item, weights=np.exp2(-age_days / half_life), minlength=n_items)
            for half_life in half_lives_days
        ],
        axis=1,
    )
    oldest, newest = np.zeros(n_items, np.float32), np.full(n_items, np.inf, np.float32)
    np.maximum.at(oldest, item, age_days)
    np.minimum.at(newest, item, age_days)
    return Moment(
        at_ms=at_ms,
        histories=_histories(user, item, age_days, n_users, n_items),
        demand=demand.astype(np.float32),
        age_days=oldest,
        silent_days=np.where(np.isfinite(newest), newest, np.float32(0)),
    )


def _histories(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    age_days: NDArray[np.float32],
    n_users: int,
    n_items: int,
) -> Histories:
    code = user * n_items + item
    order = np.lexsort((age_days, code))
    _, first = np.unique(code[order], return_index=True)
    kept = order[first]
    # Newest first; items settle what met at the same time, so that arrival order cannot.
    rows = kept[np.lexsort((item[kept], age_days[kept], user[kept]))]
    sizes = np.bincount(user[rows], minlength=n_users)
    return Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=item[rows],
        age_days=age_days[rows],
    )
