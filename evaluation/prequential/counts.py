"""Counting baselines of a stream: live demand, item-based co-interaction, directed bigrams.

Each is exact at the moment of every question, and none looks at a question's own timestamp.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from evaluation.baselines import Scores
from evaluation.prequential.stream_index import StreamIndex, first_from

__all__ = ["Neighbours", "demand_scores", "neighbour_scores"]

_TINY = np.float32(1e-6)
_NOTHING = 1e-4  # weight of a source from which on older ones are left out
#: Powers of two by which later events weigh more, before all are brought back.
_GROWN = 500.0


def demand_scores(
    index: StreamIndex, at_ms: npt.NDArray[np.int64], half_life_days: float
) -> Scores:
    """Demand of every item just before each moment, f32 [b, items]; moments ascend.

    Ranks are those of the decayed count; the values of different
    moments have different units.
    """
    begin = int(at_ms[0])
    first = int(np.searchsorted(index.arrived, begin))
    return _demand_rows(  # type: ignore[no-any-return]
        index.demand_at(begin, half_life_days),
        index.arrived[first:],
        index.arrived_item[first:],
        at_ms,
        begin,
        half_life_days,
    )


@njit(cache=True, nogil=True)
def _demand_rows(
    value: npt.NDArray[np.float64],
    times: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    at_ms: npt.NDArray[np.int64],
    begin_ms: int,
    half_life_days: float,
) -> Scores:
    """Instead of decaying all items at every moment, later events weigh more."""
    out = np.empty((len(at_ms), len(value)), np.float32)
    place, since, row = 0, begin_ms, 0
    while row < len(at_ms):
        while place < len(times) and times[place] < at_ms[row]:
            power = (times[place] - since) / 86_400_000 / half_life_days
            if power > _GROWN:
                value *= 2.0**-power
                since, power = times[place], 0.0
            value[items[place]] += 2.0**power
            place += 1
        scale = value.max()
        scale = 1.0 / scale if scale > 0 else 1.0
        for item in range(len(value)):
            out[row, item] = value[item] * scale
        row += 1
    return out


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Which items the user's latest events lead to.

    sources:     latest events that count. hours: only those in so many hours before the question;
                 where there are none, the latest one. half_life_hours: of their weight.
    directed:    count what came right after the source alone (bigrams), as a share of its events;
                 otherwise people who met both, as a cosine.
    evidence_half_life_days: of the weight of a person who met both, since the later of the two.
    """

    sources: int = 50
    hours: float = float("inf")
    half_life_hours: float = float("inf")
    directed: bool = False
    evidence_half_life_days: float = float("inf")


def neighbour_scores(
    index: StreamIndex,
    users: npt.NDArray[np.int64],
    at_ms: npt.NDArray[np.int64],
    settings: Neighbours,
) -> Scores:
    """Scores of every item for users at moments, f32 [b, items]; ties go to all-time counts.

    Moments ascend.
    """
    n_items = len(index.item_indptr) - 1
    scores = np.empty((len(users), n_items), np.float32)
    first = int(np.searchsorted(index.arrived, at_ms[0]))
    met = np.bincount(index.arrived_item[:first], minlength=n_items).astype(np.float32)
    _neighbour_rows(
        users, at_ms, index.user_indptr, index.item, index.time, index.owner,
        index.item_indptr, index.item_time, index.place,
        met, index.arrived[first:], index.arrived_item[first:],
        settings.sources, settings.hours, settings.half_life_hours, settings.directed,
        settings.evidence_half_life_days, scores,
    )  # fmt: skip
    return scores


@njit(cache=True, nogil=True)
def _neighbour_rows(
    users: npt.NDArray[np.int64],
    at_ms: npt.NDArray[np.int64],
    user_indptr: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    time: npt.NDArray[np.int64],
    owner: npt.NDArray[np.int64],
    item_indptr: npt.NDArray[np.int64],
    item_time: npt.NDArray[np.int64],
    place_of: npt.NDArray[np.int64],
    met: npt.NDArray[np.float32],
    arrived: npt.NDArray[np.int64],
    arrived_item: npt.NDArray[np.int64],
    sources: int,
    hours: float,
    half_life_hours: float,
    directed: bool,
    evidence_days: float,
    out: Scores,
) -> None:
    """met: events of each item before the first moment; what arrives later is added."""
    n, place = len(item_indptr) - 1, 0
    for row in range(len(users)):
        scores, now = out[row], at_ms[row]
        scores[:] = 0
        place = _count_until(arrived, arrived_item, now, place, met)
        first = user_indptr[users[row]]
        newest = first_from(time, first, user_indptr[users[row] + 1], now) - 1
        for back in range(min(sources, newest - first + 1)):
            source = item[newest - back]
            age = (now - time[newest - back]) / 3_600_000
            weight = np.float32(2.0 ** (-age / half_life_hours))
            if back and (age > hours or weight < _NOTHING):
                break
            begin = item_indptr[source]
            end = first_from(item_time, begin, item_indptr[source + 1], now)
            for visit in range(begin, end):
                here = place_of[visit]
                person = owner[here]
                if person == users[row]:
                    continue
                low, high = user_indptr[person], user_indptr[person + 1]
                if directed:
                    low, high = _next_moment(time, here, high)
                for other in range(low, high):
                    if time[other] >= now:
                        break
                    target = item[other]
                    worth = weight
                    if evidence_days < np.inf:
                        later = max(time[other], time[here])
                        worth *= np.float32(2.0 ** (-(now - later) / 86_400_000 / evidence_days))
                    if directed:
                        scores[target] += worth / met[source]
                    else:
                        scores[target] += worth / np.sqrt(met[source] * met[target])
        most = met.max()
        for target in range(n):
            scores[target] += _TINY * met[target] / max(most, np.float32(1.0))


@njit(cache=True, nogil=True)
def _next_moment(time: npt.NDArray[np.int64], here: int, high: int) -> tuple[int, int]:
    """Places of a person's events at the next moment after `here`: within one there is no order."""
    low = first_from(time, here, high, time[here] + 1)
    return (low, first_from(time, low, high, time[low] + 1)) if low < high else (low, low)


@njit(cache=True, nogil=True)
def _count_until(
    arrived: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    now: int,
    place: int,
    met: npt.NDArray[np.float32],
) -> int:
    """Count the events from a place on that are before a moment; return the place after them."""
    while place < len(arrived) and arrived[place] < now:
        met[item[place]] += 1
        place += 1
    return place
