"""Items that a user is not to see again yet: taken lately, or shown often."""

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.policies.rules import Cooling
from dynamic_layer.serving.rankings import UserState

__all__ = ["cooling_items"]

_DAY_MS = 86_400_000


def cooling_items(rule: Cooling, user: UserState, now_ms: int) -> NDArray[np.uint64]:
    """Return the keys of items that a rule keeps out of a user's list now, u64 [y].

    Items with a strong event within `taken_days`, and items with at least `showings` impressions in
    the buckets that begin within `shown_days`.
    """
    found = [np.zeros(0, np.uint64)]
    if rule.taken_days:
        taken = user.history_time if user.history_strong_time is None else user.history_strong_time
        lately = user.history_strong & (taken > now_ms - rule.taken_days * _DAY_MS)
        found.append(user.history_item[lately])
    if rule.showings and user.shown is not None:
        shown = user.shown
        counts = shown.begin > now_ms - rule.shown_days * _DAY_MS
        items, place = np.unique(shown.items[counts], return_inverse=True)
        times = np.bincount(place, shown.count[counts], len(items))
        found.append(items[times >= rule.showings])
    return np.concatenate(found)
