"""Sampled softmax over the items of a batch and uniform negatives."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def candidates(target: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows among targets and uniform negatives, and each target's place.

    An item that occurs twice competes once, so no example has its own target as a negative.

    >>> rows, place = candidates(torch.tensor([7, 3, 7]), torch.tensor([3, 9]))
    >>> rows.tolist(), place.tolist()
    ([3, 7, 9], [1, 0, 1])
    """
    rows, place = torch.unique(torch.cat([target, uniform]), return_inverse=True)
    return rows, place[: len(target)]


def inclusion_log_q(frequency: Tensor, batch_size: int) -> Tensor:
    """Return the log-probability that each item is in a batch, f32 [m].

    frequency: share of the examples that have the item as target, f32 [m]; q = 1 - (1 - f) ** b.
    """
    return torch.log(-torch.expm1(batch_size * torch.log1p(-frequency.clamp(1e-9, 1 - 1e-6))))


def sampled_softmax(
    users: Tensor,
    items: Tensor,
    place: Tensor,
    weight: Tensor,
    *,
    temperature: float,
    log_q: Tensor | None = None,
    later: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the weighted mean cross-entropy of each user's target among all candidates.

    users: f32 [b, d]; items: f32 [m, d]; place: i64 [b], targets' rows in items; weight: f32 [b].
    log_q: f32 [m], subtracted from the logits (paper B's correction); None learns affinity.
    later: pairs of rows of users, i64 [p] each: the target of the second is the first user's own
    next item, and does not compete with the first one's target.
    """
    logits = users @ items.T / temperature
    if later is not None:
        earlier, own = later[0], place[later[1]]
        apart = own != place[earlier]
        masked = torch.zeros_like(logits, dtype=torch.bool)
        masked[earlier[apart], own[apart]] = True
        logits = logits.masked_fill(masked, -torch.inf)
    if log_q is not None:
        logits = logits - log_q
    losses = cross_entropy(logits, place, reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1e-6)
