"""Measured marks of listening data, to hold the simulated world against the real one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from simulation.returns import HEAD_ITEMS, HEAVY_USERS, head_share
from simulation.settings import DAY_MS, STREAM

HORIZON_MS = 14 * DAY_MS
"""Contacts later than this before the end are left out of odds: their streams may still come."""


@dataclass(frozen=True, kw_only=True)
class TypeMarks:
    """Marks of one item type. Hours are approximated by the number of streams.

    heavy_users: share of streams made by the 25 % of its users who stream most (papers: .75).
    head_items:  share of streams on the 20 % of its catalogue streamed most (papers: over .80).
    had_used_first_type: share of its users who had streamed the world's first type before their
        first stream of this one (papers, audiobooks after podcasts: over .70); NaN for the first
        type itself.
    odds: by weak kind, the odds of a later stream when user and item met by that signal, relative
        to when they met by a stream (papers: follow 2.18, preview 1.18, intent 1.13).
    """

    heavy_users: float
    head_items: float
    had_used_first_type: float
    odds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Marks of a world. by_type: in order of item types. odds: over all types together."""

    by_type: Mapping[str, TypeMarks]
    odds: Mapping[str, float]


@dataclass(frozen=True)
class _Columns:
    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    kind: npt.NDArray[np.str_]
    time_ms: npt.NDArray[np.int64]


def marks(events: pa.Table, items: pa.Table, *, first_type: str | None = None) -> Marks:
    """Measure events (`EVENT_SCHEMA`, in order of time) on a catalogue (`ITEM_SCHEMA`).

    first_type: the type that most users start with; default: the type with the most users.
    Raises ValueError when there are no events.
    """
    if not len(events):
        raise ValueError("marks need at least one event")
    users = _codes(events["user_id"])
    pairs = _codes(pc.binary_join_element_wise(events["item_type"], events["item_id"], "\0"))
    kinds = np.asarray(events["kind"].to_numpy(zero_copy_only=False), dtype=np.str_)
    of_type = events["item_type"].to_numpy(zero_copy_only=False)
    everything = _Columns(users, pairs, kinds, events["timestamp"].to_numpy())
    names = list(dict.fromkeys(items["item_type"].to_pylist()))
    sizes = {name: items["item_type"].to_pylist().count(name) for name in names}
    first_use = {
        name: _first_times(users, everything.time_ms, (of_type == name) & (kinds == STREAM))
        for name in names
    }
    if first_type is None:
        first_type = max(names, key=lambda name: int(np.isfinite(first_use[name]).sum()))
    by_type = {}
    for name in names:
        rows = of_type == name
        part = _Columns(*(column[rows] for column in vars(everything).values()))
        streams = part.kind == STREAM
        by_type[name] = TypeMarks(
            heavy_users=_heavy_users(np.bincount(part.user[streams])),
            head_items=head_share(np.bincount(part.item[streams]), HEAD_ITEMS, sizes[name]),
            had_used_first_type=_had_used(first_use[name], first_use[first_type])
            if name != first_type
            else float("nan"),
            odds=_odds(part),
        )
    return Marks(by_type=by_type, odds=_odds(everything))


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64)


def _heavy_users(streams: npt.NDArray[np.int64]) -> float:
    return head_share(streams, HEAVY_USERS, int((streams > 0).sum()))


def _first_times(
    users: npt.NDArray[np.int64], time_ms: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    first = np.full(users.max() + 1, np.inf)
    np.minimum.at(first, users[rows], time_ms[rows].astype(np.float64))
    return first


def _had_used(this: npt.NDArray[np.float64], first_type: npt.NDArray[np.float64]) -> float:
    users = np.isfinite(this)
    return float((first_type[users] < this[users]).mean()) if users.any() else float("nan")


def _odds(events: _Columns) -> dict[str, float]:
    """Odds of a later stream by the kind of the first contact, relative to a stream's."""
    order = np.lexsort((events.time_ms, events.item, events.user))
    user, item = events.user[order], events.item[order]
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    pair = np.cumsum(opens) - 1
    kind = events.kind[order]
    later = np.bincount(pair[~opens & (kind == STREAM)], minlength=pair[-1] + 1) > 0
    settled = events.time_ms[order][opens] < events.time_ms.max() - HORIZON_MS
    opened = kind[opens]

    def odds(name: str) -> float:
        chance = float(later[settled & (opened == name)].mean())
        return chance / (1 - chance) if chance < 1 else float("inf")

    base = odds(STREAM)
    weak = [str(name) for name in np.unique(opened[settled]) if name != STREAM]
    return {name: odds(name) / base if base else float("nan") for name in weak}
