"""How a user of the simulated world finds an item: by taste, by topic, or in the charts."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from simulation.audience import Audience
from simulation.catalogue import Items
from simulation.lexicon import LANGUAGES, topics
from simulation.settings import DAY_MS, WorldSettings

SECOND_TOPIC = 0.5
"""Weight of an item under its second topic, relative to its first."""

OWN_LANGUAGE = 0.92
"""Share of contacts with items in the language of the market; the rest is in English."""

TRIES = 6


class Shelves:
    """Items sorted onto shelves, to draw from each in proportion to the items' weights."""

    def __init__(
        self,
        shelf: npt.NDArray[np.int64],
        item: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float64],
        shelves: int,
    ) -> None:
        """Put item[row] with weight[row] > 0 onto shelf[row], one of `shelves`."""
        order = np.argsort(shelf, kind="stable")
        self.item = item[order]
        self._upto = np.concatenate([[0.0], np.cumsum(weight[order])])
        self._bounds = np.searchsorted(shelf[order], np.arange(shelves + 1))

    def draw(self, shelf: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw one item from each named shelf, i64[m]; -1 where the shelf is empty."""
        low, high = self._upto[self._bounds[shelf]], self._upto[self._bounds[shelf + 1]]
        at = np.searchsorted(self._upto, low + rng.random(len(shelf)) * (high - low), side="right")
        place = np.clip(at - 1, self._bounds[shelf], self._bounds[shelf + 1] - 1)
        return np.where(high > low, self.item[np.minimum(place, len(self.item) - 1)], -1)


class Choosing(Protocol):
    """What draws the item of each first contact: `Chooser` or `NewsChooser`."""

    @property
    def items(self) -> int:
        """Number of items, reserved ones included."""

    def choose(
        self,
        users: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        time_ms: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.int64]:
        """Draw an item for each contact, i64[m]; -1 where nothing suitable exists."""

    def affinity(
        self, users: npt.NDArray[np.int64], type_row: int, time_ms: int
    ) -> npt.NDArray[np.float64]:
        """Probability that a user's next first contact is an item, f64[users, items]."""


class Chooser:
    """Draws the item of each first contact.

    Inside topic and circle (`in_circle`), inside the topic (`in_topic`), else from the charts of
    the language; a candidate that is not published yet is drawn again, an old one is drawn again
    with the probability that its demand has faded.
    """

    def __init__(self, settings: WorldSettings, items: Items, audience: Audience) -> None:
        """Sort the items onto shelves. `items.published_ms` is read at every choice."""
        self._settings, self._items, self._audience = settings, items, audience
        behaviours = [settings.behaviour(row) for row in range(len(settings.item_types))]
        self._freshness = np.array([b.freshness_days for b in behaviours]) * DAY_MS
        self._base = np.array([b.base_demand for b in behaviours])
        kinds, languages = len(settings.item_types), len(LANGUAGES)
        rows = np.arange(len(items))
        twice = np.concatenate([rows, rows])
        weight = np.concatenate([items.weight, items.weight * SECOND_TOPIC])
        topic = np.concatenate([items.topic, items.second_topic])
        chart = items.type_row * languages + items.language
        shelf = chart[twice] * len(topics()) + topic
        cells = kinds * languages * len(topics())
        self._charts = Shelves(chart, rows, items.weight, kinds * languages)
        self._topics = Shelves(shelf, twice, weight, cells)
        inside = shelf * settings.circles + items.circle[twice]
        self._circles = Shelves(inside, twice, weight, cells * settings.circles)

    @property
    def items(self) -> int:
        """Number of items, reserved ones included."""
        return len(self._items)

    def demand(
        self, items: npt.NDArray[np.int64], time_ms: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Demand for items at times as a share of their first day's, f64[m]; 0 before launch."""
        age = time_ms - self._items.published_ms[items]
        kind = self._items.type_row[items]
        base = self._base[kind]
        fresh = np.exp(-np.maximum(age, 0) / self._freshness[kind])
        return np.where(age < 0, 0.0, base + (1 - base) * fresh)

    def choose(
        self,
        users: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        time_ms: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.int64]:
        """Draw an item for each contact, i64[m]; -1 where nothing suitable exists."""
        settings, audience = self._settings, self._audience
        reach = rng.random(len(users))
        level = np.digitize(reach, [settings.in_circle, settings.in_circle + settings.in_topic])
        slot = _draw_slot(audience.interest_weight[users], rng)
        topic, circle = audience.interests_at(users, types, slot, time_ms)
        own = rng.random(len(users)) < OWN_LANGUAGE
        chart = types * len(LANGUAGES) + np.where(own, audience.language[users], 0)
        shelf = chart * len(topics()) + topic
        chosen = np.full(len(users), -1, dtype=np.int64)
        for attempt in range(TRIES):
            open_ = np.flatnonzero(chosen < 0)
            if not len(open_):
                break
            if attempt >= TRIES // 2:  # nothing there: look on the next wider shelf
                level[open_] = np.minimum(level[open_] + 1, 2)
            found = np.full(len(open_), -1, dtype=np.int64)
            for step, shelves, where in (
                (0, self._circles, shelf * settings.circles + circle),
                (1, self._topics, shelf),
                (2, self._charts, chart),
            ):
                mine = level[open_] == step
                found[mine] = shelves.draw(where[open_[mine]], rng)
            wanted = self.demand(np.maximum(found, 0), time_ms[open_])
            taken = (found >= 0) & (rng.random(len(open_)) < wanted)
            chosen[open_[taken]] = found[taken]
        return chosen

    def affinity(
        self, users: npt.NDArray[np.int64], type_row: int, time_ms: int
    ) -> npt.NDArray[np.float64]:
        """Probability that a user's next first contact is an item, f64[users, items].

        What a perfect recommender would know: the oracle of evaluations. Rows sum to 1. Columns
        are all items of the catalogue; 0 for other types and for what is not published yet.
        """
        items, audience = self._items, self._audience
        rows = np.arange(len(items))
        base = items.weight * self.demand(rows, np.full(len(items), time_ms))
        base[items.type_row != type_row] = 0.0
        scores = np.zeros((len(users), len(items)))
        english = np.zeros(len(users), dtype=np.int64)
        types, now = np.full(len(users), type_row), np.full(len(users), time_ms)
        for share, language in (
            (OWN_LANGUAGE, audience.language[users]),
            (1 - OWN_LANGUAGE, english),
        ):
            chart = np.where(items.language == language[:, None], base, 0.0)
            for slot in range(audience.interest_weight.shape[1]):
                slots = np.full(len(users), slot)
                topic, circle = audience.interests_at(users, types, slots, now)
                weight = share * audience.interest_weight[users, slot]
                scores += weight[:, None] * self._by_taste(chart, topic, circle)
        return scores

    def _by_taste(
        self,
        chart: npt.NDArray[np.float64],
        topic: npt.NDArray[np.int64],
        circle: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float64]:
        """Probability of each item for one interest per user; empty shelves lead to wider ones."""
        items, settings = self._items, self._settings
        first, second = items.topic == topic[:, None], items.second_topic == topic[:, None]
        on_topic = chart * (first + SECOND_TOPIC * second)
        charts = _normalised(chart)
        topic_shelf = _normalised(on_topic, otherwise=charts)
        circle_shelf = _normalised(
            on_topic * (items.circle == circle[:, None]), otherwise=topic_shelf
        )
        inside, near = settings.in_circle, settings.in_topic
        return np.asarray(inside * circle_shelf + near * topic_shelf + (1 - inside - near) * charts)


def _draw_slot(weights: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    slot = np.minimum(
        (np.cumsum(weights, axis=1) < rng.random(len(weights))[:, None]).sum(axis=1),
        weights.shape[1] - 1,
    )
    return np.asarray(slot)


def _normalised(
    weights: npt.NDArray[np.float64], otherwise: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Rows that sum to 1; rows of nothing but zeros are taken from `otherwise`."""
    total = weights.sum(axis=1, keepdims=True)
    scaled = weights / np.where(total > 0, total, 1.0)
    return np.asarray(scaled if otherwise is None else np.where(total > 0, scaled, otherwise))
