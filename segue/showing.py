"""Views of a user or an item in a state, as JSON values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from segue.settings import Settings
from segue.state_folders import FoundState, StateNotFound, found_state
from state import PartitionState, common_users
from state.canonical import entries_of
from state.compare import entry_view
from state.database import CATALOGUE
from streams import Item, RecommendedItem, murmur2_partition

if TYPE_CHECKING:
    from console.serving import Placed

__all__ = ["Titles", "history_rows", "item_view", "scored_rows", "titles_of", "user_state_view"]

Titles = Callable[[str, str], str | None]
"""(type, id) -> title; None if the catalogue has none."""


def titles_of(items: Iterable[Item]) -> dict[tuple[str, str], str]:
    """Return (type, id) -> title of the live items of a catalogue, in the order of its records."""
    titles: dict[tuple[str, str], str] = {}
    for item in items:
        if item.deleted:
            titles.pop((item.item_type, item.item_id), None)
        else:
            titles[item.item_type, item.item_id] = item.title or item.item_id
    return titles


def scored_rows(
    items: "Iterable[Placed | RecommendedItem]", titles: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """Items of a list as JSON values: item, title, score; titles: as `titles_of` returns them."""
    return [
        {
            "item_type": item.item_type,
            "item_id": item.item_id,
            "title": titles.get((item.item_type, item.item_id), item.item_id),
            "score": item.score,
        }
        for item in items
    ]


def history_rows(
    state: PartitionState, user: str, titles: Titles, limit: int
) -> list[dict[str, Any]]:
    """A user's history, newest first, as JSON values: item, time, number of visits."""
    entries = entries_of(state.history(user))[:limit]
    names = _names(state, {entry[0] for entry in entries})
    rows = []
    for entry in entries:
        item_type, item_id = names[entry[0]]
        seen = entry_view(entry)
        rows.append(
            {
                "item_type": item_type,
                "item_id": item_id,
                "title": titles(item_type, item_id) or item_id,
                "strong": seen["strong_time"] is not None,
                **seen,
            }
        )
    return rows


def user_state_view(settings: Settings, name: str, user: str, limit: int) -> dict[str, Any]:
    """A user's data in a state, as JSON values; raises the errors of `found_state`."""
    with _opened(settings, name) as (found, states):
        partition = murmur2_partition(user.encode(), settings.topics.partitions)
        if partition not in states:
            raise StateNotFound(f"state {name} has no partition {partition}, that of user {user}")
        state = states[partition]
        return {
            "user_id": user,
            "state": name,
            "notes": list(found.notes),
            "partition": partition,
            "positions": state.committed,
            "attributes": dict(state.user(user)),
            "entries": len(state.history(user)),
            "history": history_rows(state, user, _titles(states), limit),
            "disliked": _disliked(state, user, _titles(states)),
        }


def _disliked(state: PartitionState, user: str, titles: Titles) -> list[dict[str, Any]]:
    """Return the items that no list of a user holds, latest action first."""
    keys = state.reactions(user)[1].disliked.tolist()
    names = _names(state, set(keys))
    return [
        {"item_type": kind, "item_id": name, "title": titles(kind, name) or name}
        for kind, name in map(names.__getitem__, keys)
    ]


def item_view(
    settings: Settings, name: str, item_id: str, item_type: str | None, limit: int
) -> dict[str, Any]:
    """An item's data in a state: entry, users and neighbours, as JSON values.

    item_type: optional if only one type has the id. Raises StateNotFound if no partition has seen
               the item, and the errors of `found_state`.
    """
    with _opened(settings, name) as (found, states):
        item_type = item_type or _type_of(states, item_id)
        users, totals = common_users(states.values(), item_type, item_id)
        titles = _titles(states)
        ranked = sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))
        names: dict[int, tuple[str, str]] = {}
        for state in states.values():
            names |= _names(state, {key for key, _ in ranked[:limit]})
        return {
            "item_type": item_type,
            "item_id": item_id,
            "state": name,
            "notes": list(found.notes),
            "catalogue": _entry(states, item_type, item_id),
            "users": users,
            "neighbours_in_all": len(ranked),
            "neighbours": [
                {
                    "item_type": names[key][0],
                    "item_id": names[key][1],
                    "title": titles(*names[key]) or names[key][1],
                    "users": count,
                }
                for key, count in ranked[:limit]
            ],
        }


@contextmanager
def _opened(
    settings: Settings, name: str
) -> Iterator[tuple[FoundState, dict[int, PartitionState]]]:
    with found_state(settings, name) as found, ExitStack() as stack:
        states = {}
        for partition, folder in found.folders.items():
            state = PartitionState(folder, partition, settings.state, read_only=True)
            stack.callback(state.close)
            states[partition] = state
        yield found, states


def _names(state: PartitionState, keys: set[int]) -> dict[int, tuple[str, str]]:
    """Type and id by key of the items that a partition has seen."""
    known = state.items.keys[: len(state.items)]
    numbers = np.flatnonzero(np.isin(known, np.array(sorted(keys), np.uint64)))
    return {int(known[number]): state.items.name(number) for number in numbers.tolist()}


def _type_of(states: dict[int, PartitionState], item_id: str) -> str:
    types = {
        name[0]
        for state in states.values()
        for name in map(state.items.name, range(len(state.items)))
        if name[1] == item_id
    }
    if len(types) != 1:
        raise StateNotFound(
            f"several types have an item {item_id}; add --type {' or '.join(sorted(types))}"
            if types
            else f"no user has an item {item_id} in this state; add --type to show its catalogue "
            f"entry"
        )
    return types.pop()


def _titles(states: dict[int, PartitionState]) -> Titles:
    def title(item_type: str, item_id: str) -> str | None:
        entry = _entry(states, item_type, item_id)
        return entry.get("title") if entry else None

    return title


def _entry(
    states: dict[int, PartitionState], item_type: str, item_id: str
) -> dict[str, Any] | None:
    """The catalogue entry of an item, from any partition."""
    key = CATALOGUE + f"{item_type}\0{item_id}".encode()
    for state in states.values():
        if stored := state.database.get(key):
            entry: dict[str, Any] = msgspec.json.decode(stored, type=dict[str, Any])
            return entry
    return None
