"""Ranks of held-out targets: what fits the weight of popularity and what the gate judges by."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows, UserFeatures, age_of

_CHUNK = 256


def user_features(examples: PaddedExamples, rows: ItemRows) -> UserFeatures:
    """Return the users of some examples as the user tower reads them."""
    width = examples.history_item.shape[1]
    entry = np.arange(width) < examples.length[:, None]
    history = np.where(entry, rows(examples.history_item), -1)
    return UserFeatures(
        history=torch.from_numpy(history),
        age_s=torch.from_numpy(examples.history_age),
        strong=torch.from_numpy(examples.history_strong),
        country=torch.from_numpy(examples.country),
        age=torch.from_numpy(age_of(examples.birth_year, examples.timestamp)),
    )


def affinities(
    users: Tensor, items: Tensor, *, target: Tensor, history: Tensor, type_number: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield user chunks with their scores over all items, f32 [c, n], and their targets' scores.

    users: f32 [b, d]; items: f32 [n, d]; target: i64 [b]; history: i64 [b, h] with -1 for none.
    Items of another type than the target, and those in the history other than the target, score
    -inf: the ranks are over what could have been discovered.
    """
    for start in range(0, len(users), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        scores = users[chunk] @ items.T
        own = target[chunk].unsqueeze(1)
        aim = scores.gather(1, own)
        scores.masked_fill_(type_number[own] != type_number.unsqueeze(0), -torch.inf)
        owner, place = torch.nonzero(history[chunk] >= 0, as_tuple=True)
        scores[owner, history[chunk][owner, place]] = -torch.inf
        scores.scatter_(1, own, aim)
        yield chunk, scores, aim.squeeze(1)


def ranks(scores: Tensor, target: Tensor, bias: Tensor) -> NDArray[np.float64]:
    """Return how many items rank before each target, f64 [c], ties counted half.

    scores: f32 [c, n]; target: i64 [c]; bias: f32 [n], added to every row.
    """
    total = scores + bias
    aim = total.gather(1, target.unsqueeze(1))
    before = (total > aim).sum(1) + 0.5 * ((total == aim).sum(1) - 1)
    return before.numpy().astype(np.float64)
