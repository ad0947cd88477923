"""Layers of the towers that cost less to train than torch's own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _Joined(torch.autograd.Function):
    """A linear layer over two inputs side by side, with a gradient for the second one alone."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, learned: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        inputs = torch.cat([fixed, learned], dim=1)
        ctx.save_for_backward(inputs, weight)
        ctx.begin = fixed.shape[1]
        return torch.addmm(bias, inputs, weight.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        of_learned = gradient @ weight[:, ctx.begin :]
        return None, of_learned, gradient.T @ inputs, gradient.sum(dim=0)


class FirstLayer(nn.Linear):
    """A tower's first layer: over vectors that nothing learns, and over others that are learned.

    Text and HGNN vectors are most of its input, and their gradient would go nowhere: without it a
    step of the papers' towers has a quarter less to multiply, one of ours a twelfth.
    """

    def forward(self, fixed: Tensor, learned: Tensor) -> Tensor:  # type: ignore[override]
        """Return f32 [b, out] of both side by side; fixed: f32 [b, k], k may be 0."""
        found: Tensor = _Joined.apply(fixed, learned, self.weight, self.bias)
        return found


class ByteDropout(nn.Module):
    """Dropout by random bytes, eight of a draw: a draw for each entry was a twentieth of a step.

    share: of entries set to zero while training, to the nearest 256th. `generator` gives the
    draws; None means torch's own generator, which all threads of a process share.
    """

    def __init__(self, share: float) -> None:
        """See above. Raises ValueError for a share outside of [0, 1)."""
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"expected a share of at least 0 and below 1, got {share}")
        self.dropped = min(255, round(256 * share))
        self.generator: torch.Generator | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs as they are when not training, else some as zeros, the others scaled."""
        if not self.training or not self.dropped:
            return inputs
        draws = torch.empty(-(-inputs.numel() // 8), dtype=torch.int64, device=inputs.device)
        draws.random_(-(2**63), None, generator=self.generator)
        drawn = draws.view(torch.uint8)[: inputs.numel()]
        kept = (drawn >= self.dropped).view(inputs.shape)
        return inputs * (kept * (256 / (256 - self.dropped)))
