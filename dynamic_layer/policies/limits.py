"""Groups of candidates for `select`: values of capped attributes, equal items, quotas."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.policies.columns import BUILT_IN, ItemColumns
from dynamic_layer.policies.policy import Policy

__all__ = ["Shared", "crowded", "shared"]

#: Values of one capped list attribute of one item that are looked at.
_VALUES = 16


class Shared(NamedTuple):
    """Numbers of what items share, i32 [m, g], -1 for nothing, and limits by number, i32."""

    groups: NDArray[np.int32]
    limits: NDArray[np.int32]


def _type_of(policy: Policy, name: str) -> str:
    return BUILT_IN.get(name) or policy.rules.types[f"item.{name}"]


def shared(
    policy: Policy, columns: ItemColumns, slots: NDArray[np.int64], meets_most: NDArray[np.bool_]
) -> Shared:
    """Return what items share under a policy; the columns' lock is held.

    slots: i64 [m]; meets_most: bool [m, q], the conditions of quotas with a greatest number.
    """
    parts: list[NDArray[np.int32]] = []
    limits: list[int] = []

    def add(values: NDArray[np.int64], most: int) -> None:
        """values: [m, w], -1 for none; equal values of all columns are one group."""
        distinct, place = np.unique(values, return_inverse=True)
        groups = np.where(values >= 0, place.reshape(values.shape) + len(limits), -1)
        parts.append(groups.astype(np.int32))
        limits.extend([most] * len(distinct))

    for cap in policy.rules.cap:
        of = _type_of(policy, cap.attribute)
        add(_values(columns, cap.attribute, of, slots), cap.most)
    for names in policy.rules.same:
        together = np.stack([_numbers(policy, columns, name, slots) for name in names])
        known = ~np.isnan(together).any(axis=0)
        _, place = np.unique(together, axis=1, return_inverse=True)
        add(np.where(known, place.ravel(), -1)[:, None], 1)
    for n, (_, most) in enumerate(policy.at_most):
        add(np.where(meets_most[:, n], 0, -1)[:, None], most)
    if not parts:
        return Shared(np.zeros((len(slots), 0), np.int32), np.zeros(0, np.int32))
    return Shared(np.concatenate(parts, axis=1), np.array(limits, np.int32))


def _values(
    columns: ItemColumns, name: str, of: str, slots: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return values of an attribute as numbers that say which are equal, i64 [m, w], -1: none."""
    column = columns.column(name)
    if of == "text":
        return column.codes(slots, of).astype(np.int64)[:, None]
    if of != "list":
        numbers = column.numbers(slots, of)
        _, place = np.unique(numbers, return_inverse=True)
        return np.where(np.isnan(numbers), -1, place)[:, None]
    codes = column.codes(slots, of).tolist()
    words: dict[str, int] = {}
    rows = [
        [words.setdefault(word, len(words)) for word in sorted(_set(column.words, code))[:_VALUES]]
        for code in codes
    ]
    width = max(1, *map(len, rows)) if rows else 1
    return np.array([row + [-1] * (width - len(row)) for row in rows], np.int64).reshape(-1, width)


def _set(words: Sequence[Any], code: int) -> Iterable[str]:
    return words[code] if code >= 0 else ()


def _numbers(
    policy: Policy, columns: ItemColumns, name: str, slots: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return values as numbers that say which are equal, f64 [m]; NaN for none."""
    of, column = _type_of(policy, name), columns.column(name)
    if of in ("text", "list"):
        codes = column.codes(slots, of).astype(np.float64)
        return np.where(codes < 0, np.nan, codes)
    return column.numbers(slots, of)


def crowded(
    policy: Policy,
    columns: ItemColumns,
    slots: NDArray[np.int64],
    chosen: NDArray[np.int64],
    meets_most: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return which items no list with these chosen ones can take any more, bool [n].

    slots: i64 [n], of all items; chosen: rows of a list; meets_most: bool [n, q]. The columns' lock
    is held.
    """
    full = np.zeros(len(slots), np.bool_)
    mine = slots[chosen]
    for cap in policy.rules.cap:
        of, column = _type_of(policy, cap.attribute), columns.column(cap.attribute)
        if of == "list":
            counts: dict[str, int] = {}
            for code in column.codes(mine, of).tolist():
                for word in _set(column.words, code):
                    counts[word] = counts.get(word, 0) + 1
            words = {word for word, count in counts.items() if count >= cap.most}
            if words:
                codes = column.codes(slots, of)
                used = [
                    c
                    for c in np.unique(codes).tolist()
                    if not words.isdisjoint(_set(column.words, c))
                ]
                full |= np.isin(codes, used)
            continue
        values = _numbers(policy, columns, cap.attribute, mine)
        distinct, times = np.unique(values[~np.isnan(values)], return_counts=True)
        if (times >= cap.most).any():
            every = _numbers(policy, columns, cap.attribute, slots)
            full |= np.isin(every, distinct[times >= cap.most])
    for names in policy.rules.same:
        taken = np.stack([_numbers(policy, columns, name, mine) for name in names])
        every = np.stack([_numbers(policy, columns, name, slots) for name in names])
        for one in taken.T[~np.isnan(taken).any(axis=0)]:
            full |= (every == one[:, None]).all(axis=0)
    for n, (_, most) in enumerate(policy.at_most):
        if meets_most[chosen, n].sum() >= most:
            full |= meets_most[:, n]
    return full
