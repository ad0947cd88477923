"""The heterogeneous item-item graph: items as nodes, co-interactions as edges."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, Protocol

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from state.sorting import kth_smallest
from static_layer.settings import SHRINKAGE, GraphSettings

Pair = tuple[str, str]


SAME_TYPE: Pair = ("same", "type")
OTHER_TYPES: Pair = ("other", "types")
"""Relations of a folded graph: edges inside a type, and edges between two types."""


class CoInteractionCounts(Protocol):
    """What the graph reads of the merged state (see state.CoInteractions)."""

    @property
    def item_keys(self) -> NDArray[np.uint64]: ...  # noqa: D102
    @property
    def left(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def right(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def count(self) -> NDArray[np.int32]: ...  # noqa: D102


@dataclass(frozen=True)
class Edges:
    """The undirected edges of one relation, each once.

    left, right: i32[m], row numbers of the ends; the type of `left` is not after that of `right`.
    count:       i32[m], users who interacted with both inside the window.
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    count: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of edges."""
        return len(self.left)


@dataclass(frozen=True)
class Adjacency:
    """Neighbours of one kind, as compressed sparse rows over all nodes.

    indptr: i64[n + 1]; indices: i32[...], ascending within a row.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]


def edges_of(
    adjacency: Adjacency, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the compressed rows of some nodes i64[m]: indptr i64[m + 1] and indices i32[...].

    >>> path = Adjacency(np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1], np.int32))
    >>> [part.tolist() for part in edges_of(path, np.array([2, 1]))]
    [[0, 1, 3], [1, 0, 2]]
    """
    start, degree = adjacency.indptr[rows], np.diff(adjacency.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(degree)])
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], degree)
    return indptr, adjacency.indices[np.repeat(start, degree) + within]


@dataclass(frozen=True)
class HeteroGraph:
    """Catalogue items and their co-interactions, by relation.

    A relation is an unordered pair of item types. A folded graph has two relations instead,
    `SAME_TYPE` and `OTHER_TYPES`, so that its cost does not depend on the number of types.

    item_keys:  u64[n], ascending: the row number of an item is its place here.
    type_names: the item types, ascending.
    node_types: i64[n], place of the item's type in `type_names`.
    users:      i64[n], users with the item in the window (0 for an item without events).
    relations:  edges by pair of type names, the pair in ascending order; by `SAME_TYPE` and
                `OTHER_TYPES` if folded. Relations without edges are left out.
    folded:     whether the relations are folded.
    """

    item_keys: NDArray[np.uint64]
    type_names: tuple[str, ...]
    node_types: NDArray[np.int64]
    users: NDArray[np.int64]
    relations: dict[Pair, Edges]
    folded: bool = False

    @property
    def nodes(self) -> int:
        """Number of items."""
        return len(self.item_keys)

    @property
    def edge_counts(self) -> dict[str, int]:
        """Number of edges by relation, named `type-type`."""
        return {"-".join(pair): len(edges) for pair, edges in self.relations.items()}

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group of each node as a receiver of messages, i64[n]: its type; 0 if folded."""
        return np.zeros_like(self.node_types) if self.folded else self.node_types

    @cached_property
    def adjacency(self) -> tuple[Adjacency, ...]:
        """Neighbours by kind; symmetric.

        Kinds are the item types, in the order of `type_names`; in a folded graph the node's own
        type (0) and the other types (1).
        """
        names = (SAME_TYPE, OTHER_TYPES) if self.folded else self.type_names
        ends: dict[Any, list[NDArray[np.int64]]] = {name: [] for name in names}
        for pair, edges in self.relations.items():
            left, right = edges.left.astype(np.int64), edges.right.astype(np.int64)
            left_kind, right_kind = (pair, pair) if self.folded else pair
            ends[right_kind].append(left * self.nodes + right)
            ends[left_kind].append(right * self.nodes + left)
        return tuple(_adjacency(directed, self.nodes) for directed in ends.values())

    def without(self, left_out: dict[Pair, NDArray[np.int64]]) -> "HeteroGraph":
        """Return the graph without the named edges (places in the relation's arrays)."""
        relations = dict(self.relations)
        for pair, places in left_out.items():
            keep = np.ones(len(relations[pair]), dtype=np.bool_)
            keep[places] = False
            edges = relations[pair]
            relations[pair] = Edges(edges.left[keep], edges.right[keep], edges.count[keep])
        return replace(self, relations=relations)


