"""How sure a hit rate is, and the difference of two: intervals of 95 %.

Questions count as independent of each other. A user who is asked about often weighs more than that
grants, so that intervals are somewhat too narrow where few users have most of the events.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Difference", "HitCount", "difference", "more_questions", "wilson"]

_Z = 1.959964  # two-sided 95 %
_ALPHA = 0.05
#: Standard deviation of the differences that are looked for, in HR. It decides at how many
#: questions the interval is at its tightest and never whether it holds: .02 is a twentieth of the
#: HR@10 that towers and head have on our data.
_TAU = 0.02


class HitCount(NamedTuple):
    """How often a target was among the best ten: of `questions` in `hits`."""

    questions: float = 0
    hits: float = 0

    @property
    def rate(self) -> float:
        """HR@10; 0 without questions."""
        return self.hits / self.questions if self.questions else 0.0

    def plus(self, other: "HitCount") -> "HitCount":
        """Both together."""
        return HitCount(self.questions + other.questions, self.hits + other.hits)


def wilson(hits: float, questions: float) -> tuple[float, float]:
    """Return the Wilson interval of a rate (Wilson 1927), inside [0, 1]; all of it without any.

    >>> [round(end, 4) for end in wilson(30, 100)]
    [0.2189, 0.3958]
    """
    if not questions:
        return 0.0, 1.0
    rate, z2 = hits / questions, _Z * _Z
    middle = rate + z2 / (2 * questions)
    half = _Z * math.sqrt(rate * (1 - rate) / questions + z2 / (4 * questions**2))
    scale = 1 + z2 / questions
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What an arm has more than the control, in HR@10, and an interval of it.

    estimate; low, high: its interval; control: the control's HR@10 on the same days, days weighed
    alike; questions: of both arms; variance: of the estimate.
    """

    estimate: float
    low: float
    high: float
    control: float
    questions: float
    variance: float

    @property
    def shown(self) -> bool:
        """Whether there is a difference, with confidence."""
        return self.low > 0 or self.high < 0


def difference(days: Sequence[tuple[HitCount, HitCount]]) -> Difference | None:
    """Return by how much an arm differs from the control; None without a day that has both.

    days: (control, arm) of each day. Arms are compared within days, since both the hit rate and
    the shares change from day to day; days weigh by n1 n2 / (n1 + n2) (Cochran 1954).

    The interval may be looked at as often as one likes, and acted upon when it suits: it is the
    always-valid one of the mixture sequential probability ratio test (Johari, Koomen, Pekelis and
    Walsh, Always Valid Inference, 2022). It is wider by half than one for a single look.
    """
    both = [(control, arm) for control, arm in days if control.questions and arm.questions]
    if not both:
        return None
    weights = [c.questions * a.questions / (c.questions + a.questions) for c, a in both]
    total = sum(weights)
    shares = [weight / total for weight in weights]
    estimate = sum(s * (a.rate - c.rate) for s, (c, a) in zip(shares, both, strict=True))
    variance = sum(
        s * s * (_variance(c) + _variance(a)) for s, (c, a) in zip(shares, both, strict=True)
    )
    half = _half_width(variance)
    return Difference(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        control=sum(s * c.rate for s, (c, _) in zip(shares, both, strict=True)),
        questions=sum(c.questions + a.questions for c, a in both),
        variance=variance,
    )


def more_questions(found: Difference, effect: float) -> int:
    """Return how many questions more, in the same mixture, would show a difference of `effect`.

    effect: in HR@10, greater than 0. 0 where those that there are would have shown it.
    """
    if _half_width(found.variance) <= effect:
        return 0
    low, high = 1.0, 2.0
    while _half_width(found.variance / high) > effect:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if _half_width(found.variance / middle) <= effect else (middle, high)
        )
    return math.ceil(found.questions * (high - 1))


def _half_width(variance: float) -> float:
    mixed = variance + _TAU**2
    return math.sqrt(
        variance * mixed / _TAU**2 * (math.log(mixed / variance) - 2 * math.log(_ALPHA))
    )


def _variance(one: HitCount) -> float:
    """Of a rate, one hit and one miss added: with none or nothing but hits it would be nought."""
    rate = (one.hits + 1) / (one.questions + 2)
    return rate * (1 - rate) / one.questions
