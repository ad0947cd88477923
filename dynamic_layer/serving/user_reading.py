"""Users as towers and list makers read them: rows of items, ages and signals."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.head.impressions import Impressions
from dynamic_layer.items.features import COUNTRIES, UserFeatures, age_of, bucket_of
from dynamic_layer.lists.head_ranker import HeadRanker
from dynamic_layer.serving.rankings import UserState

__all__ = [
    "features_of",
    "histories_of",
    "impressions_of",
    "known_of",
    "rows_of",
    "tower_part",
]

Rows = Callable[[NDArray[np.uint64]], NDArray[np.int64]]
"""Item keys -> rows of the same shape, -1 where there is none."""


def histories_of(users: Sequence[UserState], rows: Rows) -> NDArray[np.int64]:
    """Return the item rows of the users' histories, i64 [b, h], -1 for none or unknown."""
    return rows_of([user.history_item for user in users], rows, least=1)


def rows_of(items: Sequence[NDArray[np.uint64]], rows: Rows, *, least: int) -> NDArray[np.int64]:
    """Return the rows of users' items, i64 [b, h], -1 for none or unknown; h: `least` or more.

    items: item keys of each user.
    """
    width = max(least, *map(len, items))
    keys = np.zeros((len(items), width), np.uint64)
    filled = np.zeros((len(items), width), np.bool_)
    for place, own in enumerate(items):
        keys[place, : len(own)] = own
        filled[place, : len(own)] = True
    return np.where(filled, rows(keys), -1)


def known_of(users: Sequence[UserState], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which entries of the histories are of items that users know, bool [b, h]."""
    known = strong.copy()
    for place, user in enumerate(users):
        if user.history_known is not None:
            known[place, : len(user.history_known)] = user.history_known
    return known


def features_of(
    users: Sequence[UserState], history: NDArray[np.int64], now_ms: int
) -> UserFeatures:
    """Return users with whole histories; history: i64 [b, h], as of `histories_of`."""
    width = history.shape[1]
    age_s = np.zeros((len(users), width), np.float32)
    strong = np.zeros((len(users), width), np.bool_)
    for place, user in enumerate(users):
        times = user.history_time
        age_s[place, : len(times)] = np.maximum(now_ms - times, 0) / 1_000
        strong[place, : len(times)] = user.history_strong
    return UserFeatures(
        history=torch.from_numpy(history),
        age_s=torch.from_numpy(age_s),
        strong=torch.from_numpy(strong),
        country=torch.from_numpy(bucket_of([user.country for user in users], COUNTRIES)),
        age=torch.from_numpy(
            age_of(np.array([user.birth_year for user in users]), np.full(len(users), now_ms))
        ),
    )


def impressions_of(
    users: Sequence[UserState], rows: Rows, now_ms: int, head: HeadRanker | None
) -> Impressions | None:
    """Return what the users were shown before the window's bucket of now.

    None where they were shown nothing, or where the head does not read it.
    """
    if head is None or not head.reads_shown:
        return None
    shown = [(place, user.shown) for place, user in enumerate(users) if user.shown is not None]
    if not shown:
        return None
    before = [(place, one.before(now_ms)) for place, one in shown]
    keys = np.concatenate([one.items for _, one in before])
    end = np.concatenate([one.end for _, one in before])
    owner = np.repeat([place for place, _ in before], [len(one.items) for _, one in before])
    count = np.concatenate([one.count for _, one in before])
    age_s = ((now_ms - end) / 1_000).astype(np.float32)
    bucket_ms = shown[0][1].bucket_ms
    begin_ms = now_ms // bucket_ms * bucket_ms
    return Impressions.of(len(users), owner, rows(keys), age_s, count, begin_ms)


def tower_part(users: UserFeatures, cap: int) -> UserFeatures:
    """Return the part of the histories that a user tower reads: their newest `cap` entries."""
    return replace(
        users,
        history=users.history[:, :cap],
        age_s=users.age_s[:, :cap],
        strong=users.strong[:, :cap],
    )
