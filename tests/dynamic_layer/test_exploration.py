"""Exploration: what is believed of new items, who is shown them, and how likely that was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.policies.exploration import (
    DRAWS,
    Demands,
    beliefs,
    chances,
    choose,
    drawn,
    question_generator,
    relative_demand,
)
from dynamic_layer.policies.match_rarity import MatchRarity
from dynamic_layer.serving.exploring import matches


def test_neighbours_and_launches_say_what_demand_to_expect():
    """Weights 3:1 of demands 8 and 4: mean 7, variance 3; the type's average is 14."""
    found = relative_demand(
        np.array([[8.0, 4.0], [0.0, 0.0]]), np.array([[3.0, 1.0], [1.0, 1.0]]),
        np.array([14.0, 14.0]), np.array([2.0, 2.0]),
    )  # fmt: skip
    np.testing.assert_allclose(found.mean, [7 / 14 * 2, 0.05 * 2])
    np.testing.assert_allclose(found.shape, [49 / 3, 0.5])


@pytest.mark.parametrize(("apart", "shape"), [(0.0, 20.0), (1.0, 16.0), (8.0, 0.5)])
def test_a_prior_is_worth_a_half_to_twenty_takes(apart, shape):
    """Of two neighbours with a demand of 4 on average, so far apart."""
    demand = np.array([[4.0 - apart, 4.0 + apart]])
    found = relative_demand(demand, np.ones((1, 2)), np.ones(1), np.ones(1))
    np.testing.assert_allclose(found.shape, [shape])


def test_beliefs_begin_with_the_prior_and_end_with_what_was_taken():
    demands = Demands(np.array([1.0, 4.0]), np.array([2.0, 2.0]))
    shape, rate = beliefs(demands, np.array([0, 0]), np.array([0, 0]))
    # Without impressions 1 of 50 is taken of an item of average demand.
    np.testing.assert_allclose(shape / rate, [0.02, 0.08])
    shown, taken = np.array([10_000, 0]), np.array([1_000, 0])
    shape, rate = beliefs(demands, shown, taken)
    base = (1_000 + 1) / (10_000 * 1.0 + 50)
    np.testing.assert_allclose(shape, [2 + 1_000, 2])
    np.testing.assert_allclose(rate, [2 / base + 10_000, 2 / (4 * base)])
    assert shape[0] / rate[0] == pytest.approx(0.1, rel=0.01)


def test_draws_are_of_the_belief_and_an_items_own():
    keys = np.arange(5, 305, dtype=np.uint64)
    shape, rate = np.full(300, 3.0), np.full(300, 60.0)
    found = drawn(keys, shape, rate)
    assert found.shape == (300, DRAWS)
    assert found.mean() == pytest.approx(3 / 60, rel=0.02)
    assert found.var() == pytest.approx(3 / 60**2, rel=0.1)
    np.testing.assert_array_equal(drawn(keys[7:9], shape[7:9], rate[7:9]), found[7:9])


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 10), st.floats(0.02, 0.3))
def test_the_budget_is_kept_on_average(seed, items, budget):
    """Whatever the draws are: of users whose matches are of all ranks."""
    rng = np.random.default_rng(seed)
    draws = rng.gamma(0.5, size=(items, DRAWS))
    rarity = (np.arange(5_000)[:, None] + rng.random((5_000, items))) / 5_000
    found = chances(rng.permuted(rarity, axis=0), draws, budget)
    assert found.sum(axis=1).max() <= 1 + 1e-9
    assert found.sum(axis=1).mean() <= 1.03 * budget
    assert (found > 0).all(), "every user may be shown every item"


def test_an_item_is_for_those_whom_it_matches_best():
    rarity = np.array([[0.001], [0.01], [0.1], [1.0], [np.inf]])
    found = chances(rarity, np.ones((1, DRAWS)), 0.1)[:, 0, 0]
    assert found[0] == found[1] == 1.0
    assert 0.1 < found[2] < 1
    assert 0 < found[3] < 0.001
    assert found[4] == 0


def test_half_the_demand_gets_half_the_budget():
    rarity = np.linspace(0.0001, 1, 10_000)
    rarity = np.stack([rarity, rarity[::-1]], axis=1)  # for different users
    draws = np.stack([np.full(DRAWS, 0.02), np.full(DRAWS, 0.01)])
    high, low = chances(rarity, draws, 0.03).mean(axis=(0, 2))
    assert high / low == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("slots", [1, 3])
def test_propensities_are_the_frequencies(slots):
    """Of 10,000 questions, by item and slot."""
    rng = np.random.default_rng(1)
    chance = rng.random((3, DRAWS)) * 0.3
    seen = np.zeros((slots, 4))
    said = np.zeros((slots, 4))
    for number in range(10_000):
        for slot, one in enumerate(choose(chance, slots, np.random.default_rng(number))):
            seen[slot, one.item] += 1
            said[slot, one.item] = one.propensity
            assert one.of_none == one.propensity or one.item >= 0
    np.testing.assert_allclose(seen / 10_000, said, atol=0.015)
    np.testing.assert_allclose(said.sum(axis=1), 1)


