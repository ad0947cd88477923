"""A head of few lists: the ranking that it begins with, moved as far as the lists can show."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dynamic_layer.head.listwise import listwise_loss

__all__ = ["Expected"]

_ITERATIONS = 40


class Expected(NamedTuple):
    """What is known of a linear head before it has seen a list.

    weights: by name, of features as they are; others are 0. learned: names of those that few lists
    may change.
    """

    weights: dict[str, float]
    learned: list[str]

    def after(
        self,
        names: Sequence[str],
        deviation: Tensor,
        features: Tensor,
        label: Tensor,
        valid: Tensor,
        strength: float,
    ) -> Tensor:
        """Return the most probable weights, given some lists, of scaled features: f32 [f].

        names, deviation f32 [f]: of the features, and what they were divided by; features: f32
        [u, c, f], scaled; label, valid: bool [u, c]; strength: of the Gaussian prior, one over its
        variance. The fewer the lists, the nearer the weights are to what was expected.
        """
        start = torch.tensor([self.weights.get(name, 0.0) for name in names]) * deviation
        places = [place for place, name in enumerate(names) if name in self.learned]
        columns = torch.tensor(places, dtype=torch.int64)
        given, read = features @ start, features[..., columns]
        change = torch.zeros(len(columns), requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [change], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
        )  # fmt: skip

        def closure() -> Tensor:
            optimiser.zero_grad()
            lists = listwise_loss(given + read @ change, label, valid) * len(label)
            loss = lists + strength / 2 * change.square().sum()
            torch.autograd.backward(loss)
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return start.index_add(0, columns, change.detach())
