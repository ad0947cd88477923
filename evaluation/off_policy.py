"""Off-policy evaluation: the value of a policy from what another one showed, with propensities.

Self-normalised inverse propensity scoring (Swaminathan and Joachims, 2015) and doubly robust
estimation (Dudik, Langford and Li, 2011) with weights that are cut (Ionides, 2008), with intervals
of 95 % whose clusters are users. A row is one place of one list: what was shown there, how likely
that was under both policies, and whether it was taken.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Estimates", "Places", "estimates"]

Floats = NDArray[np.float64]
_Z = 1.959964  # two-sided 95 %
#: Greatest weight of a row in the doubly robust estimate. What the other policy shows to all, and
#: the log showed to few, is then told by the model, with its error, and not by one take or none.
_MOST = 10.0


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
    inverse propensities; modelled: by the model alone; robust: doubly robust; difference: robust
    minus logged.
    effective: number of places that weights of this inequality are worth (Kish).
    supported: mean weight: 1 where all that the policy would show was shown at times, less where
    it would show what no logged list could have had there.
    """

    places: int
    users: int
    logged: Estimate
    weighted: Estimate
    modelled: Estimate
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
    cut = np.minimum(weight, _MOST)
    scores = places.expected + cut * (places.reward - places.predicted)
    modelled = float(places.expected.mean())
    robust = float(scores.mean())
    mean_weight = max(total / len(places), 1e-300)
    return Estimates(
        places=len(places),
        users=len(np.unique(places.user)),
        logged=_with_interval(logged, places.reward - logged, places.user),
        weighted=_with_interval(
            weighted, weight * (places.reward - weighted) / mean_weight, places.user
        ),
        modelled=_with_interval(modelled, places.expected - modelled, places.user),
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
