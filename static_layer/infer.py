"""Item vectors of a graph, layer by layer, from all neighbours instead of a sample."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from static_layer.features import NodeFeatures
from static_layer.graph import Adjacency, HeteroGraph, edges_of
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

    A layer is finished for all nodes before the next one starts.
    """
    model.eval()
    everything = np.arange(graph.nodes)
    steps = len(model.layers) * (1 + len(graph.adjacency) * (1 if graph.folded else model.types))
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress("vectors", done, steps)

    read: Rows = features.rows
    for layer in layers_of(model):
        h = layer_output(layer, graph, graph.adjacency, everything, read, chunk=chunk, step=step)
        read = h.__getitem__
    return functional.normalize(h, dim=1).numpy()


def layers_of(model: HGNN) -> list[RelationMax]:
    """Return the model's layers, input side first."""
    return [layer for layer in model.layers if isinstance(layer, RelationMax)]


@torch.no_grad()
def layer_output(
    layer: RelationMax,
    graph: HeteroGraph,
    neighbours: Sequence[Adjacency],
    rows: NDArray[np.int64],
    read: Rows,
    *,
    chunk: int = 65_536,
    step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return what a layer gives for some nodes, f32[m, width], on the CPU.

    neighbours: of all nodes, by kind, as `HeteroGraph.adjacency`; rows: i64[m], distinct nodes.
    read: returns the layer's input of nodes i64[k], f32[k, width]. step: called after each part.

    One relation comes after the other, and within it a message is computed once for each node that
    sends to one of `rows`. On the layer's device lie the messages of one relation and `chunk`
    targets at a time.
    """
    device = layer.own.weight.device
    types = torch.from_numpy(graph.node_types)
    total = torch.empty(len(rows), layer.own.out_features)
    for places in _chunks(torch.arange(len(rows)), chunk):
        total[places] = layer.own(read(torch.from_numpy(rows)[places]).to(device)).cpu()
    step()
    groups, numbers = graph.groups[rows], range(len(layer.relations) // layer.kinds)
    for kind, adjacency in enumerate(neighbours):
        degree = np.diff(adjacency.indptr)[rows]
        for group in numbers:
            hearing = np.flatnonzero((groups == group) & (degree > 0))
            if len(hearing):
                senders, place = _senders(adjacency, rows[hearing], graph.nodes)
                messages = torch.cat(
                    [
                        layer.messages(group, kind, read(part).to(device), types[part].to(device))
                        for part in _chunks(torch.from_numpy(senders), chunk)
                    ]
                )
                for places in _chunks(torch.from_numpy(hearing), chunk):
                    targets = rows[places.numpy()]
                    indptr, sources = edges_of(adjacency, targets)
                    heard = layer.heard(
                        kind, messages, torch.from_numpy(indptr).to(device),
                        torch.from_numpy(place[sources]).to(device), types[targets].to(device),
                    )  # fmt: skip
                    total[places] += heard.cpu()
            step()
    return layer.update(total)


def _chunks(rows: Tensor, size: int) -> Iterator[Tensor]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _senders(
    adjacency: Adjacency, rows: NDArray[np.int64], nodes: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the neighbours of some nodes, i64[s] ascending, and i32[nodes]: the place of each."""
    sending = np.zeros(nodes, np.bool_)
    sending[edges_of(adjacency, rows)[1]] = True
    senders = np.flatnonzero(sending)
    place = np.zeros(nodes, np.int32)
    place[senders] = np.arange(len(senders), dtype=np.int32)
    return senders, place
