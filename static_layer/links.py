"""Which edges an epoch learns from: the balanced multi-link sampler, and the held-back edges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from static_layer.graph import Edges, HeteroGraph, Pair, edge_weights
from static_layer.sampler import sample_neighbours

_RARE = 0.02  # of the mean relation's edges

EdgeDraw = Literal["uniform", "count", "cosine", "ppmi"]


@dataclass(frozen=True)
class Links:
    """Some edges, each in a random direction: i64[m] anchors and i64[m] positives."""

    anchors: Tensor
    positives: Tensor

    def __len__(self) -> int:
        """Return the number of edges."""
        return len(self.anchors)

    def batches(self, size: int) -> Iterator["Links"]:
        """Yield the edges in runs of at most `size`."""
        for start in range(0, len(self), size):
            yield Links(self.anchors[start : start + size], self.positives[start : start + size])


def hold_back(
    graph: HeteroGraph, share: float, most: int, rng: np.random.Generator
) -> tuple[HeteroGraph, Links]:
    """Take a share of every relation's edges out of the graph, for validation.

    At most `most` edges are taken in all. Returns the graph without them, and them.
    """
    total = sum(len(edges) for edges in graph.relations.values())
    share = min(share, most / total) if total else 0.0
    taken: dict[Pair, NDArray[np.int64]] = {
        pair: rng.choice(len(edges), size=int(len(edges) * share), replace=False)
        for pair, edges in graph.relations.items()
    }
    return graph.without(taken), _directed(graph, taken, rng)


def balanced_links(
    graph: HeteroGraph,
    most: int,
    rng: np.random.Generator,
    *,
    balanced: bool = True,
    draw: EdgeDraw = "uniform",
) -> Links:
    """Draw an epoch's edges: from each relation as many as the smallest relation has.

    The smallest relation takes part with all its edges, the others with a fresh uniform draw
    (paper B: the balanced multi-link neighbourhood sampler). Not `balanced`: all edges.
    A rare relation, of less than a fiftieth of the mean relation's edges (ours), does not set the
    size: an epoch of a handful of edges would learn nothing of the others.
    draw: with another name than `uniform`, edges are drawn with replacement by `edge_chances`, so
    that what many users have in common is learned more than what one user had (ours).
    `most` bounds the epoch, by the same share of each relation; 0 does not.
    """
    counts = {pair: len(edges) for pair, edges in graph.relations.items() if len(edges)}
    if balanced and counts:
        mean = sum(counts.values()) / len(counts)
        size = min(count for count in counts.values() if count >= _RARE * mean)
        counts = {pair: min(count, size) for pair, count in counts.items()}
    total = sum(counts.values())
    share = min(1.0, most / total) if most and total else 1.0
    drawn = {}
    for pair, count in counts.items():
        edges, size = graph.relations[pair], int(np.ceil(count * share))
        if draw != "uniform":
            until = np.cumsum(edge_chances(edges, graph.users, draw))
            drawn[pair] = np.searchsorted(until, rng.random(size) * until[-1], side="right")
        else:
            drawn[pair] = rng.choice(len(edges), size=size, replace=False)
    return _directed(graph, drawn, rng)


def edge_chances(edges: Edges, users: NDArray[np.int64], draw: EdgeDraw) -> NDArray[np.float64]:
    """Return in what proportion the edges of a relation are drawn, f64[m].

    count:  users who had both ends.
    cosine: count / (sqrt(users_i * users_j) + shrinkage), see graph.edge_weights.
    ppmi:   max(0, log(count * total / (strength_i * strength_j))), strength being the sum of an
            item's counts in the relation; the same chance for all where nothing is above zero.
    """
    if draw == "count":
        return edges.count.astype(np.float64)
    if draw == "cosine":
        return edge_weights(edges.count, users[edges.left], users[edges.right])
    if draw == "ppmi":
        strength = np.bincount(edges.left, edges.count, len(users))
        strength += np.bincount(edges.right, edges.count, len(users))
        expected = strength[edges.left] * strength[edges.right] / strength.sum()
        chances = np.maximum(np.log(edges.count / expected), 0.0)
        return chances if chances.any() else np.ones(len(edges))
    return np.ones(len(edges))


def _directed(
    graph: HeteroGraph, places: dict[Pair, NDArray[np.int64]], rng: np.random.Generator
) -> Links:
    """Return the edges at the given places, shuffled, each end the anchor half of the time."""
    left = [graph.relations[pair].left[chosen] for pair, chosen in places.items()]
    right = [graph.relations[pair].right[chosen] for pair, chosen in places.items()]
    empty = np.zeros(0, dtype=np.int32)
    ends = np.stack([np.concatenate([empty, *left]), np.concatenate([empty, *right])])
    ends = ends[:, rng.permutation(ends.shape[1])].astype(np.int64)
    turned = rng.random(ends.shape[1]) < 0.5
    ends[:, turned] = ends[::-1, turned]
    return Links(torch.from_numpy(ends[0].copy()), torch.from_numpy(ends[1].copy()))


class Strangers:
    """Negatives: items drawn from the catalogue, and which of them an anchor is connected to."""

    def __init__(self, graph: HeteroGraph, device: torch.device | str = "cpu") -> None:
        """Copy the adjacency to the device."""
        self._nodes = graph.nodes
        self._adjacency = [
            (torch.from_numpy(rows.indptr).to(device), torch.from_numpy(rows.indices).to(device))
            for rows in graph.adjacency
        ]
        self._column = torch.full((graph.nodes,), -1, dtype=torch.int64, device=device)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return i64[count'] distinct rows, uniform over the catalogue; count' <= nodes."""
        device = self._column.device
        if count * 4 >= self._nodes:
            return torch.randperm(self._nodes, generator=generator, device=device)[:count]
        rows = torch.randint(self._nodes, (count,), generator=generator, device=device)
        distinct: Tensor = torch.unique(rows)
        return distinct

    def excluded(self, anchors: Tensor, negatives: Tensor) -> Tensor:
        """Return bool[b, m]: where a negative is the anchor itself or its neighbour.

        negatives: i64[m], distinct.
        """
        self._column[negatives] = torch.arange(len(negatives), device=negatives.device)
        mask = anchors[:, None] == negatives[None, :]
        generator = torch.Generator(device=negatives.device)
        for indptr, indices in self._adjacency:
            degree, neighbours = sample_neighbours(indptr, indices, anchors, 0, generator)
            column = self._column[neighbours]
            row = torch.arange(len(anchors), device=anchors.device).repeat_interleave(degree)
            met = column >= 0
            mask[row[met], column[met]] = True
        self._column[negatives] = -1
        return mask
