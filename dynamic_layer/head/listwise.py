"""Learning from lists: their loss, and a linear head for which there are only a few."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Expected", "listwise_loss"]


def listwise_loss(scores: Tensor, label: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over lists of their positives' mean cross-entropy, each against the rest.

    scores: f32 [u, c]; label, valid: bool [u, c]. A positive competes with the list's negatives
    and not with its other positives. Lists without positives count nothing.

    >>> two = torch.tensor([[0.0, 0.0, 0.0]])
    >>> valid = torch.ones(1, 3, dtype=torch.bool)
    >>> float(listwise_loss(two, torch.tensor([[True, True, False]]), valid).exp())
    2.0
    """
    negative = scores.masked_fill(label | ~valid, -torch.inf).logsumexp(dim=1, keepdim=True)
    positive = label & valid
    losses = (torch.logaddexp(scores, negative) - scores).masked_fill(~positive, 0.0)
    count = positive.sum(dim=1)
    per_list = losses.sum(dim=1) / count.clamp(min=1)
    return per_list.sum() / (count > 0).sum().clamp(min=1)


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
