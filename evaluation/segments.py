"""Whom and what a row of the table is about: users and items, warm and cold, head to tail."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.baselines import Rows
from evaluation.dataset import Dataset

__all__ = ["ALL", "Segment", "segments", "tiers"]

ALL = "all"
#: Shares of the training streams that the head holds, and that head and mid hold together (ours).
HEAD, HEAD_AND_MID = 0.5, 0.8

#: Items with fewer events than this are new (the papers' cut).
NEW = 10

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Test users that may count, and held-out items that count.

    users: bool[n_users]; items: bool[n_items]. among: whether lists hold nothing but `items`;
    otherwise lists are of all candidates, and items of other segments compete.
    """

    name: str
    users: Mask
    items: Mask
    among: bool = False


def segments(dataset: Dataset, item_type: str) -> list[Segment]:
    """Return the segments of one item type, or of `all` types, as the past sees them.

    Warm users had an event on an item of the type before the split. Warm items had an event by
    anyone. Cold items are ranked among cold items: where a catalogue was collected from events,
    as public data sets are, an item without a past is known to have a future, and a model that
    sorts by "is new" would win by that alone. `cold` are the same items in lists of all candidates,
    as users get them. New items had fewer than ten events, and at least one.
    """
    n_users, n_items = len(dataset.users), len(dataset.items)
    inside = np.ones(n_items, bool)
    if item_type != ALL:
        inside[:] = False
        inside[dataset.rows_of_type(item_type)] = True
    events = dataset.events
    met = np.zeros(n_users, bool)
    met[events.user[inside[events.item]]] = True
    counts = np.bincount(events.item, minlength=n_items)
    trained = counts > 0
    tier = tiers(dataset)
    anyone = np.ones(n_users, bool)
    return [
        Segment(name=ALL, users=anyone, items=inside),
        Segment(name="warm_users", users=met, items=inside),
        Segment(name="cold_users", users=~met, items=inside),
        Segment(name="warm_items", users=anyone, items=inside & trained),
        Segment(name="cold_items", users=anyone, items=inside & ~trained, among=True),
        Segment(name="head", users=anyone, items=inside & (tier == 0)),
        Segment(name="mid", users=anyone, items=inside & (tier == 1)),
        Segment(name="tail", users=anyone, items=inside & (tier == 2)),
        Segment(name="new", users=anyone, items=inside & trained & (counts < NEW)),
        Segment(name="cold", users=anyone, items=inside & ~trained),
    ]


def tiers(dataset: Dataset) -> Rows:
    """Tier of each item within its type, i64[n_items]: 0 head, 1 mid, 2 tail, -1 cold.

    The head is the most popular items that together hold half of the type's training events, the
    tail the least popular ones that hold the last fifth. Items with equally many events are in
    one tier, the more popular one.
    """
    counts = np.bincount(dataset.events.item, minlength=len(dataset.items))
    tier = np.full(len(dataset.items), -1, np.int64)
    for item_type in dataset.item_types:
        rows = dataset.rows_of_type(item_type)
        rows = rows[counts[rows] > 0]
        if not len(rows):
            continue
        # Events on items that are strictly more popular, as a share.
        _, place = np.unique(-counts[rows], return_inverse=True)
        events = np.bincount(place, weights=counts[rows])
        above = (np.cumsum(events) - events)[place] / counts[rows].sum()
        tier[rows] = np.searchsorted([HEAD, HEAD_AND_MID], above, side="right")
    return tier
