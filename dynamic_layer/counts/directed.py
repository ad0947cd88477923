"""What others went on to: directed, session and co-interaction counts, read from the events.

A walk goes from an item that the user met lately to the people who met it before the moment, and
on to what they met shortly after, within the hour, or at any time. Counts are exact at every
moment: nothing is kept that would have to be brought up to date.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.counts.kth import kth_smallest
from dynamic_layer.counts.stream_index import StreamIndex, first_from

WALKS = (
    "next@last",
    "steps@last",
    "steps@recent",
    "aligned",
    "session@last",
    "session@hour",
    "session@recent",
    "together@last",
    "together@hour",
    "together@day",
)
_KINDS, _COSINES = 10, 4  # columns, and the first of those that are cosines
_REACHED, _HAD, _LISTED = 1, 2, 3
_HOUR_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class WalkSettings:
    """How far walks go.

    sources:   latest events of the user that walks start from.
    people:    latest events on a source that are followed.
    steps:     events after a source that count as its continuation, each worth `step_decay` of the
               one before. The source's own age in events decays by `age_decay`.
    session_hours: a session's events are at most this far from the source.
    span:      events of a person's history, before and after the source, that count as together.
    """

    sources: int = 12
    people: int = 200
    steps: int = 6
    step_decay: float = 0.6
    age_decay: float = 0.7
    session_hours: float = 1.0
    span: int = 60


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`b` requests for recommendations, each with the moments up to which things are known.

    user:     i64 [b].
    at_ms:    i64 [b], when it is asked. What the user had strictly before is not asked for again.
    user_ms:  i64 [b], up to which the user's history is known; at most `at_ms`.
    model_ms: i64 [b], up to which other people's events are known; at most `at_ms`.
    demand_ms: i64 [b], up to which demand is known; at most `at_ms`.
    """

    user: NDArray[np.int64]
    at_ms: NDArray[np.int64]
    user_ms: NDArray[np.int64]
    model_ms: NDArray[np.int64]
    demand_ms: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.user)

    def __post_init__(self) -> None:
        """Refuse to look into the future; raises ValueError."""
        for name in ("user_ms", "model_ms", "demand_ms"):
            if np.any(getattr(self, name) > self.at_ms):
                raise ValueError(f"{name} lies after the moment that is asked for")

    def where(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Asked":
        """Return some of the requests."""
        return Asked(**{name: column[rows] for name, column in vars(self).items()})


def walk(
    index: StreamIndex,
    asked: Asked,
    brought: NDArray[np.int64],
    settings: WalkSettings,
    *,
    tops: Sequence[tuple[str, int]],
    limit: int,
    repeats: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return candidates i64 [b, c], NONE where a list ends, and what walks say of them.

    brought: i64 [b, m] candidates of other sources, NONE allowed, which come first. tops: names of
    `WALKS` and how many of the greatest each adds. limit: of the list. Without `repeats` what the
    user had (strong events) is left out. Values are f32 [b, c, len(WALKS)]: shares of the source's
    events (next, steps, aligned) and cosines (session, together), summed over sources.
    """
    columns = np.array([WALKS.index(name) for name, _ in tops], np.int64)
    counts = np.array([count for _, count in tops], np.int64)
    people = (index.user_indptr, index.item, index.time, index.strong, index.owner)
    items = (index.item_indptr, index.item_time, index.place)
    far = (settings.sources, settings.people, settings.span)
    powers = np.array([settings.step_decay**step for step in range(settings.steps)], np.float32)
    session_ms = round(settings.session_hours * _HOUR_MS)
    return _walk(  # type: ignore[no-any-return]
        asked.user, asked.at_ms, asked.user_ms, asked.model_ms, people, items,
        brought, columns, counts, limit, repeats, far, powers, settings.age_decay, session_ms,
    )  # fmt: skip


_People = tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]
]
_Items = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@numba.njit(cache=True, nogil=True)
def _walk(
    users: NDArray[np.int64],
    at_ms: NDArray[np.int64],
    user_ms: NDArray[np.int64],
    model_ms: NDArray[np.int64],
    people: _People,
    items: _Items,
    brought: NDArray[np.int64],
    top_columns: NDArray[np.int64],
    top_counts: NDArray[np.int64],
    limit: int,
    repeats: bool,
    far: tuple[int, int, int],
    powers: NDArray[np.float32],
    age_decay: float,
    session_ms: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    indptr, item, time, strong, _ = people
    b, n = len(users), len(items[0]) - 1
    out = np.full((b, limit), -1, np.int64)
    values = np.zeros((b, limit, _KINDS), np.float32)
    total = np.zeros((n, _KINDS), np.float32)
    state = np.zeros(n, np.int8)
    reached = np.empty(n, np.int64)
    widest = 0
    for row in range(b):
        first = indptr[users[row]]
        had = first_from(time, first, indptr[users[row] + 1], at_ms[row])
        if not repeats:
            for entry in range(first, had):
                if strong[entry]:
                    state[item[entry]] = _HAD
        end = first_from(time, first, had, user_ms[row])
        count = _reach(
            first, end, user_ms[row], model_ms[row], people, items,
            far, powers, age_decay, session_ms, total, state, reached,
        )  # fmt: skip
        _norm(reached[:count], model_ms[row], items, total)
        filled, count = _take(brought[row], out[row], 0, state, reached, count)
        for top in range(len(top_columns)):
            most = _most(reached[:count], total, top_columns[top], top_counts[top])
            filled, count = _take(most, out[row], filled, state, reached, count)
        for place in range(filled):
            values[row, place] = total[out[row, place]]
        for place in range(count):
            state[reached[place]] = 0
            total[reached[place]] = 0
        for entry in range(first, had):
            state[item[entry]] = 0
        widest = max(widest, filled)
    return out[:, : max(widest, 1)], values[:, : max(widest, 1)]


@numba.njit(cache=True, nogil=True)
def _reach(
    first: int,
    end: int,
    user_ms: int,
    known: int,
    people: _People,
    items: _Items,
    far: tuple[int, int, int],
    powers: NDArray[np.float32],
    age_decay: float,
    session_ms: int,
    total: NDArray[np.float32],
    state: NDArray[np.int8],
    reached: NDArray[np.int64],
) -> int:
    """Add up what is met from a user's latest events first:end; return how many items are."""
    indptr, item, time, _, owner = people
    item_indptr, item_time, place_of = items
    sources, most, span = far
    count = 0
    for back in range(min(sources, end - first)):
        source, person = item[end - 1 - back], owner[first]
        begin = item_indptr[source]
        until = first_from(item_time, begin, item_indptr[source + 1], known)
        if until == begin:
            continue
        hours = (user_ms - time[end - 1 - back]) / 3_600_000
        worth = np.array(
            [
                1.0 / (until - begin),
                age_decay**back,
                1.0 / np.sqrt(until - begin),
                2.0**-hours,
                2.0 ** (-hours / 24),
            ],
            np.float32,
        )
        for visit in range(max(begin, until - most), until):
            here = place_of[visit]
            other = owner[here]
            if other == person:
                continue
            high = min(indptr[other + 1], here + span + 1)
            for met in range(max(indptr[other], here - span), high):
                if time[met] >= known:
                    break
                target = item[met]
                if state[target] == _HAD or target == source:
                    continue
                if state[target] == 0:
                    state[target] = _REACHED
                    reached[count] = target
                    count += 1
                gap = time[met] - time[here]
                _credit(total[target], back, met - here, gap, worth, powers, session_ms)
    return count


@numba.njit(cache=True, nogil=True, inline="always")
def _credit(
    scores: NDArray[np.float32],
    back: int,
    ahead: int,
    gap: int,
    worth: NDArray[np.float32],
    powers: NDArray[np.float32],
    session_ms: int,
) -> None:
    """Credit an item that a person met `ahead` events and `gap` ms after a source.

    worth: share of the source's events, decay by its age in events, root of that share, decay by
    its age in hours and in days. Columns are those of `WALKS`.
    """
    share, recent, root = worth[0], worth[1], worth[2]
    hourly, daily = worth[3], worth[4]
    if gap > 0 and ahead <= len(powers):
        step = share * powers[ahead - 1]
        if back == 0:
            scores[1] += step
            if ahead == 1:
                scores[0] += share
        scores[2] += step * recent
        off = abs(ahead - 1 - back)
        if off < len(powers):
            scores[3] += share * recent * powers[off]
    if abs(gap) <= session_ms:
        if back == 0:
            scores[4] += root
        scores[5] += root * hourly
        scores[6] += root * recent
    if back == 0:
        scores[7] += root
    scores[8] += root * hourly
    scores[9] += root * daily


@numba.njit(cache=True, nogil=True)
def _norm(found: NDArray[np.int64], known: int, items: _Items, total: NDArray[np.float32]) -> None:
    """Make cosines of sums: divide by the root of the items' own events."""
    indptr, time, _ = items
    for target in found:
        begin = indptr[target]
        met = first_from(time, begin, indptr[target + 1], known) - begin
        total[target, _COSINES:] /= np.sqrt(np.float32(met))


@numba.njit(cache=True, nogil=True)
def _most(
    found: NDArray[np.int64], total: NDArray[np.float32], column: int, wanted: int
) -> NDArray[np.int64]:
    """Return the items with the greatest values above 0, i64 [wanted], -1 where there are fewer."""
    out = np.full(wanted, -1, np.int64)
    bound = np.float32(0)
    if len(found) > wanted:
        one = np.empty(len(found), np.float32)
        for place in range(len(found)):
            one[place] = total[found[place], column]
        bound = np.float32(kth_smallest(one, len(one) - wanted))
    taken = 0
    for target in found:
        if taken < wanted and total[target, column] > 0 and total[target, column] >= bound:
            out[taken] = target
            taken += 1
    return out


@numba.njit(cache=True, nogil=True)
def _take(
    offered: NDArray[np.int64],
    out: NDArray[np.int64],
    filled: int,
    state: NDArray[np.int8],
    reached: NDArray[np.int64],
    count: int,
) -> tuple[int, int]:
    """Append what is new to a list; return the list's length and the count of touched items."""
    for target in offered:
        if target >= 0 and state[target] < _HAD and filled < len(out):
            if state[target] == 0:
                reached[count] = target
                count += 1
            state[target] = _LISTED
            out[filled] = target
            filled += 1
    return filled, count
