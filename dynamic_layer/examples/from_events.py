"""Training examples from columns of events: how towers are trained on a past that is at hand."""

import numba
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.examples.batch import ExampleBatch


def examples_of(
    *,
    user: NDArray[np.int64],
    item_key: NDArray[np.uint64],
    timestamp: NDArray[np.int64],
    strong: NDArray[np.bool_],
    first: int = 0,
    history_cap: int = 100,
    topic: str = "events",
) -> ExampleBatch:
    """Return an example for each event from number `first` on, in order of time.

    The columns hold all events, [n] each, in order of time. A history holds the distinct items of
    the user's latest `history_cap` events strictly before the example's timestamp: what shares a
    timestamp (a basket, a day) has no order that could be relied on, and would tell the target.
    """
    order = np.lexsort((np.arange(len(user)), user))
    place = np.empty(len(user), np.int64)
    place[order] = np.arange(len(user))
    wanted = np.arange(first, len(user))
    begin, size, repeat = _histories(
        user[order], item_key[order], timestamp[order], place[wanted], history_cap
    )
    indptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    entry = _entries(item_key[order], begin, place[wanted], timestamp[order], indptr, history_cap)
    source = order[entry]
    return ExampleBatch(
        topic=topic,
        partition=0,
        offset=wanted.astype(np.int64),
        target=item_key[wanted],
        timestamp=timestamp[wanted],
        strong=strong[wanted],
        repeat=repeat,
        country=[""] * len(wanted),
        birth_year=np.zeros(len(wanted), np.int16),
        indptr=indptr,
        history_item=item_key[source],
        history_time=timestamp[source],
        history_strong=strong[source],
    )


@numba.njit(cache=True)
def _histories(
    user: NDArray[np.int64],
    key: NDArray[np.uint64],
    timestamp: NDArray[np.int64],
    wanted: NDArray[np.int64],
    cap: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Where each user's events begin, the size of each history, and whether it has the target."""
    begin = np.zeros(len(user), np.int64)
    for row in range(1, len(user)):
        begin[row] = begin[row - 1] if user[row] == user[row - 1] else row
    size = np.zeros(len(wanted), np.int64)
    repeat = np.zeros(len(wanted), np.bool_)
    for place in range(len(wanted)):
        row = wanted[place]
        seen = set([key[row]])  # noqa: C405 - numba reads no set display of a variable
        read = 0
        entry = row - 1
        while entry >= begin[row] and read < cap:
            if timestamp[entry] < timestamp[row]:
                read += 1
                if key[entry] == key[row]:
                    repeat[place] = True
                seen.add(key[entry])
            entry -= 1
        size[place] = len(seen) - 1 + repeat[place]
    return begin, size, repeat


@numba.njit(cache=True)
def _entries(
    key: NDArray[np.uint64],
    begin: NDArray[np.int64],
    wanted: NDArray[np.int64],
    timestamp: NDArray[np.int64],
    indptr: NDArray[np.int64],
    cap: int,
) -> NDArray[np.int64]:
    """Return the rows of the histories' entries, the latest event of each item, newest first."""
    out = np.empty(indptr[-1], np.int64)
    for place in range(len(wanted)):
        row, filled, read = wanted[place], indptr[place], 0
        entry = row - 1
        while entry >= begin[row] and read < cap:
            if timestamp[entry] < timestamp[row]:
                read += 1
                new = True
                for other in range(indptr[place], filled):
                    if key[out[other]] == key[entry]:
                        new = False
                        break
                if new:
                    out[filled] = entry
                    filled += 1
            entry -= 1
    return out
