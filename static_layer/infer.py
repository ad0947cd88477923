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
    after the other, so that a node's message is computed once for each type that hears it. On
    the model's device lie the messages of one relation and `chunk` targets at a time.
    """
    device = next(model.parameters()).device
    model.eval()
    members = [np.flatnonzero(graph.node_types == number) for number in range(model.types)]
    senders = [_numbered(rows, graph.nodes) for rows in members]
    steps = len(model.layers) * (1 + model.types * model.types)
    read: Rows = features.rows
    for number, layer in enumerate(model.layers):
        assert isinstance(layer, RelationMax)  # noqa: S101 - nn.ModuleList forgets the type
        total = torch.empty(graph.nodes, layer.own.out_features)
        for rows in _chunks(torch.arange(graph.nodes), chunk):
            total[rows] = layer.own(read(rows).to(device)).cpu()
        done = number * (1 + model.types * model.types) + 1
        progress("vectors", done, steps)
        for source_type, adjacency in enumerate(graph.adjacency):
            for target_type, targets in enumerate(members):
                hearing = targets[np.diff(adjacency.indptr)[targets] > 0]
                if len(hearing):
                    W_r = layer.relation(target_type, source_type)
                    sending = torch.from_numpy(members[source_type])
                    messages = torch.cat(
                        [W_r(read(rows).to(device)) for rows in _chunks(sending, chunk)]
                    )
                    for rows in _chunks(torch.from_numpy(hearing), chunk):
                        indptr, indices = _part(adjacency, rows.numpy(), senders[source_type])
                        heard = layer.heard(messages, indptr.to(device), indices.to(device))
                        total[rows] += heard.cpu()
                done += 1
                progress("vectors", done, steps)
        h = layer.sigma(total)
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
