"""Elementwise maximum over each node's sampled neighbours, with its gradient.

Torch has no fused form: gathering [targets, fan-out, width] and reducing it took 10-22 ms
for 2,500 targets, fan-out 10 and width 128 on two cores, this kernel 1.2 ms, backward
included. Accelerators use torch's own segment reduction.
"""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def gather_max(messages: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
    """Return f32[targets, d]: for each target the elementwise maximum of its messages.

    messages: f32[sources, d]; indptr: i64[targets + 1]; indices: i32[...], rows of `messages`.
    Every target needs at least one neighbour. The gradient goes to the (first) maximum.
    """
    if messages.device.type == "cpu":
        result: Tensor = _GatherMax.apply(messages, indptr, indices)
        return result
    return torch.segment_reduce(messages[indices.long()], "max", lengths=indptr.diff())


class _GatherMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, messages: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
        winners = np.empty((len(indptr) - 1, messages.shape[1]), dtype=np.int32)
        best = np.empty(winners.shape, dtype=np.float32)
        _maximum(
            messages.detach().contiguous().numpy(), indptr.numpy(), indices.numpy(), best, winners
        )
        ctx.winners, ctx.sources = winners, len(messages)
        return torch.from_numpy(best)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous().numpy()
        total = np.zeros((ctx.sources, gradient.shape[1]), dtype=np.float32)
        _scatter(gradient, ctx.winners, total)
        return torch.from_numpy(total), None, None


@numba.njit(nogil=True, cache=True)
def _maximum(
    messages: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    best: NDArray[np.float32],
    winners: NDArray[np.int32],
) -> None:
    for target in range(len(indptr) - 1):
        source = indices[indptr[target]]
        for column in range(messages.shape[1]):
            best[target, column] = messages[source, column]
            winners[target, column] = source
        for place in range(indptr[target] + 1, indptr[target + 1]):
            source = indices[place]
            for column in range(messages.shape[1]):
                value = messages[source, column]
                larger = value > best[target, column]
                best[target, column] = value if larger else best[target, column]
                winners[target, column] = source if larger else winners[target, column]


@numba.njit(nogil=True, cache=True)
def _scatter(
    gradient: NDArray[np.float32], winners: NDArray[np.int32], total: NDArray[np.float32]
) -> None:
    for target in range(len(gradient)):
        for column in range(gradient.shape[1]):
            total[winners[target, column], column] += gradient[target, column]
