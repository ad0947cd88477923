"""Paired gains: what is equal has none, and pairs are surer than their parts."""

import numpy as np
import pytest

from evaluation.gains import Draws, interval, paired_gain


def test_a_gain_is_the_ratio_of_means_less_one() -> None:
    users = np.arange(200)
    other = (users % 4 == 0).astype(float)
    one = (users % 2 == 0).astype(float)
    gain, (low, high) = paired_gain(one, other, Draws(users, 1))
    assert gain == pytest.approx(1.0)
    assert low < 1.0 < high


def test_equal_models_gain_nothing_whoever_is_drawn() -> None:
    users = np.arange(50)
    hits = (users % 3 == 0).astype(float)
    assert paired_gain(hits, hits, Draws(users, 1)) == (0.0, (0.0, 0.0))


def test_questions_of_a_user_are_drawn_together() -> None:
    """Ten equal questions of each user say no more than one."""
    rng = np.random.default_rng(0)
    once = np.arange(100)
    one, other = (rng.random(100) < 0.6).astype(float), (rng.random(100) < 0.4).astype(float)
    many = np.repeat(once, 10)
    by_one = paired_gain(one, other, Draws(once, 1))
    by_ten = paired_gain(np.repeat(one, 10), np.repeat(other, 10), Draws(many, 1))
    assert by_ten[1] == pytest.approx(by_one[1])
    # Drawn one by one, they would be far surer than they are.
    alone = paired_gain(np.repeat(one, 10), np.repeat(other, 10), Draws(np.arange(1_000), 1))
    assert by_ten[1][1] - by_ten[1][0] > 2 * (alone[1][1] - alone[1][0])


def test_nothing_is_gained_over_nothing() -> None:
    with pytest.raises(ValueError, match="at least one hit"):
        paired_gain(np.ones(3), np.zeros(3), Draws(np.arange(3), 1))
    assert np.isnan(interval(np.zeros(0))).all()
