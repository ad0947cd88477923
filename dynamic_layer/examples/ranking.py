"""Ranks of held-out targets: what fits the weight of popularity and what the gate judges by."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows, UserFeatures, age_of, rows_by_type

_CHUNK = 256


def history_rows(examples: PaddedExamples, rows: ItemRows) -> NDArray[np.int64]:
    """Return the item rows of whole histories, i64 [b, h], -1 for none or unknown."""
    entry = np.arange(examples.history_item.shape[1]) < examples.length[:, None]
    return np.where(entry, rows(examples.history_item), -1)


def known_rows(examples: PaddedExamples, rows: ItemRows) -> NDArray[np.int64]:
    """Return the rows of the items that each user knew, i64 [b, h], -1 for none.

    A strong event makes an item known, a weak one does not. Known items are not recommended for
    discovery, so that no list, rank or label may count them.
    """
    return np.where(examples.history_strong, history_rows(examples, rows), -1)


def user_features(examples: PaddedExamples, rows: ItemRows, cap: int) -> UserFeatures:
    """Return the users of some examples as the user tower reads them.

    cap: history entries that the tower reads, the newest ones.
    """
    examples = examples.latest_entries(cap)
    return UserFeatures(
        history=torch.from_numpy(history_rows(examples, rows)),
        age_s=torch.from_numpy(examples.history_age),
        strong=torch.from_numpy(examples.history_strong),
        country=torch.from_numpy(examples.country),
        age=torch.from_numpy(age_of(examples.birth_year, examples.timestamp)),
    )


@dataclass(frozen=True)
class Affinities:
    """Scores of some examples of one type over the `m` items of that type.

    examples: i64 [c], places of the examples; rows: i64 [m], the items; scores: f32 [c, m];
    target: i64 [c], places of the targets in `rows`.
    """

    examples: NDArray[np.int64]
    rows: Tensor
    scores: Tensor
    target: Tensor

    def ranks(self, bias: Tensor) -> NDArray[np.float64]:
        """Return how many items rank before each target, f64 [c], ties counted half.

        bias: f32 [n], of all items, added to every example's scores.
        """
        total = self.scores + bias[self.rows]
        aim = total.gather(1, self.target.unsqueeze(1))
        before = (total > aim).sum(1) + 0.5 * ((total == aim).sum(1) - 1)
        return before.numpy().astype(np.float64)


def affinities(
    users: Tensor, items: Tensor, *, target: Tensor, known: Tensor, type_number: Tensor
) -> Iterator[Affinities]:
    """Yield the examples in chunks, each with its scores over the items of its target's type.

    users: f32 [b, d]; items: f32 [n, d]; target: i64 [b]; known: i64 [b, h] with -1 for none.
    Known items other than the target score -inf: the ranks are over what could have been
    discovered. Items of other types are not scored at all.
    """
    of_types = rows_by_type(type_number.numpy())
    place = torch.zeros(len(items), dtype=torch.int64)
    for number, examples in rows_by_type(type_number[target].numpy()).items():
        rows = torch.from_numpy(of_types[number])
        place[rows] = torch.arange(len(rows))
        of_type = items[rows]
        for start in range(0, len(examples), _CHUNK):
            chunk = examples[start : start + _CHUNK]
            scores = users[chunk] @ of_type.T
            own = place[target[chunk]].unsqueeze(1)
            aim = scores.gather(1, own)
            past = known[chunk]
            met = (past >= 0) & (type_number[past.clamp(min=0)] == number)
            owner, entry = torch.nonzero(met, as_tuple=True)
            scores[owner, place[past[owner, entry]]] = -torch.inf
            scores.scatter_(1, own, aim)
            yield Affinities(chunk, rows, scores, own.squeeze(1))
