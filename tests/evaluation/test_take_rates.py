"""The model of takes: items, rarity of a match, and no user's own takes."""

import numpy as np
import pytest

from evaluation.take_rates import TakeRates


def test_items_are_known_and_a_users_own_takes_are_not():
    rng = np.random.default_rng(4)
    n = 40_000
    user, item = rng.integers(2_000, size=n), rng.integers(3, size=n)
    reward = (rng.random(n) < np.array([0.1, 0.2, 0.4])[item]).astype(float)
    unknown = np.full(n, np.nan)
    model = TakeRates(user, item, reward, unknown)
    found = model(np.zeros(3, np.int64), np.arange(3), unknown[:3])
    np.testing.assert_allclose(found, [0.1, 0.2, 0.4], rtol=0.15)
    average = model(np.zeros(1, np.int64), np.array([-1]), unknown[:1])
    assert average[0] == pytest.approx(0.7 / 3, rel=0.1)
    changed = TakeRates(user, item, np.where(user == 4, 1.0, reward), unknown)
    own = (user[user == 4], item[user == 4], unknown[user == 4])
    np.testing.assert_array_equal(model(*own), changed(*own))


def test_rates_fall_with_the_rarity_of_a_match_and_items_differ():
    """Two new items whose rates fall as the square root of rarity, one of them twice as liked.

    The one that is liked less is shown to those whom it matches best: its own rate of takes is no
    lower, and a model of items alone takes both for equal.
    """
    rng = np.random.default_rng(5)
    n = 60_000
    item = rng.integers(2, size=n)
    rarity = rng.uniform(0.002, 0.05, n) * np.where(item == 0, 1.0, 4.0)
    rate = 0.04 / np.sqrt(rarity / 0.05) * np.where(item == 0, 0.5, 1.0)
    reward = (rng.random(n) < rate).astype(float)
    user = np.arange(n)
    model = TakeRates(user, item, reward, rarity)
    ask = np.array([0.004, 0.02, 0.2])
    for number, liked in ((0, 0.5), (1, 1.0)):
        found = model(np.zeros(3, np.int64), np.full(3, number), ask)
        np.testing.assert_allclose(found, 0.04 * liked / np.sqrt(ask / 0.05), rtol=0.15)
    flat = TakeRates(user, item, reward, np.full(n, np.nan))
    low, high = flat(np.zeros(2, np.int64), np.arange(2), np.full(2, np.nan))
    assert high / low == pytest.approx(1.0, abs=0.15)
