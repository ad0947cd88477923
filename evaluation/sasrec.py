"""SASRec (Kang and McAuley, ICDM'18) with three losses: a user is the sequence of his items.

`bce` is the paper's, with one negative per position. `gbce` is gSASRec's (Petrov and Macdonald,
RecSys'23): many negatives, and the positive's weight corrected for having drawn them. `softmax`
is cross-entropy over drawn negatives, or over the whole catalogue (Klenitskiy and Vasilev,
RecSys'23, found that it needs no more than that).
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset
from evaluation.model import CannotFit, Past
from static_layer import Progress

__all__ = ["SASRec", "sasrec", "sequences", "train"]

Loss = Literal["bce", "gbce", "softmax"]
_NO_ITEM = -1


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each normalised first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """width: of the stream; heads: must divide it."""
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map f32[b, t, width] to the same shape; a place sees itself and what came before."""
        b, t, width = x.shape
        q, k, v = self.qkv(self.before(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        drop = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=drop)
        x = x + F.dropout(self.out(seen.transpose(1, 2).reshape(b, t, width)), drop)
        return x + F.dropout(self.narrow(F.gelu(self.wide(self.between(x)))), drop)


class SASRec(nn.Module):
    """Items and places in, one vector per place out; an item's score is the dot with its vector."""

    def __init__(
        self, n_items: int, length: int, width: int, blocks: int, heads: int, dropout: float
    ) -> None:
        """length: of the longest sequence; the last row of `items` stands for no item."""
        super().__init__()
        self.length, self.dropout = length, dropout
        self.items, self.places = nn.Embedding(n_items + 1, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, items: Tensor) -> Tensor:
        """Map i64[b, t], ended by -1, to f32[b, t, width]."""
        known = torch.where(items < 0, self.items.num_embeddings - 1, items)
        x = self.items(known) + self.places.weight[: items.shape[1]]
        x = F.dropout(x, self.dropout, self.training)
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
    aim = (found * items[target]).sum(1)
    if loss == "bce":
        other = torch.randint(n, (len(target),))
        return F.softplus(-aim).mean() + F.softplus((found * items[other]).sum(1)).mean()
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
    whole = torch.cat([aim.unsqueeze(1), scores + np.log(n / len(drawn))], dim=1)
    return (torch.logsumexp(whole, dim=1) - aim).mean()


def sequences(dataset: Dataset, split: Past, length: int) -> Tensor:
    """Each user's last items in order of time, i64[n_users, length], filled up with -1."""
    events = split.train.where(split.train.strong)
    order = np.argsort(events.user, kind="stable")
    user, item = events.user[order], events.item[order]
    sizes = np.bincount(user, minlength=len(dataset.users))
    place = np.arange(len(user)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place -= np.maximum(sizes - length, 0)[user]
    found = np.full((len(dataset.users), length), _NO_ITEM)
    found[user[place >= 0], place[place >= 0]] = item[place >= 0]
    return torch.from_numpy(found)


def train(
    model: SASRec,
    known: Tensor,
    *,
    loss: Loss,
    negatives: int,
    calibration: float,
    batch: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> Iterator[float]:
    """Train for ever; yields the mean loss after each epoch. known: i64[users, length + 1]."""
    sizes = (known >= 0).sum(1).numpy()
    users = np.flatnonzero(sizes > 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.98))
    while True:
        model.train()
        losses = []
        # Users of like length meet in a batch, so that little is padded.
        noisy = np.argsort(sizes[users] * rng.uniform(0.8, 1.2, len(users)))
        parts = np.array_split(users[noisy], max(1, round(len(users) / batch)))
        for part in (parts[place] for place in rng.permutation(len(parts))):
            rows = known[part, : int(sizes[part].max())]
            chosen = rows[:, 1:] >= 0
            found = model(rows[:, :-1])[chosen]
            items = model.items.weight[:-1]
            value = loss_of(found, rows[:, 1:][chosen], items, loss, negatives, calibration)
            optimiser.zero_grad()
            torch.autograd.backward(value)
            optimiser.step()
            losses.append(float(value.detach()))
        yield float(np.mean(losses))


def sasrec(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    loss: Loss = "softmax",
    negatives: int = 512,
    calibration: float = 0.75,
    length: int = 100,
    width: int = 64,
    blocks: int = 2,
    heads: int = 1,
    dropout: float = 0.2,
    batch: int = 32,
    learning_rate: float = 1e-3,
    epochs: int = 30,
) -> Scorer:
    """Fit on the users' training sequences; a user without history has no scores of his own."""
    known = sequences(dataset, split, length + 1)
    if not ((known >= 0).sum(1) > 1).any():
        raise CannotFit("SASRec needs users with at least two events")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SASRec(len(dataset.items), length, width, blocks, heads, dropout)
        epoch_losses = train(
            model, known, loss=loss, negatives=negatives, calibration=calibration,
            batch=batch, learning_rate=learning_rate, rng=np.random.default_rng(seed),
        )  # fmt: skip
        for epoch in range(epochs):
            progress("sasrec", epoch + 1, epochs, {"loss": next(epoch_losses)})
    return scorer_of(model, sequences(dataset, split, length), split)


def scorer_of(model: SASRec, known: Tensor, split: Past) -> Scorer:
    """Score by the vector at each user's last item; items that nobody had come last."""
    model.eval()
    trained = np.zeros(model.items.num_embeddings - 1, bool)
    trained[split.train.item] = True

    def score(users: Rows, items: Rows) -> Scores:
        rows = known[users]
        sizes = (rows >= 0).sum(1)
        with torch.no_grad():
            found = model(rows[:, : max(1, int(sizes.max()))])
            last = found[torch.arange(len(rows)), (sizes - 1).clamp(min=0)]
            scores: npt.NDArray[np.float32] = (last @ model.items.weight[items].T).numpy()
        # Random vectors of items that were never a target would rank by chance among the others.
        scores[:, ~trained[items]] = -np.inf
        return scores

    return score
