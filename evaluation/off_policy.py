"""Off-policy evaluation: the value of a policy from what another one showed, with propensities.

Self-normalised inverse propensity scoring (Swaminathan and Joachims, 2015) and doubly robust
estimation (Dudik, Langford and Li, 2011), with intervals of 95 % whose clusters are users. A row is
one place of one list: what was shown there, how likely that was under both policies, and whether it
was taken. Places count as independent of each other given the user (item-position model).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Estimates", "Places", "TakeRates", "estimates"]

Floats = NDArray[np.float64]
_Z = 1.959964  # two-sided 95 %
#: Takes of an item are joined by those of so many showings of an average one at the same place.
_SHRUNK = 20.0


@dataclass(frozen=True, kw_only=True)
class Places:
    """n places of logged lists.

    user: i64 [n], whose list it is. propensity: f64 [n], above 0, of what was shown, as logged.
    target: f64 [n], probability of the same under the policy that is evaluated. reward: f64 [n].
    predicted: f64 [n], reward that a model expects of what was shown; expected: f64 [n], of what
    the policy would show, the mean over its choices.
    """

    user: NDArray[np.int64]
    propensity: Floats
    target: Floats
    reward: Floats
    predicted: Floats
    expected: Floats

    def __post_init__(self) -> None:
        """Raise ValueError for columns of different lengths and impossible probabilities."""
        if len({len(column) for column in vars(self).values()}) != 1:
            raise ValueError("expected columns of one length")
        if (self.propensity <= 0).any() or (self.propensity > 1 + 1e-9).any():
            raise ValueError("expected propensities above 0 and at most 1")
        if (self.target < 0).any() or (self.target > 1 + 1e-9).any():
            raise ValueError("expected probabilities from 0 to 1")

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value per place and its interval of 95 %; NaN where nothing tells it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """What logged places say of a policy.

    logged: value of the policy that made the lists. weighted: of the other one, by self-normalised
    inverse propensities; robust: doubly robust; difference: robust minus logged.
    effective: number of places that weights of this inequality are worth (Kish).
    supported: mean weight: 1 where all that the policy would show was shown at times, less where
    it would show what no logged list could have had there.
    """

    places: int
    users: int
    logged: Estimate
    weighted: Estimate
    robust: Estimate
    difference: Estimate
    effective: float
    supported: float


def estimates(places: Places) -> Estimates:
    """Return what logged places say of a policy. Raises ValueError where there are none."""
    if not len(places):
        raise ValueError("there are no logged places")
    weight = places.target / places.propensity
    total = float(weight.sum())
    logged = float(places.reward.mean())
    weighted = float((weight * places.reward).sum() / total) if total else math.nan
    scores = places.expected + weight * (places.reward - places.predicted)
    robust = float(scores.mean())
    mean_weight = max(total / len(places), 1e-300)
    return Estimates(
        places=len(places),
        users=len(np.unique(places.user)),
        logged=_with_interval(logged, places.reward - logged, places.user),
        weighted=_with_interval(
            weighted, weight * (places.reward - weighted) / mean_weight, places.user
        ),
        robust=_with_interval(robust, scores - robust, places.user),
        difference=_with_interval(
            robust - logged, scores - robust - (places.reward - logged), places.user
        ),
        effective=total**2 / float((weight**2).sum()) if total else 0.0,
        supported=total / len(places),
    )


def _with_interval(value: float, influence: Floats, user: NDArray[np.int64]) -> Estimate:
    """Return an estimate; influence: f64 [n], of each place, with mean 0.

    Places of one user count as one observation, however alike they are.
    """
    _, cluster = np.unique(user, return_inverse=True)
    sums = np.bincount(cluster, influence)
    if len(sums) < 2 or math.isnan(value):
        return Estimate(value=value, low=math.nan, high=math.nan)
    spread = math.sqrt(len(sums) / (len(sums) - 1) * float((sums**2).sum())) / len(user)
    return Estimate(value=value, low=value - _Z * spread, high=value + _Z * spread)


class TakeRates:
    """A model of what is taken: by item and place, from one half of the users for the other one.

    So that an estimate which uses it is not told by a user's own takes.
    """

    def __init__(
        self,
        user: NDArray[np.int64],
        item: NDArray[np.int64],
        place: NDArray[np.int64],
        reward: Floats,
    ) -> None:
        """Learn from showings, [n] each: numbers of users, items and places from 0 on."""
        self._half = _half(user)
        items, places = int(item.max(initial=-1)) + 1, int(place.max(initial=-1)) + 1
        self._of_place, self._of_item = np.zeros((2, max(1, places))), np.zeros((2, max(1, items)))
        for half in range(2):
            learned = self._half != half
            shown = np.bincount(place[learned], minlength=max(1, places))
            taken = np.bincount(place[learned], reward[learned], minlength=max(1, places))
            every = (reward[learned].sum() + 0.02) / (learned.sum() + 1)
            self._of_place[half] = (taken + _SHRUNK * every) / (shown + _SHRUNK)
            usual = np.bincount(
                item[learned], self._of_place[half][place[learned]], minlength=max(1, items)
            )
            own = np.bincount(item[learned], reward[learned], minlength=max(1, items))
            # How much more is taken of an item than is usual at its places.
            self._of_item[half] = (own + _SHRUNK * every) / (usual + _SHRUNK * every)

    def __call__(
        self, user: NDArray[np.int64], item: NDArray[np.int64], place: NDArray[Any]
    ) -> Floats:
        """Return expected rewards, f64 [m]; an item of number -1, or unknown, is an average one."""
        half = _half(user)
        known = (item >= 0) & (item < self._of_item.shape[1])
        factor = np.where(known, self._of_item[half, np.where(known, item, 0)], 1.0)
        at = np.minimum(place, self._of_place.shape[1] - 1)
        return np.asarray(np.minimum(self._of_place[half, at] * factor, 1.0))


def _half(user: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(user % 2, np.int64)
