"""Off-policy estimates: by hand, without bias, with intervals that hold, naming the better one."""

import numpy as np
import pytest

from evaluation.off_policy import Places, estimates
from evaluation.take_rates import TakeRates


def places(**columns):
    given = {name: np.asarray(column, float) for name, column in columns.items()}
    n = len(given["reward"])
    return Places(**{
        "user": np.arange(n), "propensity": np.ones(n), "target": np.ones(n),
        "predicted": np.zeros(n), "expected": np.zeros(n), **given,
        **({"user": np.asarray(columns["user"])} if "user" in columns else {}),
    })  # fmt: skip


def test_an_example_by_hand():
    """Weights 2, 1/2, 0 and 1: snips (2 + 1) / 3.5, doubly robust the mean of 4 scores."""
    found = estimates(places(
        user=[0, 1, 2, 3], propensity=[0.25, 0.5, 0.5, 0.8], target=[0.5, 0.25, 0.0, 0.8],
        reward=[1, 0, 1, 1], predicted=[0.5, 0.5, 0.2, 0.4], expected=[0.6, 0.2, 0.3, 0.4],
    ))  # fmt: skip
    assert found.logged.value == 0.75
    assert found.weighted.value == pytest.approx(3 / 3.5)
    scores = np.array([0.6 + 2 * 0.5, 0.2 - 0.5 * 0.5, 0.3, 0.4 + 0.6])
    assert found.robust.value == pytest.approx(scores.mean())
    half = 1.959964 * scores.std(ddof=1) / 2
    assert found.robust.high - found.robust.value == pytest.approx(half)
    weights = np.array([2, 0.5, 0, 1])
    own = weights * (np.array([1, 0, 1, 1]) - 3 / 3.5) / weights.mean()
    half = 1.959964 * np.sqrt(4 / 3 * (own**2).sum()) / 4
    assert found.weighted.value - found.weighted.low == pytest.approx(half)
    assert found.difference.value == pytest.approx(scores.mean() - 0.75)
    assert found.effective == pytest.approx(3.5**2 / 5.25)
    assert found.supported == pytest.approx(3.5 / 4)


def test_the_policy_that_made_the_lists_has_the_value_of_the_log():
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.1, 1, 500)
    found = estimates(places(propensity=chance, target=chance, reward=rng.random(500) < 0.3))
    assert found.weighted == found.logged
    assert (found.supported, found.effective) == (1, 500)


def test_places_of_one_user_count_as_one():
    """Ten copies of each user's place say no more than one of them."""
    rng = np.random.default_rng(2)
    reward, weight = rng.random(200) < 0.4, rng.uniform(0.5, 1, 200)
    once = estimates(places(reward=reward, target=weight))
    often = estimates(
        places(reward=np.repeat(reward, 10), target=np.repeat(weight, 10),
               user=np.repeat(np.arange(200), 10))
    )  # fmt: skip
    for name in ("logged", "weighted", "robust"):
        one, ten = getattr(once, name), getattr(often, name)
        assert (ten.value, ten.low, ten.high) == pytest.approx((one.value, one.low, one.high))


class World:
    """Users of two kinds, four actions; a logging policy that tries all of them."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.rates = rng.uniform(0.05, 0.5, (2, 4))
        self.logging = rng.dirichlet(np.full(4, 2.0), 2) * 0.8 + 0.05
        self.rng = rng

    def policy(self):
        return self.rng.dirichlet(np.full(4, 1.0), 2)

    def value(self, policy):
        return float((policy * self.rates).sum(axis=1).mean())

    def log(self, users, each):
        kind = np.repeat(self.rng.integers(2, size=users), each)
        upto = self.logging.cumsum(axis=1)[kind]
        action = (self.rng.random((len(kind), 1)) > upto).sum(axis=1)
        reward = self.rng.random(len(kind)) < self.rates[kind, action]
        return np.repeat(np.arange(users), each), kind, action, reward.astype(float)

    def estimate(self, log, policy):
        """The model knows the actions and not the kinds: doubly robust with a wrong model."""
        user, kind, action, reward = log
        unknown = np.full(len(user), np.nan)
        model = TakeRates(user, action, reward, unknown)
        expected = sum(
            policy[kind, n] * model(user, np.full_like(user, n), unknown) for n in range(4)
        )
        return estimates(Places(
            user=user, propensity=self.logging[kind, action], target=policy[kind, action],
            reward=reward, predicted=model(user, action, unknown), expected=expected,
        ))  # fmt: skip


def test_estimates_have_no_bias_and_intervals_hold():
    """600 logs of 300 users: the mean of the errors is within its own error, 95 % are covered."""
    world = World(3)
    policy = world.policy()
    truth = world.value(policy)
    found = [world.estimate(world.log(300, 2), policy) for _ in range(600)]
    for name in ("weighted", "robust"):
        values = np.array([getattr(one, name).value for one in found])
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(600)
        covered = np.mean([getattr(one, name).low <= truth <= getattr(one, name).high
                           for one in found])  # fmt: skip
        assert 0.92 < covered < 0.98
    plain = np.std([one.weighted.value for one in found])
    assert np.std([one.robust.value for one in found]) < 1.02 * plain


def test_the_better_of_two_policies_is_named():
    """Of 100 worlds with two policies each, from logs of 4,000 users."""
    right = 0
    for seed in range(100):
        world = World(seed)
        one, other = world.policy(), world.policy()
        log = world.log(4_000, 2)
        found = [world.estimate(log, policy).robust.value for policy in (one, other)]
        right += (found[0] > found[1]) == (world.value(one) > world.value(other))
    assert right >= 90


def test_what_cannot_be_estimated_is_refused_or_nan():
    with pytest.raises(ValueError, match="no logged places"):
        estimates(places(reward=[]))
    with pytest.raises(ValueError, match="propensities above 0"):
        places(reward=[1.0], propensity=[0.0])
    with pytest.raises(ValueError, match="probabilities from 0 to 1"):
        places(reward=[1.0], target=[1.5])
    never = estimates(places(reward=[1.0, 0.0], target=[0.0, 0.0], expected=[0.2, 0.4]))
    assert np.isnan(never.weighted.value)
    assert never.robust.value == pytest.approx(0.3), "the model alone"
    assert never.modelled == never.robust
    assert never.supported == 0


def test_a_weight_counts_at_most_ten_times():
    """One take that the log had by chance, of what the other policy always shows."""
    found = estimates(places(
        reward=[1, 0, 0, 0], propensity=[0.001, 1, 1, 1], target=[1, 1, 1, 1],
        predicted=[0.1] * 4, expected=[0.1] * 4,
    ))  # fmt: skip
    assert found.robust.value == pytest.approx(0.1 + (10 * 0.9 - 3 * 0.1) / 4)
    assert found.modelled.value == pytest.approx(0.1)
    assert found.supported == pytest.approx((1_000 + 3) / 4)
