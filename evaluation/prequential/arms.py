"""What is compared in a replay: counters, neighbours, and models brought up to date or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from evaluation.baselines import Rows, Scores
from evaluation.prequential.answers import Answers, Catalogue
from evaluation.prequential.counts import Neighbours, demand_scores, neighbour_scores
from evaluation.prequential.stream import Questions, Step

__all__ = ["COUNTERS", "NEIGHBOURS", "Arm", "Counting", "counting_arms"]

_BATCH = 256  # questions scored at once: 60 MB at 60,000 items

#: Half-lives of the live counters, in days.
COUNTERS = {
    "popularity_1h": 1 / 24,
    "popularity_6h": 0.25,
    "popularity_1d": 1.0,
    "popularity_3d": 3.0,
    "popularity_7d": 7.0,
    "popularity_14d": 14.0,
    "popularity_30d": 30.0,
    "popularity_all_time": 1e6,
}
NEIGHBOURS = {
    "item_cf": Neighbours(sources=200),
    "item_cf_hour": Neighbours(hours=1.0),
    "item_cf_decayed_1h": Neighbours(half_life_hours=1.0),
    "item_cf_decayed_1d": Neighbours(half_life_hours=24.0),
    "item_cf_decayed_30d": Neighbours(half_life_hours=720.0, sources=200),
    "item_cf_hour_fresh": Neighbours(hours=1.0, evidence_half_life_days=60.0),
    "bigrams": Neighbours(sources=1, directed=True),
    "bigrams_hour": Neighbours(sources=5, half_life_hours=1.0, directed=True),
}


class Arm(Protocol):
    """Takes part in a replay: answers a step's questions, then learns from it."""

    @property
    def name(self) -> str:
        """By which it is asked for."""

    def answer(self, step: Step, places: Rows) -> Sequence[Answers]:
        """Answer some of a step's questions, i64 [m], from what was before each; one per seed."""

    def learn(self, step: Step) -> None:
        """Learn from a step whose questions have been answered."""


Score = Callable[[Step, Questions], Scores]


@dataclass(frozen=True)
class Counting:
    """An arm that has nothing to learn: its scores are counts at the moment of the question."""

    name: str
    catalogue: Catalogue
    score: Score
    batch: int = field(default=_BATCH)

    def answer(self, step: Step, places: Rows) -> Sequence[Answers]:
        """Rank the whole catalogue for each question."""
        parts = []
        for start in range(0, len(places), self.batch):
            asked = step.questions.where(places[start : start + self.batch])
            parts.append(self.catalogue.of_scores(self.score(step, asked), asked, step.index))
        return [{name: np.concatenate([p[name] for p in parts]) for name in parts[0]}]

    def learn(self, step: Step) -> None:
        """Counts are read from the events; there is nothing else."""


def counting_arms(catalogue: Catalogue, half_lives_days: Sequence[float]) -> dict[str, Arm]:
    """Return the counting arms by name; half_lives_days: those of the steps' index."""
    arms: dict[str, Arm] = {}
    for name, days in COUNTERS.items():
        if days in half_lives_days:
            arms[name] = Counting(name, catalogue, _demand(list(half_lives_days).index(days)))
    for name, settings in NEIGHBOURS.items():
        arms[name] = Counting(name, catalogue, _neighbours(settings))
    return arms


def _demand(place: int) -> Score:
    return lambda step, asked: demand_scores(step.index, asked.at_ms, place)


def _neighbours(settings: Neighbours) -> Score:
    return lambda step, asked: neighbour_scores(step.index, asked.user, asked.at_ms, settings)
