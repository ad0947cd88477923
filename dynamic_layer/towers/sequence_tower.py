"""A user tower that reads the history in order, over the item tower's vectors.

The pooled tower (`two_tower.py`) forgets order; this one is causal along the history, so that one
pass gives a user vector after every event, and all of them are examples. It starts as what needs
no training, a recency-weighted sum of the last items' vectors (`SequenceTower.recent`, a causal
convolution), and self-attention, whose output layers start at zero, learns to correct it (blocks
as in SASRec, Kang and McAuley, ICDM'18).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

__all__ = ["Ordered", "SequenceItems", "SequenceShape", "SequenceTower", "gap_buckets", "ordered"]

GAPS = 32
#: Weights of the last items, newest first, with which the recency sum starts. On ML-1M it finds
#: the held-out movie of .227 of the users with them before any training, of .155 by the last item.
START = (1.0, 0.7, 0.5, 0.4, 0.3)


@dataclass(frozen=True, kw_only=True)
class SequenceShape:
    """Shape of the tower.

    width:   of item and user vectors.
    length:  latest events that are read.
    lags:    latest events that the recency sum reaches back to.
    blocks, heads: of self-attention.
    dropout: share of inputs and of corrections dropped while training.
    gaps:    buckets of the gaps that are told apart.
    """

    width: int = 128
    length: int = 100
    lags: int = 16
    blocks: int = 1
    heads: int = 2
    dropout: float = 0.3
    gaps: int = GAPS


def gap_buckets(timestamp: NDArray[np.int64], first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the doubling bucket of the seconds since the event before, i64[n], below `GAPS`.

    timestamp: ms, in order within a user; first: bool[n], a user's first event, which has 0.
    """
    seconds = np.maximum(np.diff(timestamp, prepend=timestamp[:1]), 0) / 1000
    return np.where(first, 0, _bucket(seconds))


