"""What the histories of a batch tell of its users, without any id.

Which examples are of one user, and which pairs of items they add to the state's counts.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from dynamic_layer.examples.replay import PaddedExamples

#: Ages are f32: a second of a year is lost, and milliseconds of a day.
_ERROR_S, _ERROR_SHARE = 2e-3, 2e-7


def later_events(
    examples: PaddedExamples,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of examples of the same user: (earlier, later), i64 [p] each.

    A pair is found by the earlier one's event in the later one's history: the same item at the same
    time. It is missed where the history has lost the event, by its cap or by a repeat.
    """
    order = np.argsort(examples.target, kind="stable")
    wanted = examples.target[order]
    inside = np.arange(examples.history_item.shape[1]) < examples.length[:, None]
    later, place = np.nonzero(inside)
    item = examples.history_item[later, place]
    first = np.searchsorted(wanted, item, side="left")
    count = np.searchsorted(wanted, item, side="right") - first
    later, place = np.repeat(later, count), np.repeat(place, count)
    within = np.arange(len(later)) - np.repeat(np.cumsum(count) - count, count)
    earlier = order[np.repeat(first, count) + within]
    passed_s = (examples.timestamp[later] - examples.timestamp[earlier]) / 1000
    age_s = examples.history_age[later, place].astype(np.float64)
    same = np.abs(passed_s - age_s) <= _ERROR_S + _ERROR_SHARE * age_s
    same &= earlier != later
    return earlier[same], later[same]


def users_of(examples: PaddedExamples) -> NDArray[np.int64]:
    """Return a number of each example's user, i64 [b]: examples that `later_events` joins.

    Where times are coarse (days), many users have the same event at the same time and would be
    joined: if one of them came to have half of all examples, each example counts as a user.
    """
    n = len(examples)
    earlier, later = later_events(examples)
    graph = sp.coo_array((np.ones(len(earlier), np.int8), (earlier, later)), shape=(n, n))
    users = np.asarray(connected_components(graph, directed=False)[1], np.int64)
    if n and np.bincount(users).max() > max(1, n / 2):
        return np.arange(n)
    return users


def added_pairs(
    examples: PaddedExamples,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the item keys of pairs that users have since these examples, u64 [k] twice.

    As the state counts: graph-making events alone, each item of a user once. An item with itself is
    a user of it. Pairs with entries that are not in an example's history are missing.
    """
    first = examples.take(examples.strong & ~examples.repeat)
    inside = np.arange(first.history_item.shape[1]) < first.length[:, None]
    other = inside & first.history_strong & (first.history_item != first.target[:, None])
    owner, entry = np.nonzero(other)
    met, had = first.target[owner], first.history_item[owner, entry]
    return np.concatenate([first.target, met]), np.concatenate([first.target, had])
