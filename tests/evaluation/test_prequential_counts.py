"""Neighbours and directed counts at a moment, against their definitions."""

import numpy as np
import pytest

from evaluation.prequential.counts import Neighbours, demand_scores, neighbour_scores
from evaluation.prequential.stream_index import StreamIndex
from tests.evaluation.worlds import DAY, random_dataset

HOUR = DAY // 24
ASKED = 12


@pytest.fixture(scope="module")
def world():
    dataset = random_dataset(11, users=12, items=20, events=400)
    events = dataset.events
    index = StreamIndex.of(
        user=events.user, item=events.item, timestamp=events.timestamp, strong=events.strong,
        n_users=len(dataset.users), n_items=len(dataset.items),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    at = np.sort(rng.choice(events.timestamp[100:], ASKED))
    return dataset, index, rng.integers(0, len(dataset.users), ASKED), at


def history(events, user: int, at: int):
    rows = np.flatnonzero((events.user == user) & (events.timestamp < at))
    return list(zip(events.item[rows].tolist(), events.timestamp[rows].tolist(), strict=True))


def restated(dataset, user: int, at: int, settings: Neighbours):
    events = dataset.events
    met = np.bincount(events.item[events.timestamp < at], minlength=len(dataset.items))
    scores = np.zeros(len(dataset.items))
    for back, (source, time) in enumerate(history(events, user, at)[::-1][: settings.sources]):
        age = (at - time) / HOUR
        if back and age > settings.hours:
            break
        for person in range(len(dataset.users)):
            theirs = history(events, person, at)
            for item, when in theirs if person != user else []:
                if item != source:
                    continue
                following = [t for _, t in theirs if t > when]
                for target, then in theirs:
                    if settings.directed and not (following and then == min(following)):
                        continue
                    worth = 0.5 ** (age / settings.half_life_hours)
                    worth *= 0.5 ** (
                        (at - max(when, then)) / DAY / settings.evidence_half_life_days
                    )
                    root = met[source] if settings.directed else np.sqrt(met[source] * met[target])
                    scores[target] += worth / root
    return scores


@pytest.mark.parametrize(
    "settings",
    [
        Neighbours(),
        Neighbours(hours=24.0),
        Neighbours(half_life_hours=24.0, evidence_half_life_days=5.0),
        Neighbours(sources=1, directed=True),
        Neighbours(sources=3, directed=True, half_life_hours=48.0),
    ],
    ids=["all", "a day", "decayed", "bigrams", "several"],
)
def test_neighbours_are_their_definition(world, settings):
    dataset, index, users, at = world
    found = neighbour_scores(index, users, at, settings)
    for row, (user, moment) in enumerate(zip(users, at, strict=True)):
        wanted = restated(dataset, user, moment, settings)
        # Sources below a ten-thousandth are left out.
        np.testing.assert_allclose(found[row], wanted, rtol=1e-3, atol=1e-3)
        assert wanted.max() > 0


@pytest.mark.parametrize("half_life", [1 / 24, 3.0])
def test_demand_ranks_as_the_decayed_count_does_however_long_the_stretch(world, half_life):
    """An hour's half-life over weeks: weights that grow are brought back in time."""
    dataset, index, _, at = world
    events = dataset.events
    found = demand_scores(index, at, half_life)
    for row, moment in enumerate(at):
        age = (moment - events.timestamp[events.timestamp < moment]) / DAY
        items = events.item[events.timestamp < moment]
        wanted = np.bincount(items, weights=0.5 ** (age / half_life), minlength=20)
        np.testing.assert_allclose(found[row], wanted / wanted.max(), rtol=1e-4, atol=1e-7)
