"""What a recommender is asked, and what it answers: users, named lists, rankings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.lists.served_features import ListWatch
from dynamic_layer.serving.reasons import Explanation, Explored, Filtered
from dynamic_layer.settings import SEPARATE_TYPES, ListSettings
from state import ShownItems


def default_lists(types: Sequence[str], k: int = 10) -> tuple[ListSettings, ...]:
    """Return one mixed list over all types, and one for discovery in each type.

    With many types (more than `SEPARATE_TYPES`) the mixed list alone: an answer of as many lists
    as there are types would be of no use, and cost accordingly. `worker.lists` names others.

    >>> [settings.name for settings in default_lists(["audiobook", "podcast"])]
    ['mix', 'discover-audiobook', 'discover-podcast']
    """
    mix = ListSettings(name="mix", k=k)
    if len(types) > SEPARATE_TYPES:
        return (mix,)
    return (
        mix,
        *(ListSettings(name=f"discover-{name}", item_types=(name,), k=k) for name in types),
    )


@dataclass(frozen=True, kw_only=True)
class UserState:
    """What is known of a user now.

    history_item: u64 [h], item keys, newest first; history_time: i64 [h], ms UTC;
    history_strong: bool [h]; country: "" when unknown; birth_year: 0 when unknown.
    attributes: the owner's own, for policies.
    context: of the request or event, for policies: surface, device, time_zone.
    watch: collects the features that a head reads of the user; None if they are not compared.
    history_known: bool [h], items that the user knows; those of strong entries when None.
    disliked: u64 [x], keys of items that no list holds, latest first; demotion: factor on the
    chance of items like those.
    history_strong_time: i64 [h], ms UTC of the latest strong event of each entry, -1 for none; the
    entry's own time when None. shown: impressions; None where there are none.
    """

    user_id: str
    history_item: NDArray[np.uint64]
    history_time: NDArray[np.int64]
    history_strong: NDArray[np.bool_]
    country: str = ""
    birth_year: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    watch: ListWatch | None = None
    history_known: NDArray[np.bool_] | None = None
    disliked: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    demotion: float = 1.0
    history_strong_time: NDArray[np.int64] | None = None
    shown: ShownItems | None = None


@dataclass(frozen=True, kw_only=True)
class ItemNames:
    """Ids and types of items by row. Items may come behind the last; rows keep their items.

    patterns: for writers of lists: what was written of an item before, by row.
    """

    ids: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    patterns: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One list for one user, best first.

    names: of all items of the bundle; rows: up to k of them; scores: f32 [k].
    by_head: whether the bundle's ranking head ranked it.
    why: the reasons of its places, or of some of them, where they were asked for; filtered: then,
    what the filter of the list's policy leaves, if it has one.
    explored: the places that exploration decided about, if the list's policy explores.
    """

    names: ItemNames
    rows: Sequence[int]
    scores: NDArray[np.float32]
    by_head: bool = False
    why: tuple[Explanation, ...] = ()
    filtered: Filtered | None = None
    explored: tuple[Explored, ...] = ()

    @cached_property
    def item_ids(self) -> list[str]:
        """Ids of the items."""
        return [*map(self.names.ids.__getitem__, self.rows)]

    @cached_property
    def item_types(self) -> list[str]:
        """Types of the items."""
        return [*map(self.names.types.__getitem__, self.rows)]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.rows)
