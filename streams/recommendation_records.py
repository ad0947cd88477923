"""The records of answers: lists of items, with what they are made of."""

from collections.abc import Sequence

from msgspec import Struct

from streams.log_record import (
    Id,
    ItemTypeName,
    Name,
    Source,
    Timestamp,
)


class NearItem(Struct, frozen=True, kw_only=True):
    """An item of the user's history that is near to a recommended one; cosine of their vectors."""

    item_id: str
    item_type: str
    cosine: float


class AppliedRule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule of the list's policy that applies to an item, and what it adds to the score.

    rule: its place in the policy, as boost[0]; when: its condition; of `fresh`, the attribute.
    propensity: of `explore`, how likely it was that the item has this place.
    """

    rule: str
    when: str
    adds: float
    propensity: float | None = None


class Reasons(Struct, frozen=True, kw_only=True):
    """The reasons for an item's place.

    parts: what adds to the score, by name; they sum to it. new: the item had no events when the
    bundle was made. nearest: items of the history, nearest first.
    """

    parts: dict[str, float]
    rules: list[AppliedRule]
    new: bool
    nearest: list[NearItem]


class FilteredItems(Struct, frozen=True, kw_only=True):
    """How many items of a list's types there are, and how many its policy's filter leaves."""

    items: int
    left: int


class ExploredPlace(Struct, frozen=True, kw_only=True):
    """A place of a list that exploration decided about; 1 is the first.

    new: whether it put a new item there. propensity: how likely this item was, or that there is
    none.
    """

    position: int
    new: bool
    propensity: float


class RecommendedItem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place in a list; a greater score is better, scores of one list are comparable.

    why: where the list's settings ask for it (`explain`).
    """

    item_id: Id
    item_type: ItemTypeName
    score: float
    why: Reasons | None = None


class Recommendation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's list, best item first. Key: user_id. A null value withdraws all of a user's lists.

    Delivered at least once: (source, generation, list) is the key for de-duplication. source and
    event_timestamp are those of the record that caused it and absent where none did. arm is the
    user's in the experiment, absent where there is none. by_head says whether the bundle's ranking
    head ranked the list; records of versions that did not say it lack it. filtered: beside the
    reasons of items, where the list's policy has a filter. explored: where the list's policy
    explores, what off-policy evaluation needs to know.
    """

    user_id: Id
    list: str
    items: Sequence[RecommendedItem]
    generation: int
    created_at: Timestamp
    source: Source | None = None
    event_timestamp: Timestamp | None = None
    arm: Name | None = None
    by_head: bool | None = None
    filtered: FilteredItems | None = None
    explored: Sequence[ExploredPlace] = ()

    @property
    def key(self) -> bytes:
        """The user, so that a user's lists stay in order."""
        return self.user_id.encode()