def test_no_list_explores_an_item_twice():
    chance = np.full((2, DRAWS), 0.5)
    for number in range(200):
        items = [one.item for one in choose(chance, 4, np.random.default_rng(number))]
        shown = [item for item in items if item >= 0]
        assert len(shown) == len(set(shown))


def test_a_question_that_is_asked_again_has_the_same_random_numbers():
    first = question_generator("ann", "mix", 7).random(3)
    np.testing.assert_array_equal(question_generator("ann", "mix", 7).random(3), first)
    others = [("bob", "mix", 7), ("ann", "home", 7), ("ann", "mix", 8)]
    assert all((question_generator(*one).random(3) != first).all() for one in others)


def test_three_near_entries_make_a_match():
    items = np.eye(4, dtype=np.float32)[:2]
    near, far = items[0], np.eye(4, dtype=np.float32)[3]
    history = np.stack([[near] * 3 + [far], [near, far, far, far], [near] * 2 + [far] * 2])
    there = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool)
    found = matches(history, there, items)
    np.testing.assert_allclose(found[:, 0], [1, 1 / 3, 1 / 3])
    assert found[2, 1] == pytest.approx(-1 / 3)


ITEM, OTHER = np.array([7], np.uint64), np.array([8], np.uint64)


def test_matches_are_common_until_many_are_known_and_then_as_rare_as_they_are():
    rarity, rng = MatchRarity(), np.random.default_rng(2)
    assert rarity(ITEM, np.array([[0.9], [np.nan]])).ravel().tolist() == [1, np.inf]
    rarity.add(ITEM, np.array([[0.1]]), 0)
    assert rarity(ITEM, np.array([[0.9]]))[0, 0] > 0.4
    for step in range(40):
        rarity.add(ITEM, rng.random((500, 1)), step * 100_000)
        rarity.add(OTHER, rng.random((500, 1)) / 2, step * 100_000)
    found = rarity(ITEM, np.array([[0.5], [0.9], [0.99]]))
    np.testing.assert_allclose(found[:, 0], [0.5, 0.1, 0.01], atol=0.06)
    # Each item has its own.
    assert rarity(OTHER, np.array([[0.45]]))[0, 0] < 0.2 < found[0, 0]
    # What was counted long ago fades.
    for step in range(40, 80):
        rarity.add(ITEM, rng.random((500, 1)) - 0.5, step * 100_000)
    assert rarity(ITEM, np.array([[0.5]]))[0, 0] < 0.05


def test_rarity_does_not_change_while_a_question_may_be_asked_again():
    rarity, rng = MatchRarity(), np.random.default_rng(3)
    for _ in range(64):
        rarity.add(ITEM, rng.random((10, 1)), 1_000)
    before = rarity(ITEM, np.array([[0.95]]))
    rarity.add(ITEM, np.full((100, 1), 0.99), 30_000)
    assert rarity(ITEM, np.array([[0.95]])) == before
    rarity.add(ITEM, np.full((100, 1), 0.99), 70_000)
    assert rarity(ITEM, np.array([[0.95]])) > before


def test_a_budget_of_which_half_is_spent_is_corrected():
    """As where the same users match all items: one list shows only one of them."""
    rarity = MatchRarity()
    for step in range(60):
        rarity.add(ITEM, np.zeros((100, 1)), step * 100_000)
        spent = 5.0 * rarity.correction
        rarity.spend(10.0, spent, round(spent))
    assert rarity.correction == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("times", [0.5, 3.0])
def test_what_was_explored_too_much_is_saved_and_too_little_made_up_later(times):
    """As after a start, when it is not known yet how rare a match is."""
    rarity, wanted, spent = MatchRarity(), 0.0, 0
    for step in range(200):
        rarity.add(ITEM, np.zeros((100, 1)), step * 100_000)
        now = 100.0 * times * rarity.correction
        rarity.spend(100.0, now, round(now))
        wanted, spent = wanted + 100.0, spent + round(now)
    assert spent / wanted == pytest.approx(1.0, abs=0.01)
    assert rarity.correction == pytest.approx(1 / times, rel=0.01)


def test_what_no_user_may_see_is_not_made_up_for():
    """Users who have seen all new items, until one is published: no burst of it follows."""
    rarity = MatchRarity()
    for step in range(100):
        rarity.add(ITEM, np.full((100, 1), np.nan), step * 100_000)
        rarity.spend(10.0, 1e-6, 0)
    spent = [0.0]
    for step in range(100, 130):
        rarity.add(ITEM, np.zeros((100, 1)), step * 100_000)
        spent.append(10.0 * rarity.correction)
        rarity.spend(10.0, spent[-1], round(spent[-1]))
    # The first step knows of no match; the sum is that of the budget soon after.
    assert sum(spent) < 1.3 * 10.0 * 30
