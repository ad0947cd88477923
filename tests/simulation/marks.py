"""Measured marks of listening data, to hold the simulated world against the real one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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


def marks(events: pa.Table, items: pa.Table, *, first_type: str | None = None) -> Marks:
    """Measure events (`EVENT_SCHEMA`, in order of time) on a catalogue (`ITEM_SCHEMA`).

    first_type: the type that most users start with; default: the type with the most users.
    Raises ValueError when there are no events.
    """
    if not len(events):
        raise ValueError("marks need at least one event")
    user, users = _codes(events["user_id"])
    kind, kinds = _codes(events["kind"])
    item_type, types = _codes(events["item_type"])
    item, ids = _codes(events["item_id"])
    item += item_type * len(ids)  # ids are unique within their type only
    time_ms = events["timestamp"].to_numpy()
    streams = kind == (kinds.index(STREAM) if STREAM in kinds else -1)
    first_use = np.full((len(types), len(users)), np.iinfo(np.int64).max)
    np.minimum.at(first_use, (item_type[streams], user[streams]), time_ms[streams])
    listens = first_use < np.iinfo(np.int64).max
    if first_type is None:
        first_type = types[int(listens.sum(axis=1).argmax())]
    contacts = _contacts(user * len(ids) * len(types) + item, kind, streams, time_ms)
    sizes = Counter(items["item_type"].to_pylist())
    by_type = {}
    for row, name in sorted(enumerate(types), key=lambda pair: pair[1] != first_type):
        of_type = streams & (item_type == row)
        earlier = first_use[types.index(first_type)] < first_use[row]
        by_type[name] = TypeMarks(
            heavy_users=head_share(
                np.bincount(user[of_type]), HEAVY_USERS, int(listens[row].sum())
            ),
            head_items=head_share(np.bincount(item[of_type]), HEAD_ITEMS, sizes[name]),
            had_used_first_type=float(earlier[listens[row]].mean())
            if name != first_type and listens[row].any()
            else float("nan"),
            odds=_odds(contacts, kinds, item_type[contacts.event] == row),
        )
    return Marks(by_type=by_type, odds=_odds(contacts, kinds, np.array(True)))


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


@dataclass(frozen=True)
class _Contacts:
    """First events of user and item: row of the event, its kind, whether a stream came later."""

    event: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    later: npt.NDArray[np.bool_]


def _contacts(
    pair: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int64],
    streams: npt.NDArray[np.bool_],
    time_ms: npt.NDArray[np.int64],
) -> _Contacts:
    order = np.argsort(pair, kind="stable")
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = pair[order[1:]] != pair[order[:-1]]
    run = np.cumsum(opens) - 1
    later = np.bincount(run[~opens & streams[order]], minlength=run[-1] + 1) > 0
    first = order[opens]
    settled = time_ms[first] < time_ms.max() - HORIZON_MS
    return _Contacts(first[settled], kind[first][settled], later[settled])


def _odds(contacts: _Contacts, kinds: list[str], chosen: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Odds of a later stream by the kind of the first contact, relative to a stream's."""
    odds = {}
    for row, name in enumerate(kinds):
        later = contacts.later[chosen & (contacts.kind == row)]
        if len(later):
            odds[name] = float(later.sum() / (~later).sum()) if not later.all() else float("inf")
    base = odds.pop(STREAM, 0.0)
    return {name: value / base if base else float("nan") for name, value in odds.items()}
