"""SASRec (Kang and McAuley, ICDM'18) with three losses: a user is a sequence of items.

`bce` is the paper's, with one negative per position. `gbce` is gSASRec's (Petrov and Macdonald,
RecSys'23): many negatives, and the positive's weight corrected for having drawn them. `softmax`
is cross-entropy over drawn negatives, or over the whole catalogue (Klenitskiy and Vasilev,
RecSys'23, found that it needs no more than that).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

from dynamic_layer.towers.sequence_fit import (
    SequenceModel,
    Sequences,
    Windows,
    neighbour_vectors,
    train,
)
from dynamic_layer.towers.sequence_tower import Block, SequenceItems
from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset
from evaluation.model import CannotFit, Past
from static_layer import Progress, seeded

__all__ = ["SASRec", "histories", "loss_of", "sasrec", "scorer_of"]

Loss = Literal["bce", "gbce", "softmax"]


class SASRec(nn.Module):
    """Items' vectors and places in, one vector per place out."""

    def __init__(self, length: int, width: int, blocks: int, heads: int, dropout: float) -> None:
        """length: of the longest sequence; width: of the items' vectors."""
        super().__init__()
        self.dropout = dropout
        self.places = nn.Embedding(length, width)
        nn.init.normal_(self.places.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.last = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, gaps: Tensor) -> Tensor:
        """Map f32[b, t, width] to the same shape; gaps are not read: SASRec knows order alone."""
        x = F.dropout(vectors + self.places.weight[: vectors.shape[1]], self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.last(x)
        return normed


def loss_of(
    found: Tensor, target: Tensor, items: Tensor, loss: Loss, negatives: int, calibration: float
) -> Tensor:
    """Mean loss of f32[m, d] place vectors whose next items are i64[m].

    items: f32[n, d]. negatives: drawn uniformly, shared by the batch but for `bce`'s one; 0 takes
    the whole catalogue (`softmax` alone). calibration: gBCE's t; 0 is plain BCE, 1 calibrated.
    """
    n = len(items)
    aim = (found * F.embedding(target, items)).sum(1)
    if loss == "bce":
        other = F.embedding(torch.randint(n, (len(target),)), items)
        return F.softplus(-aim).mean() + F.softplus((found * other).sum(1)).mean()
    if loss == "softmax" and not negatives:
        return F.cross_entropy(found @ items.T, target)
    drawn = torch.randint(n, (negatives,))
    scores = found @ items[drawn].T
    scores = scores.masked_fill(drawn == target.unsqueeze(1), -torch.inf)
    if loss == "gbce":
        rate = len(drawn) / (n - 1)
        beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
        return (beta * F.softplus(-aim) + F.softplus(scores).sum(1)).mean()
    # The drawn ones stand for the whole catalogue.
    scores = scores + np.log(n / len(drawn))
    return (torch.logaddexp(torch.logsumexp(scores, dim=1), aim) - aim).mean()


def histories(dataset: Dataset, split: Past) -> Sequences:
    """Each user's streams before the split, in order of time."""
    events = split.train.where(split.train.strong)
    return Sequences.of(events.user, events.item, events.timestamp, len(dataset.users))


def sasrec(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    loss: Loss = "softmax",
    negatives: int = 512,
    calibration: float = 0.75,
    start: Literal["neighbours", "random"] = "neighbours",
    length: int = 200,
    width: int = 128,
    blocks: int = 2,
    heads: int = 1,
    dropout: float = 0.2,
    tokens: int = 4096,
    learning_rate: float = 1e-3,
    epochs: int = 6,
) -> Scorer:
    """Fit on the users' training sequences; a user without history has no own scores.

    start: of the items' vectors: `random`, as published, which takes hundreds of epochs, or the
    co-occurrence vectors of our own sequence tower, which takes a few.
    tokens: events per batch, about.
    """
    known = histories(dataset, split)
    if not (np.diff(known.indptr) > 1).any():
        raise CannotFit("SASRec needs users with at least two events")
    n_items = len(dataset.items)
    with seeded(seed):
        if start == "random":
            vectors = (torch.randn(n_items, width) * width**-0.5).numpy()
        else:
            vectors = neighbour_vectors(known, n_items, width)
        model = SequenceModel(
            SASRec(length, width, blocks, heads, dropout), SequenceItems(vectors, None), length
        )

        def loss_at(found: Tensor, target: Tensor) -> Tensor:
            items = model.items.own.weight[:-1]
            return loss_of(found, target, items, loss, negatives, calibration)

        windows = Windows(sequences=known, length=length, tokens=tokens)
        for epoch, mean in enumerate(
            train(
                model, windows, loss_at, epochs=epochs, learning_rate=learning_rate,
                rng=np.random.default_rng(seed),
            )
        ):  # fmt: skip
            progress("sasrec", epoch + 1, epochs, {"loss": mean})
    return scorer_of(model, known, split)


def scorer_of(model: SequenceModel, known: Sequences, split: Past) -> Scorer:
    """Score by the vector after each user's last item; items without users come last."""
    vectors, bias = model.vectors(), model.bias()
    trained = np.zeros(len(bias), bool)
    trained[split.train.item] = True

    def score(users: Rows, items: Rows) -> Scores:
        found = model.queries(known, users)
        scores: npt.NDArray[np.float32] = found @ vectors[items].T + bias[items]
        # Vectors of items that were never a target would rank by chance among the others.
        scores[:, ~trained[items]] = -np.inf
        return scores

    return score
