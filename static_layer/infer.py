"""Item vectors of the whole graph, layer by layer, from all neighbours instead of a sample."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from static_layer.features import NodeFeatures
from static_layer.graph import Adjacency, HeteroGraph
from static_layer.hgnn import HGNN, RelationMax
from static_layer.progress import Progress, silent

Rows = Callable[[Tensor], Tensor]


@torch.no_grad()
def item_vectors(
    model: HGNN,
    graph: HeteroGraph,
    features: NodeFeatures,
    *,
    chunk: int = 65_536,
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Return the unit vectors f32[n, output] of all items.

    A layer is finished for all nodes before the next one starts, and within it one relation
    after the other, so that a node's message is computed once for each group that hears it. On
    the model's device lie the messages of one relation and `chunk` targets at a time.
    """
    device = next(model.parameters()).device
    model.eval()
    kinds, groups = len(graph.adjacency), 1 if graph.folded else model.types
    members = [np.flatnonzero(graph.groups == group) for group in range(groups)]
    types = torch.from_numpy(graph.node_types)
    steps = len(model.layers) * (1 + groups * kinds)
    read: Rows = features.rows
    for number, layer in enumerate(model.layers):
        assert isinstance(layer, RelationMax)  # noqa: S101 - nn.ModuleList forgets the type
        total = torch.empty(graph.nodes, layer.own.out_features)
        for rows in _chunks(torch.arange(graph.nodes), chunk):
            total[rows] = layer.own(read(rows).to(device)).cpu()
        done = number * (1 + groups * kinds) + 1
        progress("vectors", done, steps)
        for kind, adjacency in enumerate(graph.adjacency):
            senders = graph.senders(kind)
            place = _numbered(senders, graph.nodes)
            for group, targets in enumerate(members):
                hearing = targets[np.diff(adjacency.indptr)[targets] > 0]
                if len(hearing):
                    messages = torch.cat(
                        [
                            layer.messages(
                                group, kind, read(rows).to(device), types[rows].to(device)
                            )
                            for rows in _chunks(torch.from_numpy(senders), chunk)
                        ]
                    )
                    for rows in _chunks(torch.from_numpy(hearing), chunk):
                        indptr, indices = _part(adjacency, rows.numpy(), place)
                        heard = layer.heard(
                            kind, messages, indptr.to(device), indices.to(device),
                            types[rows].to(device),
                        )  # fmt: skip
                        total[rows] += heard.cpu()
                done += 1
                progress("vectors", done, steps)
        h = layer.update(total)
        read = h.__getitem__
    return functional.normalize(h, dim=1).numpy()


def _chunks(rows: Tensor, size: int) -> Iterator[Tensor]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _numbered(rows: NDArray[np.int64], nodes: int) -> NDArray[np.int32]:
    """Return i32[nodes]: the place of each row in `rows`."""
    place = np.zeros(nodes, dtype=np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    return place


def _part(
    adjacency: Adjacency, rows: NDArray[np.int64], place: NDArray[np.int32]
) -> tuple[Tensor, Tensor]:
    """Return the compressed rows of some nodes, neighbours renumbered by `place`."""
    start, degree = adjacency.indptr[rows], np.diff(adjacency.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(degree)])
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], degree)
    indices = place[adjacency.indices[np.repeat(start, degree) + within]]
    return torch.from_numpy(indptr), torch.from_numpy(indices)
