"""The loss of a list: how likely its positives are among its candidates."""

import torch
from torch import Tensor

__all__ = ["listwise_loss"]


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
