"""What one model gains over another: intervals that draw users again, the same for both."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.segments import ALL

__all__ = ["Draws", "Gain", "interval", "paired_gain"]

_DRAWS = 1_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much more HR@10 a model has than another, as a share of the other's.

    gain_ci: 95 %, paired: both are measured on the same questions of users who are drawn again.
    """

    model: str
    over: str
    item_type: str
    segment: str = ALL
    gain: float
    gain_ci: tuple[float, float]


class Draws:
    """Users drawn again with replacement; the same draws for every model."""

    def __init__(self, users: npt.NDArray[np.int64], seed: int) -> None:
        """users: i64 [questions], who was asked."""
        _, self._place = np.unique(users, return_inverse=True)
        n = int(self._place.max()) + 1
        rng = np.random.default_rng([seed, 1])
        self._times = rng.multinomial(n, np.full(n, 1 / n), size=_DRAWS).astype(np.float64)
        self._asked = self._times @ np.bincount(self._place, minlength=n)

    def means(self, values: Floats) -> Floats:
        """Means over the questions of the drawn users, f64 [draws]; values: f64 [questions]."""
        total = self._times @ np.bincount(self._place, weights=values)
        return np.asarray(total / self._asked)


def paired_gain(one: Floats, other: Floats, draws: Draws) -> tuple[float, tuple[float, float]]:
    """Return one mean over another, less 1, and its interval of 95 %.

    one, other: f64 [questions], of the same questions. Draws in which the other has nothing are
    left out of the interval. Raises ValueError where the other has nothing at all.
    """
    if not other.any():
        raise ValueError("expected a model with at least one hit to compare with, got none")
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = draws.means(one) / draws.means(other) - 1
    return float(one.mean() / other.mean() - 1), interval(drawn[np.isfinite(drawn)])


def interval(drawn: Floats) -> tuple[float, float]:
    """Return the middle 95 % of draws; nan without any."""
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
