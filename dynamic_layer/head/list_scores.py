"""Scores of lists by a head from each value once: without features that are written out.

A standardised value is a value times a factor of its list, so that both forms of a value share one
product: the weights of a list are those of the value as it is, plus those of the standardised one
times the factor. That halves the numbers which a list's products read. Values that are cut where
they are too far from the mean are put right one by one: they are few.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import silu

from dynamic_layer.head.features import LOUD, PairValues
from dynamic_layer.head.ranking_head import RankingHead

__all__ = ["ListScorer"]

_TOGETHER = 16  # lists whose products stay in a core's cache: of 64 each took a third longer


class ListScorer:
    """Scores lists by a head that stays as it is; what `RankingHead.scores` says of features."""

    def __init__(self, head: RankingHead) -> None:
        """head: of features in the order of `feature_names`."""
        pairs = sum(name.startswith("z:") for name in head.names)
        with torch.no_grad():
            weights, bias = head.linear.weight, torch.zeros(1)
            self._outer = None if head.outer is None else head.outer.weight[0].clone()
            if head.inner is not None:
                weights = torch.cat([weights, head.inner.weight])
                bias = torch.cat([bias, head.inner.bias])
            # In double precision: what is large may cancel out.
            scaled = weights.double() / head.deviation.double()
            self._bias = (bias - scaled @ head.mean.double()).numpy()
        parts = np.split(scaled.numpy(), [pairs, 2 * pairs], axis=1)
        self._standard, self._plain, self._own = parts

    def scores(self, values: PairValues) -> NDArray[np.float32]:
        """Return the scores f32 [b, c]; -inf where there is no candidate."""
        found = np.full(values.valid.shape, -np.inf, np.float32)
        for start in range(0, len(found), _TOGETHER):
            part = values.take(slice(start, start + _TOGETHER))
            np.copyto(found[start : start + _TOGETHER], self._scores(part), where=part.valid)
        return found

    def _scores(self, values: PairValues) -> NDArray[np.float32]:
        centred, mean, scale = values.centred()
        weights = (self._standard * scale[:, None] + self._plain).astype(np.float32)
        rest = (self._bias + mean @ self._plain.T)[:, None] + values.own @ self._own.T
        with torch.no_grad():
            hidden = torch.baddbmm(
                torch.from_numpy(rest.astype(np.float32)),
                torch.from_numpy(centred),
                torch.from_numpy(weights).transpose(1, 2),
            )
            _cut(centred, scale, self._standard, hidden.numpy())
            score = hidden[:, :, 0]
            if self._outer is not None:
                score = score + silu(hidden[:, :, 1:]) @ self._outer
        return np.asarray(score.numpy(), np.float32)


@numba.njit(cache=True, nogil=True)
def _cut(
    centred: NDArray[np.float32],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    hidden: NDArray[np.float32],
) -> None:
    """Take from the products f32 [b, c, h] what standardised values have beyond `LOUD`.

    centred, scale: see `PairValues.centred`; weights: f64 [h, f], of standardised values.
    """
    b, c, f = centred.shape
    for row in range(b):
        most = (LOUD / scale[row]).astype(np.float32)
        for place in range(c):
            beyond = 0
            for column in range(f):  # without a branch: so it is compiled to wide instructions
                beyond += 1 if abs(centred[row, place, column]) > most[column] else 0
            for column in range(f if beyond else 0):
                value = centred[row, place, column]
                if abs(value) > most[column]:
                    standard = value * scale[row, column]
                    change = min(max(standard, -LOUD), LOUD) - standard
                    for unit in range(hidden.shape[2]):
                        hidden[row, place, unit] += weights[unit, column] * change