def build_graph(
    co_interactions: CoInteractionCounts, catalogue: pl.DataFrame, settings: GraphSettings
) -> HeteroGraph:
    """Join co-interaction counts with the live catalogue.

    Nodes are all rows of the catalogue (columns `item_key` u64, distinct, and `item_type`);
    edges to items that are not in it are dropped. Raises ValueError for a catalogue that has
    an item twice.
    """
    entries = catalogue.select("item_key", "item_type").sort("item_key")
    item_keys = entries["item_key"].to_numpy().astype(np.uint64)
    if len(item_keys) > 1 and bool(np.any(item_keys[1:] == item_keys[:-1])):
        raise ValueError("the catalogue has an item key twice; expected one live entry per item")
    item_types = entries["item_type"].to_list()
    type_names = tuple(sorted(set(item_types)))
    place = {name: number for number, name in enumerate(type_names)}
    node_types = np.array([place[name] for name in item_types], dtype=np.int64)

    row = _rows(co_interactions.item_keys, item_keys)
    left, right = row[co_interactions.left], row[co_interactions.right]
    count = co_interactions.count
    own = (left == right) & (left >= 0)
    users = np.zeros(len(item_keys), dtype=np.int64)
    users[left[own]] = count[own]

    edge = (left >= 0) & (right >= 0) & (left != right) & (count >= max(settings.min_count, 1))
    left, right, count = left[edge], right[edge], count[edge]
    swap = node_types[left] > node_types[right]
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    weight = edge_weights(count, users[left], users[right], settings.shrinkage)
    folded = len(type_names) > settings.separate_types
    ends = (node_types[left], node_types[right])
    relations: dict[Pair, Edges] = {}
    for pair, of_pair in _edges_by_relation(*ends, () if folded else type_names):
        mine = np.flatnonzero(of_pair)
        if settings.max_degree:
            mine = mine[heaviest(left[mine], right[mine], weight[mine], settings.max_degree)]
        if len(mine):
            relations[pair] = Edges(
                left[mine].astype(np.int32),
                right[mine].astype(np.int32),
                count[mine].astype(np.int32),
            )
    return HeteroGraph(item_keys, type_names, node_types, users, relations, folded)


def _edges_by_relation(
    left: NDArray[np.int64], right: NDArray[np.int64], type_names: tuple[str, ...]
) -> Iterator[tuple[Pair, NDArray[np.bool_]]]:
    """Yield each relation with its edges, bool[m], by the type numbers of the ends.

    type_names: empty to fold the relations.
    """
    if not type_names:
        yield SAME_TYPE, left == right
        yield OTHER_TYPES, left != right
    for first, second in combinations_with_replacement(range(len(type_names)), 2):
        yield (type_names[first], type_names[second]), (left == first) & (right == second)


def edge_weights(
    count: NDArray[np.integer],
    users_left: NDArray[np.int64],
    users_right: NDArray[np.int64],
    shrinkage: float = SHRINKAGE,
) -> NDArray[np.float64]:
    """Return how much an edge says: count / (sqrt(users_i * users_j) + shrinkage), f64[m]."""
    weight: NDArray[np.float64] = count / (np.sqrt(users_left * users_right) + shrinkage)
    return weight


def _rows(keys: NDArray[np.uint64], sorted_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the row of each key in `sorted_keys`, -1 for a key that is not there."""
    if len(sorted_keys) == 0:
        return np.full(len(keys), -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[place] == keys, place, -1).astype(np.int64)


def heaviest(
    left: NDArray[np.integer],
    right: NDArray[np.integer],
    weight: NDArray[np.float64],
    max_degree: int,
) -> NDArray[np.bool_]:
    """Return which edges are among the `max_degree` heaviest of at least one end.

    Ties go to the edge that comes first, so that equal input gives an equal graph.
    """
    keep = np.zeros(len(left), np.bool_)
    if len(left):
        _keep_heaviest(left, right, weight, max_degree, keep)
    return keep


@numba.njit(cache=True, nogil=True)
def _keep_heaviest(
    left: NDArray[np.integer],
    right: NDArray[np.integer],
    weight: NDArray[np.float64],
    max_degree: int,
    keep: NDArray[np.bool_],
) -> None:
    """Set the edges to keep, by a selection within each node's edges: no edge is sorted."""
    nodes = max(left.max(), right.max()) + 1
    starts = np.zeros(nodes + 1, np.int64)
    for edge in range(len(left)):
        starts[left[edge] + 1] += 1
        starts[right[edge] + 1] += 1
    for node in range(nodes):
        starts[node + 1] += starts[node]
    filled = starts[:-1].copy()
    edges = np.empty(starts[-1], np.int32)
    for edge in range(len(left)):
        for node in (left[edge], right[edge]):
            edges[filled[node]] = edge
            filled[node] += 1
    for node in range(nodes):
        own = edges[starts[node] : starts[node + 1]]
        if len(own) <= max_degree:
            for edge in own:
                keep[edge] = True
            continue
        weights = weight[own]
        least = kth_smallest(weights.copy(), len(own) - max_degree)
        left_over = max_degree - (weights > least).sum()
        for place in range(len(own)):
            if weights[place] > least:
                keep[own[place]] = True
            elif weights[place] == least and left_over > 0:
                keep[own[place]] = True
                left_over -= 1


def _adjacency(directed: list[NDArray[np.int64]], nodes: int) -> Adjacency:
    """Return compressed rows of directed edges, each given as target * nodes + source."""
    edges = np.sort(np.concatenate(directed)) if directed else np.zeros(0, dtype=np.int64)
    target, source = np.divmod(edges, max(nodes, 1))
    indptr = np.zeros(nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(target, minlength=nodes), out=indptr[1:])
    return Adjacency(indptr, source.astype(np.int32))
