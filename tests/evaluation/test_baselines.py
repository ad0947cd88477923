"""Baselines on the hand-made data set."""

import numpy as np
import pytest

from evaluation import Dataset, TimeSplit, item_cf, popularity, vector_knn

ALL = np.arange(7)  # p1 p2 p3 p4 b1 b2 b3
ANN, BOB, CAT, DAN, EVE = range(5)


def test_popularity_counts_users_of_streams_before_the_split(split: TimeSplit) -> None:
    scores = popularity(split.train, 7)(np.array([ANN, EVE]), ALL)
    assert scores.tolist() == [[3, 2, 1, 0, 1, 0, 0]] * 2


def test_popularity_can_count_repeats(dataset: Dataset, split: TimeSplit) -> None:
    assert popularity(dataset.events, 7)(np.array([0]), ALL)[0, 0] == 3
    assert popularity(dataset.events, 7, per_user=False)(np.array([0]), ALL)[0, 0] == 4


def test_recent_popularity_forgets(split: TimeSplit) -> None:
    recent = popularity(split.train, 7, last_days=1.5)(np.array([0]), ALL)[0]
    assert recent.tolist() == [1, 0, 1, 0, 0, 0, 0]
    decayed = popularity(split.train, 7, half_life_days=1)(np.array([0]), ALL)[0]
    assert decayed[2] == pytest.approx(1.0)
    assert decayed[0] == pytest.approx(2.0**-4 + 2.0**-3 + 2.0**-1, rel=1e-3)


def test_item_cf_follows_shared_users(split: TimeSplit) -> None:
    score = item_cf(split.train, 5, 7)
    dan, eve, cat = score(np.array([DAN, EVE, CAT]), ALL)
    assert not dan.any()  # nobody shares p3
    assert not eve.any()
    # cat has p1 (users ann, bob, cat) and b2 (cat): p2 shares ann and bob with p1.
    assert cat[1] == pytest.approx(2 / np.sqrt(3 * 2))
    assert cat[4] == pytest.approx(1 / np.sqrt(3))


def test_item_cf_can_prefer_recent_history(split: TimeSplit) -> None:
    plain = item_cf(split.train, 5, 7)(np.array([BOB]), ALL)
    decayed = item_cf(split.train, 5, 7, half_life_days=1)(np.array([BOB]), ALL)
    assert (decayed <= plain).all()
    assert decayed.sum() < plain.sum()


def test_vector_knn_ranks_by_the_mean_vector(split: TimeSplit) -> None:
    vectors = np.eye(7)
    score = vector_knn(split.train, vectors, 5)
    ann, eve = score(np.array([ANN, EVE]), ALL)
    assert ann.tolist() == [0.5, 0.5, 0, 0, 0, 0, 0]
    assert not eve.any()
