"""How often users come back to what they met, fitted so that hours are spread as in the real world.

First contacts alone are spread more evenly than hours are: some books are finished by everyone,
some people finish everything. Two exponents per type, one for items and one for users, are
found by bisection on the very draws that make the history, so that any size and seed of the
world has the marks its `Behaviour` names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.settings import WEAK_ODDS, Behaviour

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HEAVY_USERS, HEAD_ITEMS = 0.25, 0.20
"""The shares of users and of items that the papers' marks speak of."""

ROUNDS, STEPS = 2, 6
STEEPEST_ITEMS, STEEPEST_USERS = 2.0, 1.0

MOST = 5.0
"""Loyalty is cut at this multiple of its mean: beyond it a few items would take all hours, and
the end of the history would take them back."""


@dataclass(frozen=True, kw_only=True)
class TypeContacts:
    """First contacts with items of one type.

    user, item: i64[m], rows. kind: i8[m], 0 is a stream.
    appeal: f64[m], standard normal popularity of the item; devotion: f64[m], of the user.
    days_left: f64[m], from the contact to the end of the history.
    items: size of the type's catalogue.
    """

    user: Integers
    item: Integers
    kind: npt.NDArray[np.int8]
    appeal: Floats
    devotion: Floats
    days_left: Floats
    items: int


def draw_returns(
    contacts: TypeContacts, behaviour: Behaviour, rng: np.random.Generator
) -> Integers:
    """Number of streams after each contact, i64[m]; the odds of any at all follow `WEAK_ODDS`."""
    luck = np.log(1 - rng.random(len(contacts.user)))
    odds = behaviour.returning / (1 - behaviour.returning)
    comes = np.zeros(len(contacts.user), dtype=bool)
    for kind, ratio in enumerate((1.0, *WEAK_ODDS.values())):
        mine = np.flatnonzero(contacts.kind == kind)
        mine = mine[np.argsort(-contacts.days_left[mine], kind="stable")]
        comes[mine] = _evenly(len(mine), odds * ratio / (1 + odds * ratio), rng)
    room = np.floor(contacts.days_left / behaviour.return_days)
    listeners, user = np.unique(contacts.user, return_inverse=True)
    item = np.unique(contacts.item, return_inverse=True)[1]

    def returns(by_item: float, by_user: float) -> Floats:
        loyalty = np.exp(by_item * contacts.appeal + by_user * contacts.devotion)
        loyalty = np.minimum(loyalty / loyalty.mean(), MOST)
        mean = np.maximum(behaviour.returns * loyalty / loyalty.mean(), 1.0)
        with np.errstate(divide="ignore"):
            drawn = np.ceil(luck / np.log1p(-1 / mean))
        return np.asarray(np.where(comes, np.maximum(drawn, 1.0), 0.0))

    def streams(by_item: float, by_user: float) -> Floats:
        return np.asarray((contacts.kind == 0) + np.minimum(returns(by_item, by_user), room))

    def on_head(by_item: float) -> float:
        hours = np.bincount(item, weights=streams(by_item, by_user))
        return head_share(hours, HEAD_ITEMS, contacts.items)

    def by_heavy(by_user: float) -> float:
        hours = np.bincount(user, weights=streams(by_item, by_user))
        return head_share(hours, HEAVY_USERS, len(listeners))

    by_item = by_user = 0.0
    for _ in range(ROUNDS if len(user) else 0):  # in turn, each with the other's last value
        by_item = _bisect(on_head, behaviour.head_items, (0.0, STEEPEST_ITEMS))
        by_user = _bisect(by_heavy, behaviour.heavy_users, (-STEEPEST_USERS, STEEPEST_USERS))
    return returns(by_item, by_user).astype(np.int64) if len(user) else np.zeros(0, dtype=np.int64)


def head_share(hours: npt.NDArray[np.number], part: float, rows: int) -> float:
    """Share of the hours that the largest `part` of the rows hold, of `rows` in all.

    >>> head_share(np.array([1, 6, 2, 1]), 0.25, rows=4)
    0.6
    """
    head = max(round(part * rows), 1)
    return float(np.sort(hours)[::-1][:head].sum() / max(hours.sum(), 1))


def _bisect(rising: Callable[[float], float], target: float, between: tuple[float, float]) -> float:
    """Where a rising function reaches the target; the nearer end where it never does."""
    low, high = between
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _evenly(size: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose `share` of the rows at even distances, bool[size].

    Independent draws would blur odds of 1.18 and 1.13 into each other in one history of three.
    """
    steps = np.floor(np.arange(size + 1) * share + rng.random())
    return np.asarray(np.diff(steps) > 0)
