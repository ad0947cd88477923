"""How often users come back to what they met, fitted so that hours are spread as in the real world.

First contacts alone are spread more evenly than hours are: some books are finished by everyone,
some people finish everything. Two exponents per type, one for items and one for users, are
found by bisection on the very draws that make the history, so that any size and seed of the
world has the marks its `Behaviour` names.
"""

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
    odds_of = odds * np.array([1.0, *WEAK_ODDS.values()])[contacts.kind]
    comes = rng.random(len(contacts.user)) < odds_of / (1 + odds_of)
    room = np.floor(contacts.days_left / behaviour.return_days)
    users = np.unique(contacts.user, return_inverse=True)[1]
    items = np.unique(contacts.item, return_inverse=True)[1]

    def returns(steep: tuple[float, float]) -> Floats:
        loyalty = np.exp(steep[0] * contacts.appeal + steep[1] * contacts.devotion)
        loyalty = np.minimum(loyalty / loyalty.mean(), MOST)
        mean = np.maximum(behaviour.returns * loyalty / loyalty.mean(), 1.0)
        with np.errstate(divide="ignore"):
            drawn = np.ceil(luck / np.log1p(-1 / mean))
        return np.where(comes, np.maximum(drawn, 1.0), 0.0)

    def streams(steep: tuple[float, float]) -> Floats:
        return (contacts.kind == 0) + np.minimum(returns(steep), room)

    by_item = by_user = 0.0
    if len(contacts.user):
        for _ in range(ROUNDS):
            low, high = 0.0, STEEPEST_ITEMS
            for _ in range(STEPS):
                by_item = (low + high) / 2
                hours = np.bincount(items, weights=streams((by_item, by_user)))
                short = _share(hours, HEAD_ITEMS, contacts.items) < behaviour.head_items
                low, high = (by_item, high) if short else (low, by_item)
            low, high = -STEEPEST_USERS, STEEPEST_USERS
            for _ in range(STEPS):
                by_user = (low + high) / 2
                hours = np.bincount(users, weights=streams((by_item, by_user)))
                listeners = int((hours > 0).sum())
                short = _share(hours, HEAVY_USERS, listeners) < behaviour.heavy_users
                low, high = (by_user, high) if short else (low, by_user)
    return returns((by_item, by_user)).astype(np.int64)


def _share(hours: Floats, part: float, rows: int) -> float:
    head = max(round(part * rows), 1)
    return float(np.sort(hours)[::-1][:head].sum() / max(hours.sum(), 1.0))
