"""Items that are about to be launched, and which users of the world wait for such an item."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.audience import Audience
from simulation.catalogue import Items


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """An item at its launch.

    entry:    its row of the catalogue, columns of `ITEM_SCHEMA`.
    interest: f64[users], share of a user's interests in the type that are the item's topic now;
        0 for who does not use the type yet or lives in a market of another language.
    alike:    i64[m], rows of the catalogue with the item's topic, type and language.
    """

    entry: dict[str, Any]
    interest: npt.NDArray[np.float64]
    alike: npt.NDArray[np.int64]


def look_up(
    items: Items, audience: Audience, row: int, entry: dict[str, Any], time_ms: int
) -> Newcomer:
    """Return what the world knows of an item by row, beside the entry that people see."""
    users, interests = len(audience), audience.interest_weight.shape[1]
    of_type = np.full(users, items.type_row[row])
    everyone, now = np.arange(users), np.full(users, time_ms)
    interest = np.zeros(users)
    for slot in range(interests):
        topic, _ = audience.interests_at(everyone, of_type, np.full(users, slot), now)
        interest += audience.interest_weight[:, slot] * (topic == items.topic[row])
    uses = (audience.activity[everyone, of_type] > 0) & (
        audience.since_ms[everyone, of_type] <= time_ms
    )
    interest[~uses | (audience.language != items.language[row])] = 0.0
    alike = (
        (items.topic == items.topic[row])
        & (items.type_row == items.type_row[row])
        & (items.language == items.language[row])
        & (items.published_ms <= time_ms)
    )
    return Newcomer(entry=entry, interest=interest, alike=np.flatnonzero(alike))
