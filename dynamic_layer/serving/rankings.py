"""What a recommender is asked, and what it answers: users, named lists, rankings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ListSettings:
    """A named list of recommendations.

    name:       of the list.
    item_types: types it draws from; empty for all.
    k:          items in it, at most.
    repeats:    items of the user's history: `exclude` them, `include` them among the others, or
                recommend `only` them.
    """

    name: str
    item_types: tuple[str, ...] = ()
    k: int = 10
    repeats: Literal["exclude", "include", "only"] = "exclude"


def default_lists(types: Sequence[str], k: int = 10) -> tuple[ListSettings, ...]:
    """Return one mixed list over all types, and one for discovery in each type.

    >>> [settings.name for settings in default_lists(["audiobook", "podcast"])]
    ['mix', 'discover-audiobook', 'discover-podcast']
    """
    return (
        ListSettings(name="mix", k=k),
        *(ListSettings(name=f"discover-{name}", item_types=(name,), k=k) for name in types),
    )


@dataclass(frozen=True, kw_only=True)
class UserState:
    """What is known of a user now.

    history_item: u64 [h], item keys, newest first; history_time: i64 [h], ms UTC;
    history_strong: bool [h]; country: "" when unknown; birth_year: 0 when unknown.
    """

    user_id: str
    history_item: NDArray[np.uint64]
    history_time: NDArray[np.int64]
    history_strong: NDArray[np.bool_]
    country: str = ""
    birth_year: int = 0


@dataclass(frozen=True, kw_only=True)
class ItemNames:
    """Ids and types of items by row. Items may come behind the last; rows keep their items.

    patterns: for whoever writes lists, what was written of an item before, by row.
    """

    ids: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    patterns: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One list for one user, best first.

    names: of all items of the bundle; rows: up to k of them; scores: f32 [k].
    by_head: whether the bundle's ranking head ranked it.
    """

    names: ItemNames
    rows: Sequence[int]
    scores: NDArray[np.float32]
    by_head: bool = False

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
