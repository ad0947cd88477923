"""What a bundle loses against another one on the same questions, and how sure that is."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Loss", "loss_of"]

#: One-sided: an equal bundle is refused one time in twenty, and one that loses `max_loss` passes
#: one time in ten, given as many questions as `needed`.
_Z_REFUSED, _Z_PASSED = 1.645, 1.282


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Two bundles on the same questions.

    before, after: HR@10 of the other bundle and of the candidate; high: upper end of the one-sided
    interval of 95 % of their difference; needed: questions with which a loss of `max_loss` is found
    nine times in ten; too_much: whether the candidate is worse by more than chance and by more than
    half of `max_loss`.
    """

    before: float
    after: float
    high: float
    questions: int
    needed: int
    too_much: bool


def loss_of(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    users: NDArray[np.int64],
    max_loss: float,
) -> Loss:
    """Compare hits, bool [n] each, of two bundles; users: i64 [n], who asked, in any numbers.

    Each question is compared with itself, and the questions of a user stand together: those of one
    user succeed or fail together, so that n of them tell less than n of n users. Half of `max_loss`
    is the least that counts, for with many questions the smallest loss is more than chance.
    """
    n = len(before)
    difference = after.astype(np.float64) - before
    mean = float(difference.mean())
    _, user = np.unique(users, return_inverse=True)
    sums = np.bincount(user, weights=difference - mean)
    variance = float((sums**2).sum()) / n  # of one question, as far as it tells something new
    # With nothing but equal answers it would be nought.
    variance = max(variance, 1 / n)
    allowed = max_loss * float(before.mean())
    high = mean + _Z_REFUSED * math.sqrt(variance / n)
    needed = math.inf
    if allowed > 0:
        needed = variance * ((_Z_REFUSED + _Z_PASSED) / allowed) ** 2
    return Loss(
        before=float(before.mean()),
        after=float(after.mean()),
        high=high,
        questions=n,
        needed=math.ceil(min(needed, 1e9)),
        too_much=high < 0 and mean < -allowed / 2,
    )
