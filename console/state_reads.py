"""What a replica's states know of items, and which users they have."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from console.replica import Replica
from state import common_users
from state.database import CATALOGUE, HISTORY, USERS, after
from streams import murmur2_partition

__all__ = ["entry", "names", "neighbours", "title", "user_attributes", "users_like"]


def entry(replica: Replica, item_type: str, item_id: str) -> dict[str, Any] | None:
    """The catalogue's entry of an item; committed entries only, None if there is none."""
    if (theirs := replica.channels.items.decides(item_type, item_id)) is not None:
        return None if theirs.deleted else msgspec.to_builtins(theirs)
    key = f"{item_type}\0{item_id}".encode()
    state = replica.partitions[murmur2_partition(key, replica.topics.partitions)]
    stored = state.database.get(CATALOGUE + key)
    if not stored:
        return None
    found: dict[str, Any] = msgspec.json.decode(stored, type=dict[str, Any])
    return found


def title(replica: Replica, item_type: str, item_id: str) -> str | None:
    """An item's title; a text is its own."""
    own = item_id if item_type in replica.state_settings.text_types else None
    return (entry(replica, item_type, item_id) or {}).get("title") or own


def names(replica: Replica, keys: Iterable[int]) -> dict[int, tuple[str, str]]:
    """(type, id) of those item keys that a partition's users have had."""
    wanted = np.array(sorted(set(keys)), np.uint64)
    found: dict[int, tuple[str, str]] = {}
    for state in replica.partitions.states.values():
        known = state.items.keys[: len(state.items)]
        for number in np.flatnonzero(np.isin(known, wanted)).tolist():
            found[int(known[number])] = state.items.name(number)
    return found


async def neighbours(replica: Replica, item_type: str, item_id: str) -> tuple[int, dict[int, int]]:
    """Users of an item inside the window, and users of both by other item's key.

    Committed state only.
    """
    async with replica.turn:
        return common_users(replica.partitions.states.values(), item_type, item_id)


def users_like(replica: Replica, beginning: str, most: int | None) -> list[str]:
    """Ids of users with a committed history that begin so, in their order; at most so many.

    most: None for all of them.
    """
    first = HISTORY + beginning.encode()
    found: list[str] = []
    for state in list(replica.partitions.states.values()):
        rows = state.database.scan(first, after(first))
        found += [key[len(HISTORY) :].decode() for key, _ in islice(rows, most)]
    return sorted(found)[:most]


def user_attributes(replica: Replica) -> Iterator[Mapping[str, Any]]:
    """Yield the own attributes of every user that has some; committed records only."""
    for state in list(replica.partitions.states.values()):
        for _, stored in state.database.scan(USERS, after(USERS)):
            yield msgspec.json.decode(stored, type=dict[str, Any]).get("attributes") or {}
