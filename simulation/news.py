"""The world `news`: items are launched all day, burst, fade within hours, or return each season."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simulation.audience import Audience
from simulation.catalogue import Items, news_begin_ms
from simulation.choice import Chooser
from simulation.lexicon import topics
from simulation.rhythm import HOUR_MS
from simulation.settings import DAY_MS, News, WorldSettings

SLICE_MS = HOUR_MS // 2
"""Demand is constant within a slice of this length, but for what is published in it."""

FADED = 0.002
"""Demand, as a share of the first, below which an item is not drawn."""

SEASON = np.cos(np.pi / 4)
"""A season is the quarter of its year in which the cosine of the time lies above this."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class NewsDemand:
    """How the demand for each item changes with time, one row per item.

    fade_ms:   f64[n], demand falls to 1/e of the first in this time.
    burst_ms:  f64[n], from the launch to the burst; infinite for items without one.
    burst_length_ms: f64[n]. burst_height: demand in a burst, as a multiple of the first.
    evergreen: f64[n], demand at the height of the topic's season; 0 for items that do not return.
    phase:     f64[n], place of the topic's season in the year of seasons, from 0 to 1.
    season_ms: length of this year.
    """

    fade_ms: Floats
    burst_ms: Floats
    burst_length_ms: Floats
    burst_height: float
    evergreen: Floats
    phase: Floats
    season_ms: float

    def at(self, rows: Integers, age_ms: Integers, time_ms: int) -> Floats:
        """Demand for items of some ages at a time, as a multiple of their first demand, f64[m]."""
        fresh = np.exp(-np.maximum(age_ms, 0) / self.fade_ms[rows])
        since = age_ms - self.burst_ms[rows]
        burst = self.burst_height * ((since >= 0) & (since < self.burst_length_ms[rows]))
        turn = np.cos(2 * np.pi * (time_ms / self.season_ms - self.phase[rows]))
        season = self.evergreen[rows] * np.maximum(turn - SEASON, 0) / (1 - SEASON)
        return np.asarray(np.maximum(np.maximum(fresh, burst), season))


def draw_news(
    settings: WorldSettings, news: News, items: Items, rng: np.random.Generator
) -> NewsDemand:
    """Draw lifetimes, bursts, and which items return. All of the stock do."""
    n = len(items)
    lifetime = news.lifetime_hours * HOUR_MS * np.exp(news.lifetime_spread * rng.normal(size=n))
    bursts = rng.random(n) < news.bursts
    stock = items.published_ms < news_begin_ms(settings, news)
    returns = stock | (rng.random(n) < news.evergreen)
    return NewsDemand(
        fade_ms=lifetime / np.log(10),
        burst_ms=np.where(bursts & ~stock, rng.random(n) * lifetime, np.inf),
        burst_length_ms=rng.exponential(news.burst_hours * HOUR_MS, size=n),
        burst_height=news.burst_height,
        evergreen=np.where(returns, news.evergreen_demand, 0.0),
        phase=items.topic / len(topics()),
        season_ms=news.season_days * DAY_MS,
    )


class NewsChooser:
    """Draws the item of each first contact from what is in demand in its half hour.

    Inside a slice of time it is `Chooser`: by taste, by topic, or in the charts, in proportion to
    an item's weight times its demand.
    """

    def __init__(
        self, settings: WorldSettings, items: Items, audience: Audience, demand: NewsDemand
    ) -> None:
        """`items.published_ms` is read at every choice."""
        always = tuple(
            replace(settings.behaviour(row), base_demand=1.0)
            for row in range(len(settings.item_types))
        )
        self._settings = replace(settings, behaviours=always)
        self._items, self._audience, self._demand = items, audience, demand

    @property
    def items(self) -> int:
        """Number of items, reserved ones included."""
        return len(self._items)

    def choose(
        self, users: Integers, types: Integers, time_ms: Integers, rng: np.random.Generator
    ) -> Integers:
        """Draw an item for each contact, i64[m]; -1 where nothing suitable exists."""
        chosen = np.full(len(users), -1, dtype=np.int64)
        order = np.argsort(time_ms, kind="stable")
        slices, starts = np.unique(time_ms[order] // SLICE_MS, return_index=True)
        for number, rows in zip(slices.tolist(), np.split(order, starts[1:]), strict=True):
            alive, chooser = self._in_demand(number * SLICE_MS, SLICE_MS)
            if not len(alive):
                continue
            found = chooser.choose(users[rows], types[rows], time_ms[rows], rng)
            chosen[rows] = np.where(found >= 0, alive[np.maximum(found, 0)], -1)
        return chosen

    def affinity(self, users: Integers, type_row: int, time_ms: int) -> Floats:
        """Probability that a user's next first contact is an item, f64[users, items]."""
        scores = np.zeros((len(users), len(self._items)))
        alive, chooser = self._in_demand(time_ms, 0)
        if len(alive):
            scores[:, alive] = chooser.affinity(users, type_row, time_ms)
        return scores

    def _in_demand(self, start_ms: int, length_ms: int) -> tuple[Integers, Chooser]:
        """Items in demand in a stretch of time, i64[a], and what draws from them."""
        items, middle = self._items, start_ms + length_ms // 2
        rows = np.flatnonzero(items.published_ms <= start_ms + length_ms)
        demand = self._demand.at(rows, middle - items.published_ms[rows], middle)
        alive, demand = rows[demand >= FADED], demand[demand >= FADED]
        columns = {name: column[alive] for name, column in vars(items).items()}
        columns["weight"] = columns["weight"] * demand
        return alive, Chooser(self._settings, Items(**columns), self._audience)
