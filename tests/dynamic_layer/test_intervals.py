"""Intervals hold what they promise: counted on worlds whose truth is known."""

import numpy as np
import pytest

from dynamic_layer import HitCount, difference, more_questions, wilson


@pytest.mark.parametrize(("rate", "questions"), [(0.02, 200), (0.3, 50), (0.45, 2_000)])
def test_wilson_holds_the_truth_in_about_95_of_100(rate, questions):
    hits = np.random.default_rng(1).binomial(questions, rate, size=4_000)
    known = {h: wilson(h, questions) for h in set(hits.tolist())}
    held = np.mean([known[h][0] <= rate <= known[h][1] for h in hits.tolist()])
    assert 0.93 < held < 0.98


def test_counts_add_up_from_nothing():
    nothing, some = HitCount(), HitCount(questions=8, hits=2)
    assert nothing.plus(some) == some.plus(nothing) == some
    assert (nothing.rate, some.rate) == (0.0, 0.25)


def test_wilson_stays_within_what_rates_can_be():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def looks(rates, rng, steps=60, each=100):
    """(control, arm) at each of many looks at arms that grow by `each` questions."""
    hits = [np.cumsum(rng.binomial(each, rate, size=steps)) for rate in rates]
    for step in range(steps):
        asked = each * (step + 1)
        yield HitCount(asked, int(hits[0][step])), HitCount(asked, int(hits[1][step]))


def test_who_looks_sixty_times_at_equal_arms_seldom_sees_a_difference():
    """A 95 % interval of a single look would show one to a third of those who look so often."""
    rng, runs = np.random.default_rng(2), 400
    fooled = sum(
        any(difference([both]).shown for both in looks((0.3, 0.3), rng)) for _ in range(runs)
    )
    assert fooled / runs <= 0.05


def test_a_true_difference_is_found_and_its_sign_is_right():
    rng = np.random.default_rng(3)
    found = [difference([list(looks((0.30, 0.34), rng, steps=80))[-1]]) for _ in range(60)]
    assert np.mean([one.low > 0 for one in found]) > 0.8
    assert not any(one.high < 0 for one in found)
    worse = difference([(HitCount(8_000, 2_720), HitCount(8_000, 2_400))])
    assert worse.high < 0


def test_arms_are_compared_within_days():
    """An arm that grew when days were good looks better only to who adds all days up."""
    days = [
        (HitCount(9_000, 1_800), HitCount(1_000, 200)),  # a bad day, mostly control
        (HitCount(1_000, 400), HitCount(9_000, 3_600)),  # a good day, mostly arm
    ]
    found = difference(days)
    assert found.estimate == pytest.approx(0)
    assert found.control == pytest.approx(0.3)
    control, arm = (sum(day[n].hits for day in days) / 10_000 for n in (0, 1))
    assert arm - control == pytest.approx(0.16)


def test_the_variance_is_that_of_rates_with_a_hit_and_a_miss_more():
    """Then arms without a hit, or with nothing but hits, have an interval too."""
    found = difference([(HitCount(8, 0), HitCount(38, 38))])
    control, arm = 1 / 10, 39 / 40
    assert found.variance == pytest.approx(control * (1 - control) / 8 + arm * (1 - arm) / 38)
    assert found.estimate == 1


@pytest.mark.parametrize(("questions", "rate"), [(200, 0.1), (5_000, 0.3), (400_000, 0.45)])
def test_the_interval_is_that_of_differences_of_two_points(questions, rate):
    """Eq. 14 of Johari and others, with a mixture of standard deviation 0.02 and level 0.05."""
    one = HitCount(questions, rate * questions)
    found = difference([(one, one)])
    v, mixed = found.variance, found.variance + 0.02**2
    half = np.sqrt(v * mixed / 0.02**2 * np.log(mixed / (v * 0.05**2)))
    assert (found.low, found.high) == pytest.approx((-half, half))


def test_without_a_day_that_has_both_nothing_is_said():
    assert difference([]) is None
    assert difference([(HitCount(10, 3), HitCount()), (HitCount(), HitCount(10, 3))]) is None


def test_the_questions_that_are_asked_for_show_the_difference():
    def grown(times: float):
        counts = [HitCount(n * times, 0.3 * n * times) for n in (1_000, 500)]
        return difference([tuple(counts)])

    more = more_questions(grown(1), 0.02)
    enough, short = grown(1 + more / 1_500), grown(1 + 0.98 * more / 1_500)
    assert enough.high - enough.estimate <= 0.02 < short.high - short.estimate
    assert more_questions(enough, 0.0201) == 0
