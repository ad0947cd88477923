"""Fits the sequence tower: start vectors by counting, then a softmax over drawn negatives.

Every place of every history is an example. Histories are cut into windows, windows of like
length meet in a batch, and one draw of negatives serves a batch, so that the loss is one product
of matrices.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

from dynamic_layer.towers.sequence_tower import (
    SequenceItems,
    SequenceShape,
    SequenceTower,
    gap_buckets,
)
from static_layer.seeding import seeded

__all__ = [
    "FitSettings", "SequenceModel", "Sequences", "Windows", "drawn_softmax", "fit",
    "neighbour_vectors",
]  # fmt: skip

Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of user vectors f32[m, width] whose next items are i64[m]."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the tower is trained.

    negatives:     items drawn per batch, uniformly, that compete with each target.
    tokens:        events per batch, about and at most; fewer where an epoch would have less than
                   `steps` batches of them.
    epochs:        times that every event is a target.
    learning_rate: of Adam at its peak; it rises over the first twentieth and falls to nothing.
    span, decay:   events within which two items are neighbours in the start vectors, and the
                   factor by which a pair counts less with each event between them.
    smoothing:     power of an item's count by which neighbours are discounted: at 1 the start
                   vectors know nothing of popularity, at 0 all of it.
    """

    negatives: int = 512
    tokens: int = 4096
    steps: int = 250
    epochs: int = 8
    learning_rate: float = 1e-3
    span: int = 10
    decay: float = 0.8
    smoothing: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Histories in order of time, as a compressed row list.

    indptr: i64[n_users + 1]; item: i64[t], item rows; gap: i64[t], as `gap_buckets` has them.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int64]
    gap: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        user: NDArray[np.int64],
        item: NDArray[np.int64],
        timestamp: NDArray[np.int64],
        n_users: int,
    ) -> Self:
        """Sort events, i64[t] each and in order of time, by user."""
        order = np.argsort(user, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))])
        first = np.zeros(len(user), np.bool_)
        first[indptr[:-1][np.diff(indptr) > 0]] = True
        return cls(indptr=indptr, item=item[order], gap=gap_buckets(timestamp[order], first))

    def rows(
        self, start: NDArray[np.int64], size: NDArray[np.int64], nothing: int
    ) -> tuple[Tensor, Tensor]:
        """Return events start : start + size, i64[b, t] items and gaps, `nothing` at the end."""
        place = np.arange(max(1, int(size.max(initial=0))))
        inside = place < size[:, None]
        at = np.where(inside, start[:, None] + place, 0)
        if not len(self.item):
            return torch.full(at.shape, nothing), torch.zeros(at.shape, dtype=torch.long)
        return (
            torch.from_numpy(np.where(inside, self.item[at], nothing)),
            torch.from_numpy(np.where(inside, self.gap[at], 0)),
        )

    def latest(
        self, users: NDArray[np.int64], length: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return start and size, i64[b] each, of the last `length` events of some users."""
        end = self.indptr[users + 1]
        size = np.minimum(end - self.indptr[users], length)
        return end - size, size


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of at least two events, cut again for each epoch, in batches of similar length.

    length: inputs per window; it holds one event more, the last target. tokens: per batch, about.
    """

    sequences: Sequences
    length: int
    tokens: int

    def epoch(
        self, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield batches of (start, size); each event but a user's first is a target, once.

        A long history is cut at a random phase, so that no event is always the first of its
        window.
        """
        start, size = self._cut(rng)
        order = np.argsort(size * rng.uniform(0.9, 1.1, len(size)))
        start, size = start[order], size[order]
        # Nearly ascending: the sum of sizes is nearly the area of the padded batch.
        batch = np.cumsum(size) // self.tokens
        edges = np.flatnonzero(np.diff(batch, prepend=-1, append=batch[-1:] + 1))
        for number in rng.permutation(max(len(edges) - 1, 0)):
            part = slice(edges[number], edges[number + 1])
            yield start[part], size[part]

    def count(self) -> int:
        """Return about how many batches an epoch has."""
        return max(1, len(self.sequences.item) // self.tokens)

    def _cut(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first, end = self.sequences.indptr[:-1], self.sequences.indptr[1:]
        targets = np.maximum(end - first - 1, 0)
        phase = np.where(targets > self.length, rng.integers(0, self.length, len(targets)), 0)
        parts = -(-(targets + phase) // self.length)
        owner = np.repeat(np.arange(len(parts)), parts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        # In targets: window k covers those from k * length - phase on.
        low = np.maximum(number * self.length - phase[owner], 0)
        high = np.minimum((number + 1) * self.length - phase[owner], targets[owner])
        return first[owner] + low, high - low + 1


def neighbour_vectors(
    sequences: Sequences, n_items: int, width: int, settings: FitSettings | None = None
) -> NDArray[np.float32]:
    """Return vectors f32[n_items, width] whose dots approach how much items follow each other.

    The leading eigenvectors, scaled by the roots of their values, of the positive pointwise
    mutual information of items within `span` events in either direction (Levy and Goldberg,
    NeurIPS'14: what word2vec factorises). Items without neighbours get zeros.
    """
    settings = settings or FitSettings()
    owner = np.repeat(np.arange(len(sequences.indptr) - 1), np.diff(sequences.indptr))
    counts = sp.csr_array((n_items, n_items))
    for lag in range(1, min(settings.span, len(owner) - 1) + 1):
        same = owner[:-lag] == owner[lag:]
        pair = (sequences.item[:-lag][same], sequences.item[lag:][same])
        weight = np.full(len(pair[0]), settings.decay ** (lag - 1))
        counts = counts + sp.csr_array((weight, pair), shape=counts.shape)
    both = (counts + counts.T).tocoo()
    total: NDArray[np.float64] = np.asarray(both.sum(axis=1)).ravel()
    share = total**settings.smoothing
    share /= max(share.sum(), 1e-9)
    lift = np.log(both.data / (total[both.row] * share[both.col]))
    kept = lift > 0
    mutual = sp.csr_array((lift[kept], (both.row[kept], both.col[kept])), shape=both.shape)
    mutual = ((mutual + mutual.T) / 2).astype(np.float32)
    vectors = np.zeros((n_items, width), np.float32)
    leading = min(width, n_items - 2)
    if leading > 0 and mutual.nnz:
        # The start is fixed: the solver's own would be random.
        values, basis = eigsh(mutual, k=leading, which="LA", v0=np.ones(n_items, np.float32))
        vectors[:, :leading] = basis * np.sqrt(np.maximum(values, 0))
    return vectors


def drawn_softmax(
    found: Tensor,
    target: Tensor,
    items: SequenceItems,
    pool: Tensor,
    negatives: int,
    weight: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean cross-entropy of user vectors f32[m, d] and next items i64[m], over drawn negatives.

    They are drawn uniformly from `pool`, i64[p], and stand for all of it: their logits gain
    log(p / negatives), which makes the sum over them an unbiased estimate of the whole sum.
    weight: f32[m], of the targets in the mean; generator: of the draws, None for torch's own.
    """
    drawn = pool[torch.randint(len(pool), (negatives,), generator=generator)]
    # Each item's vector is made once, however often it is a target.
    rows, place = torch.unique(target, return_inverse=True)
    aim = (found * F.embedding(place, items(rows))).sum(1) + items.bias[target]
    scores = found @ items(drawn).T + (items.bias[drawn] + math.log(len(pool) / negatives))
    scores = scores.masked_fill(drawn == target.unsqueeze(1), -torch.inf)
    loss: Tensor = torch.logaddexp(torch.logsumexp(scores, dim=1), aim) - aim
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum().clamp(min=1e-6)


class SequenceModel(nn.Module):
    """Both towers as they score: user vectors and item vectors, and items' biases."""

    def __init__(self, tower: nn.Module, items: SequenceItems, length: int) -> None:
        """tower: maps vectors and gaps as SequenceTower does, of at most `length` events."""
        super().__init__()
        self.tower, self.items, self.length = tower, items, length

    def queries(
        self, sequences: Sequences, users: NDArray[np.int64], batch: int = 64
    ) -> NDArray[np.float32]:
        """Return user vectors after their latest events, f32[b, width]; zeros without history."""
        self.eval()
        found = np.zeros((len(users), self.items.own.embedding_dim), np.float32)
        start, size = sequences.latest(users, self.length)
        known = np.flatnonzero(size)
        known = known[np.argsort(size[known], kind="stable")]
        with torch.no_grad():
            for at in range(0, len(known), batch):
                part = known[at : at + batch]
                items, gaps = sequences.rows(start[part], size[part], len(self.items))
                vectors = self.tower(self.items(items), gaps)
                last = torch.from_numpy(size[part] - 1)
                found[part] = vectors[torch.arange(len(part)), last].numpy()
        return found

    def vectors(self) -> NDArray[np.float32]:
        """Return all items' vectors, f32[n, width]."""
        with torch.no_grad():
            found: NDArray[np.float32] = self.items(torch.arange(len(self.items))).numpy()
        return found

    def bias(self) -> NDArray[np.float32]:
        """Return all items' biases, f32[n]."""
        found: NDArray[np.float32] = self.items.bias.detach().numpy()
        return found


def fit(
    sequences: Sequences,
    n_items: int,
    *,
    seed: int,
    content: NDArray[np.float32] | None = None,
    shape: SequenceShape | None = None,
    settings: FitSettings | None = None,
    progress: Callable[[int, int, float], None] = lambda done, of, loss: None,
) -> SequenceModel:
    """Fit towers on histories; equal seeds give equal towers on one thread.

    content: f32[n_items, c], what is known of items beside their events. progress: is told the
    epochs done, all epochs, and the mean loss of the last.
    """
    shape, settings = shape or SequenceShape(), settings or FitSettings()
    start = neighbour_vectors(sequences, n_items, shape.width, settings)
    with seeded(seed):
        model = SequenceModel(SequenceTower(shape), SequenceItems(start, content), shape.length)

        # Items without events compete with no item: content alone places them.
        pool = torch.from_numpy(np.unique(sequences.item))

        def loss(found: Tensor, target: Tensor) -> Tensor:
            return drawn_softmax(found, target, model.items, pool, settings.negatives)

        tokens = max(1, min(settings.tokens, len(sequences.item) // settings.steps))
        windows = Windows(sequences=sequences, length=shape.length, tokens=tokens)
        rng = np.random.default_rng(seed)
        for epoch, mean in enumerate(
            train(model, windows, loss, epochs=settings.epochs,
                  learning_rate=settings.learning_rate, rng=rng)
        ):  # fmt: skip
            progress(epoch + 1, settings.epochs, mean)
    return model.eval()


def train(
    model: SequenceModel,
    windows: Windows,
    loss: Loss,
    *,
    epochs: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> Iterator[float]:
    """Train for some epochs, yielding each one's mean loss; dropout draws from torch's seed."""
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.98))
    steps, done, nothing = windows.count() * epochs, 0, len(model.items)
    for _ in range(epochs):
        model.train()
        losses = []
        for start, size in windows.epoch(rng):
            items, gaps = windows.sequences.rows(start, size, nothing)
            inside = items[:, 1:] != nothing
            rows, place = torch.unique(items[:, :-1], return_inverse=True)
            vectors = F.embedding(place, model.items(rows))
            value = loss(model.tower(vectors, gaps[:, :-1])[inside], items[:, 1:][inside])
            optimiser.param_groups[0]["lr"] = learning_rate * _rate(done / steps)
            optimiser.zero_grad()
            torch.autograd.backward(value)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(float(value.detach()))
            done += 1
        yield float(np.mean(losses)) if losses else float("nan")


def _rate(done: float) -> float:
    """Share of the peak learning rate after a share of the steps: up in a twentieth, then down."""
    fall = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return float(min(done / 0.05, 1.0) * max(fall, 0.02) + 1e-4)