def _bucket(seconds: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.asarray(np.minimum(np.log2(1 + seconds).astype(np.int64) + 1, GAPS - 1))


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """`b` histories oldest first, as the tower reads them; t: the longest, at least 1.

    item:   i64 [b, t], item rows, -1 behind the last entry.
    gap:    i64 [b, t], below 2 * GAPS: `gap_buckets`, and GAPS more for weak entries.
    strong: bool [b, t], whether it has a strong event.
    size:   i64 [b], entries of each.
    """

    item: NDArray[np.int64]
    gap: NDArray[np.int64]
    strong: NDArray[np.bool_]
    size: NDArray[np.int64]


def ordered(
    history: NDArray[np.int64], age_s: NDArray[np.float32], strong: NDArray[np.bool_]
) -> Ordered:
    """Return histories, [b, h] each, newest first with -1 for none, as the tower reads them."""
    known = history >= 0
    size = known.sum(axis=1)
    owner, entry = np.nonzero(known)
    at = size[owner] - np.cumsum(known, axis=1)[owner, entry]
    shape = (len(history), max(1, int(size.max(initial=0))))
    item, age = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    firm = np.zeros(shape, np.bool_)
    item[owner, at] = history[owner, entry]
    age[owner, at], firm[owner, at] = age_s[owner, entry], strong[owner, entry]
    gap = np.zeros(shape, np.int64)
    gap[:, 1:] = _bucket(np.maximum(age[:, :-1] - age[:, 1:], 0))
    gap = np.where(item >= 0, gap + GAPS * ~firm, 0)
    return Ordered(item=item, gap=gap, strong=firm, size=size)


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each normalised first and zero at first."""

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        dropout_layer: Callable[[float], nn.Module] = nn.Dropout,
    ) -> None:
        """width: of the stream; heads: must divide it; dropout_layer: makes layers of dropout."""
        super().__init__()
        self.heads, self.drop = heads, dropout_layer(dropout)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        for layer in (self.out, self.narrow):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map f32[b, t, width] to the same shape; a place sees itself and what came before."""
        b, t, width = x.shape
        q, k, v = self.qkv(self.before(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._corrected(x, seen.transpose(1, 2).reshape(b, t, width))

    def at(self, x: Tensor, place: Tensor) -> Tensor:
        """Return what `forward` has at one place of each row, f32 [b, width]; place: i64 [b].

        Queries and the feed-forward layer are computed for that place alone.
        """
        b, t, width = x.shape
        rows = torch.arange(b)
        normed = self.before(x)
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(normed[rows, place], weight[:width], bias[:width])
        kv = F.linear(normed, weight[width:], bias[width:])
        k, v = kv.view(b, t, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        inside = (torch.arange(t) <= place.unsqueeze(1)).view(b, 1, 1, t)
        q = q.view(b, self.heads, 1, -1)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=inside)
        return self._corrected(x[rows, place], seen.reshape(b, width))

    def _corrected(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.drop(self.out(seen))
        found: Tensor = self.narrow(F.relu(self.wide(self.between(x))))
        corrected: Tensor = x + self.drop(found)
        return corrected


class SequenceTower(nn.Module):
    """Vectors of a user's items in order, to one user vector after each of them."""

    def __init__(
        self, settings: SequenceShape, dropout_layer: Callable[[float], nn.Module] = nn.Dropout
    ) -> None:
        """settings: its shape; dropout_layer: makes layers of dropout."""
        super().__init__()
        width = settings.width
        self.drop = dropout_layer(settings.dropout)
        weights = torch.zeros(settings.lags, width)
        start = torch.tensor(START[: settings.lags])
        weights[: len(start)] = start[:, None]
        self.recent = nn.Parameter(weights)
        self.places, self.gaps = (
            nn.Embedding(settings.length, width),
            nn.Embedding(settings.gaps, width),
        )
        for table in (self.places, self.gaps):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.ModuleList(
            Block(width, settings.heads, settings.dropout, dropout_layer)
            for _ in range(settings.blocks)
        )

    def forward(self, vectors: Tensor, gaps: Tensor) -> Tensor:
        """Map f32[b, t, width] and i64[b, t] to f32[b, t, width], oldest first.

        The vector at a place depends on the places up to it alone, so what fills a shorter
        history up at its end changes nothing. t must not exceed `length`.
        """
        x = self._inputs(vectors, gaps)
        for block in self.blocks:
            x = block(x)
        return x

    def last(self, vectors: Tensor, gaps: Tensor, size: Tensor) -> Tensor:
        """Return what `forward` has at each row's last place, f32 [b, width]; size: i64 [b].

        Rows without entries (size 0) get what one entry of their first input would give.
        """
        x, place = self._inputs(vectors, gaps), (size - 1).clamp(min=0)
        for block in self.blocks[:-1]:
            x = block(x)
        final = self.blocks[-1]
        if not isinstance(final, Block):
            raise TypeError(f"expected a block, got {type(final).__name__}")
        return final.at(x, place)

    def _inputs(self, vectors: Tensor, gaps: Tensor) -> Tensor:
        lags, width = self.recent.shape
        kernel = self.recent.flip(0).T.unsqueeze(1)
        x = F.conv1d(F.pad(vectors.transpose(1, 2), (lags - 1, 0)), kernel, groups=width)
        x = x.transpose(1, 2) + self.places.weight[: vectors.shape[1]] + self.gaps(gaps)
        dropped: Tensor = self.drop(x)
        return dropped


class SequenceItems(nn.Module):
    """The item tower: a vector of the item's own plus a map of its content, and a bias.

    The map starts at zero, the own vectors at `start`. The last row stands for no item.
    """

    content: Tensor | None

    def __init__(
        self,
        start: NDArray[np.float32],
        content: NDArray[np.float32] | None,
        *,
        sparse: bool = False,
    ) -> None:
        """start: f32[n, width]; content: f32[n, c], such as text vectors, or none.

        sparse: gradients of own vectors have the rows of a batch alone, for `SparseAdam`.
        """
        super().__init__()
        n, width = start.shape
        self.own = nn.Embedding(n + 1, width, padding_idx=n, sparse=sparse)
        with torch.no_grad():
            self.own.weight[:n] = torch.from_numpy(start)
        self.bias = nn.Parameter(torch.zeros(n))
        self.map: nn.Linear | None = None
        self.register_buffer("content", None, persistent=False)
        if content is not None:
            self.content = F.pad(torch.from_numpy(content), (0, 0, 0, 1))
            self.map = nn.Linear(content.shape[1], width, bias=False)
            nn.init.zeros_(self.map.weight)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors f32[m, width] of items i64[m]; row n gives zeros."""
        vectors: Tensor = self.own(rows)
        if self.map is not None and self.content is not None:
            vectors = vectors + self.map(self.content[rows])
        return vectors
