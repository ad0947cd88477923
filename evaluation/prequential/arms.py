"""What is compared in a replay: live counters and neighbours, beside lists made elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from evaluation.baselines import Scores
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
    """Takes part in a replay."""

    @property
    def name(self) -> str:
        """By which it is asked for."""

    def answer(self, step: Step) -> Sequence[Answers]:
        """Answer a step's questions from what was before each; one per seed."""


Score = Callable[[Step, Questions], Scores]


@dataclass(frozen=True)
class Counting:
    """An arm whose scores are counts at the moment of the question."""

    name: str
    catalogue: Catalogue
    score: Score
    batch: int = field(default=_BATCH)

    def answer(self, step: Step) -> Sequence[Answers]:
        """Rank the whole catalogue for each question."""
        parts, every = [], np.arange(len(step.questions))
        for start in range(0, len(every), self.batch):
            asked = step.questions.where(every[start : start + self.batch])
            parts.append(self.catalogue.of_scores(self.score(step, asked), asked, step.index))
        return [{name: np.concatenate([p[name] for p in parts]) for name in parts[0]}]


def counting_arms(catalogue: Catalogue) -> dict[str, Arm]:
    """Return the counting arms by name."""
    arms: dict[str, Arm] = {}
    for name, days in COUNTERS.items():
        arms[name] = Counting(name, catalogue, _demand(days))
    for name, settings in NEIGHBOURS.items():
        arms[name] = Counting(name, catalogue, _neighbours(settings))
    return arms


def _demand(half_life_days: float) -> Score:
    return lambda step, asked: demand_scores(step.index, asked.at_ms, half_life_days)


def _neighbours(settings: Neighbours) -> Score:
    return lambda step, asked: neighbour_scores(step.index, asked.user, asked.at_ms, settings)
