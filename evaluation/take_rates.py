"""A model of what is taken of showings: by item, and by how rare its match with the user is."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["TakeRates"]

Floats = NDArray[np.float64]
#: Takes of an item are joined by those of so many showings of an average one.
_SHRUNK = 20.0
#: Passes over item factors and rarity, which depend on each other.
_ROUNDS = 6
#: Precision of the normal prior of the two coefficients of rarity, and rarity around which one of
#: them counts: the two are then nearly independent.
_PRECISION, _CENTRE = 1.0, 0.05
_NEWTON = 50


class TakeRates:
    """Rates of takes: an average, times the item's factor, times a power of the match's rarity.

    The same at all places of a list: the better items stand before the others, so that the log
    cannot tell what a place does. Learned from one half of the users for the other one, so that an
    estimate which uses it is not told by a user's own takes.
    """

    def __init__(
        self, user: NDArray[np.int64], item: NDArray[np.int64], reward: Floats, rarity: Floats
    ) -> None:
        """Learn from showings, [n] each: numbers of users and of items from 0 on.

        rarity: above 0 and at most 1, share of lists whose users match the item at least as well;
        NaN where that is unknown.
        """
        half = _half(user)
        self._of_item = np.zeros((2, max(1, int(item.max(initial=-1)) + 1)))
        self._every, self._of_rarity = np.zeros(2), np.zeros((2, 2))
        for own in range(2):
            learned = half != own
            self._learn(own, item[learned], reward[learned], rarity[learned])

    def _learn(self, half: int, item: NDArray[np.int64], reward: Floats, rarity: Floats) -> None:
        there, items = item >= 0, self._of_item.shape[1]
        item, reward, rarity = item[there], reward[there], rarity[there]
        self._every[half] = every = (reward.sum() + 0.02) / (len(reward) + 1)
        known = ~np.isnan(rarity)
        basis, own = _basis(rarity[known]), np.bincount(item, reward, items)
        more = np.ones(len(reward))
        for _ in range(_ROUNDS if known.any() else 1):
            # How much more is taken of an item than is usual at such matches.
            usual = np.bincount(item, every * more, items)
            self._of_item[half] = (own + _SHRUNK * every) / (usual + _SHRUNK * every)
            expected = every * self._of_item[half][item[known]]
            self._of_rarity[half] = _coefficients(basis, reward[known], expected)
            more[known] = np.exp(basis @ self._of_rarity[half])

    def __call__(self, user: NDArray[np.int64], item: NDArray[np.int64], rarity: Floats) -> Floats:
        """Return expected rewards, f64 [m]; an item of number -1, or unknown, is an average one."""
        half = _half(user)
        known = (item >= 0) & (item < self._of_item.shape[1])
        factor = np.where(known, self._of_item[half, np.where(known, item, 0)], 1.0)
        there = ~np.isnan(rarity)
        basis = _basis(np.where(there, rarity, 1.0))
        of_rarity = np.exp((basis * self._of_rarity[half]).sum(axis=1))
        rate = self._every[half] * factor * np.where(there, of_rarity, 1.0)
        return np.asarray(np.minimum(rate, 1.0))


def _half(user: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(user % 2, np.int64)


def _basis(rarity: Floats) -> Floats:
    """Return what the logarithm of a rate is linear in, f64 [n, 2]."""
    return np.stack([np.ones(len(rarity)), np.log(rarity / _CENTRE)], axis=1)


def _coefficients(basis: Floats, reward: Floats, expected: Floats) -> Floats:
    """Return the coefficients of a Poisson regression, f64 [2]; expected: f64 [n], without it."""
    found = np.zeros(basis.shape[1])
    for _ in range(_NEWTON):
        mean = expected * np.exp(basis @ found)
        slope = basis.T @ (reward - mean) - _PRECISION * found
        curve = (basis.T * mean) @ basis + _PRECISION * np.eye(len(found))
        step = np.linalg.solve(curve, slope)
        # At most one at a time, so that no exponential is too great.
        step /= max(1.0, np.abs(step).max())
        found += step
        if np.abs(step).max() < 1e-8:
            break
    return found
