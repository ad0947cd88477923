"""Item vectors that follow a graph: only what a change of its edges reaches is computed again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from static_layer.features import NodeFeatures
from static_layer.graph import Adjacency, HeteroGraph, edges_of
from static_layer.hgnn import HGNN
from static_layer.infer import Rows, layer_output, layers_of

__all__ = ["LiveVectors"]

Mask = NDArray[np.bool_]


class LiveVectors:
    """The HGNN's vectors of a graph that is replaced again and again by a later one.

    A layer gives other values for nodes whose neighbours are others, and for the neighbours of
    nodes whose values of the layer before changed; no other node is computed. The computation is
    that of `item_vectors`.

    Guaranteed: with threshold 0 and without a limit of an update, `vectors` are those of
    `item_vectors` on the last graph, but for rounding. With a threshold, what is kept of a node's
    values is never farther from the computed ones than that share of their length.

    graph:    the last one that was given; vectors: f32[n, d], unit, by its rows.
    waiting:  nodes of it whose neighbours are not taken over yet.
    computed: values of nodes that the last update computed, over all layers: its work.
    """

    def __init__(
        self, model: HGNN, graph: HeteroGraph, features: NodeFeatures, *, threshold: float = 0.0
    ) -> None:
        """Compute all nodes.

        features: by row; threshold: change of a layer's values, as a share of their length, up to
        which a node keeps those that it has.
        """
        model.eval()
        self._model, self._threshold = model, threshold
        self._neighbours = [_none(0)] * len(graph.adjacency)
        self._since = np.zeros(0, np.int64)
        self._updates = 0
        self._outputs = [torch.empty(0, layer.own.out_features) for layer in layers_of(model)]
        self.vectors = np.empty((0, self._outputs[-1].shape[1]), np.float32)
        self.graph, self.waiting, self.computed = _empty(graph), 0, 0
        self.update(graph, features)

    def update(
        self, graph: HeteroGraph, features: NodeFeatures, *, most: int | None = None
    ) -> NDArray[np.int64]:
        """Follow a graph; return the rows whose vectors changed, i64[k] ascending.

        graph: has all nodes of the one before and maybe new ones; features: of its nodes, the same
        as before for nodes that were there. most: nodes whose new neighbours are taken over at
        most, those first that wait longest; new nodes come in addition. Raises ValueError for a
        graph that lacks nodes or has other relations.
        """
        new = self._grow(graph)
        changed = new.copy()
        for before, after in zip(self._neighbours, graph.adjacency, strict=True):
            changed |= _differing(before, after)
        self._updates += 1
        self._since = np.where(changed, np.where(self._since, self._since, self._updates), 0)
        old = np.flatnonzero(changed & ~new)
        old = old[np.argsort(self._since[old], kind="stable")[:most]]
        chosen = new.copy()
        chosen[old] = True
        self._since[chosen] = 0
        self.waiting = int((changed & ~chosen).sum())
        self._neighbours = [
            _mixed(before, after, chosen)
            for before, after in zip(self._neighbours, graph.adjacency, strict=True)
        ]
        moved = self._compute(chosen, new, features)
        self.vectors[moved] = functional.normalize(self._outputs[-1][moved], dim=1).numpy()
        return moved

    def _compute(self, chosen: Mask, new: Mask, features: NodeFeatures) -> NDArray[np.int64]:
        """Compute the layers where they may have changed; return the rows whose last one did."""
        read: Rows = features.rows
        moved, self.computed = new, 0
        for layer, kept in zip(layers_of(self._model), self._outputs, strict=True):
            rows = np.flatnonzero(chosen | moved | _reached(self._neighbours, moved))
            values = layer_output(layer, self.graph, self._neighbours, rows, read)
            far = _apart(values, kept[rows], self._threshold) | new[rows]
            kept[rows[far]] = values[far]
            moved = np.zeros(self.graph.nodes, np.bool_)
            moved[rows[far]] = True
            self.computed += len(rows)
            read = kept.__getitem__
        return np.flatnonzero(moved)

    def _grow(self, graph: HeteroGraph) -> Mask:
        """Take over the nodes of a graph; return which of them are new."""
        before = self.graph
        place = np.searchsorted(graph.item_keys, before.item_keys)
        inside = place < graph.nodes
        if not inside.all() or (graph.item_keys[place] != before.item_keys).any():
            raise ValueError("expected a graph with all nodes of the one before")
        if (graph.type_names, graph.folded) != (before.type_names, before.folded):
            raise ValueError(
                f"expected a graph with types {before.type_names}, got {graph.type_names}"
            )
        self.graph = graph
        new = np.ones(graph.nodes, np.bool_)
        new[place] = False
        if new.any():
            self._neighbours = [_moved(one, place, graph.nodes) for one in self._neighbours]
            self._since = _spread(self._since, place, graph.nodes)
            self.vectors = _spread(self.vectors, place, graph.nodes)
            self._outputs = [
                torch.from_numpy(_spread(kept.numpy(), place, graph.nodes))
                for kept in self._outputs
            ]
        return new


def _apart(values: Tensor, kept: Tensor, threshold: float) -> Mask:
    """Return which values differ from those kept by more than a share of their length, bool[m]."""
    norm = torch.linalg.vector_norm
    far: Mask = (norm(values - kept, dim=1) > threshold * norm(values, dim=1)).numpy()
    return far


def _differing(before: Adjacency, after: Adjacency) -> Mask:
    """Return the nodes that have other neighbours, bool[n]."""
    same = np.diff(before.indptr) == np.diff(after.indptr)
    rows = np.flatnonzero(same)
    (_, then), (indptr, now) = edges_of(before, rows), edges_of(after, rows)
    found: Mask = ~same
    found[np.repeat(rows, np.diff(indptr))[then != now]] = True
    return found


def _mixed(before: Adjacency, after: Adjacency, chosen: Mask) -> Adjacency:
    """Return the neighbours after a change for the chosen nodes, those before it for the others."""
    nodes = len(chosen)
    both = Adjacency(
        np.concatenate([before.indptr, before.indptr[-1] + after.indptr[1:]]),
        np.concatenate([before.indices, after.indices]),
    )
    return Adjacency(*edges_of(both, np.arange(nodes) + nodes * chosen))


def _reached(neighbours: Sequence[Adjacency], moved: Mask) -> Mask:
    """Return the nodes that have a neighbour among the moved ones, bool[n]."""
    found = np.zeros(len(moved), np.bool_)
    for one in neighbours:
        sent = np.flatnonzero(moved[one.indices])
        found[np.searchsorted(one.indptr, sent, side="right") - 1] = True
    return found


def _moved(adjacency: Adjacency, place: NDArray[np.int64], nodes: int) -> Adjacency:
    """Return the same neighbours where the nodes have other places, i64[n] ascending."""
    degree = _spread(np.diff(adjacency.indptr), place, nodes)
    indptr = np.concatenate([[0], np.cumsum(degree)])
    return Adjacency(indptr, place[adjacency.indices].astype(np.int32))


def _spread(values: NDArray[Any], place: NDArray[np.int64], nodes: int) -> NDArray[Any]:
    """Return rows at other places; zeros elsewhere."""
    found = np.zeros((nodes, *values.shape[1:]), values.dtype)
    found[place] = values
    return found


def _none(nodes: int) -> Adjacency:
    return Adjacency(np.zeros(nodes + 1, np.int64), np.zeros(0, np.int32))


def _empty(graph: HeteroGraph) -> HeteroGraph:
    """Return a graph of the same form without nodes."""
    none = np.zeros(0, np.int64)
    return HeteroGraph(none.astype(np.uint64), graph.type_names, none, none, {}, graph.folded)
