"""Why an item stands where it stands in a list."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Explanation", "Explored", "Filtered", "Near", "Options", "RuleEffect"]


class Near(NamedTuple):
    """An item of a history, and the cosine of its vector and a recommended item's."""

    item_key: int
    item_type: str
    item_id: str
    cosine: float


class RuleEffect(NamedTuple):
    """What a rule of a policy did for an item in a list.

    rule: its place in the policy, as `boost[0]`, `bury[1]`, `fresh`, `slots[0]` or `explore`; when:
    its condition, empty where it has none; adds: to the score. A slot gives a place and adds
    nothing. `explore` does too: the item has its place with the probability `propensity`.
    """

    rule: str
    when: str
    adds: float
    propensity: float | None = None


class Options(NamedTuple):
    """What may stand at a place: new items, rows i64 [n] with probabilities f64 [n], or `instead`.

    instead: the row that stands there where none is explored, -1 for none; of_none: how likely.
    matches: f64 [n], how well the user's history matches the items, also those in the list.
    """

    rows: NDArray[np.int64]
    propensities: NDArray[np.float64]
    instead: int
    of_none: float
    matches: NDArray[np.float64]


class Explored(NamedTuple):
    """A place of a list that exploration may change: from 0, whether it did, how likely that was.

    propensity: of this new item, where one is explored, else of none.
    """

    place: int
    new: bool
    propensity: float
    options: Options


class Filtered(NamedTuple):
    """Of the `items` that a list can draw from by type, its policy's filter leaves `left`."""

    items: int
    left: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an item stands where it stands.

    parts:   what adds to the score, by name; they sum to the score:
             weights, vectors, towers, demand, age, user: groups of the head's
             features (`contributions`);
             candidates: how many candidates of its type compete, and how good they are;
             type: share of the item's type in the history;
             affinity: user and item in the towers' space, where no head ranks;
             popularity: recent demand, where no head ranks;
             dislikes: nearness to an item that the user dislikes;
             rules: what the list's policy adds; the whole score of an item that it brings in.
    rules:   the rules of the policy that apply to the item, and what each adds.
    cold:    the item had no events when the bundle was made.
    nearest: the nearest items of the history, nearest first, by the HGNN's vectors (by text where
             the bundle has no HGNN).
    """

    parts: dict[str, float]
    rules: tuple[RuleEffect, ...]
    cold: bool
    nearest: tuple[Near, ...]
