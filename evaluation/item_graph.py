"""The item graph of a past at hand, and vectors of items and users made on it.

Counts follow the state's definition with a window without an end: c(i, j) is the number of users
who streamed both. Users may be nodes too: the papers' HGNN-with-users. `scalars`
is the control of a graph: two figures of each item in the place of its vector.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from evaluation.dataset import Dataset, Interactions
from state import CoInteractions, item_key
from static_layer import GraphSettings, HeteroGraph, Progress, StaticSettings, build_graph
from static_layer.infer import item_vectors
from static_layer.train import train

__all__ = [
    "USER",
    "ItemGraph",
    "Reads",
    "Vectors",
    "co_interactions",
    "graph_of",
    "item_keys",
    "scalars",
    "vectors_on",
]

USER = "user"
"""The type of user nodes; no item type of the data may have this name."""

Pair = tuple[str, str]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ItemGraph:
    """A graph, and where the data set's items and users stand in it.

    items: i64[n_items], row of each item; users: i64[n_users], row of each user, or empty.
    """

    graph: HeteroGraph
    items: npt.NDArray[np.int64]
    users: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Unit vectors of items f32[n_items, d] and, where users are nodes, of users f32[n_users, d].

    epochs, edges_seen, seconds: what their training took.
    """

    items: Matrix
    users: Matrix
    epochs: int
    edges_seen: int
    seconds: float


def item_keys(dataset: Dataset) -> npt.NDArray[np.uint64]:
    """Return the key of each item, u64[n_items]."""
    names = zip(dataset.items["item_type"], dataset.items["item_id"], strict=True)
    return np.array([item_key(*name) for name in names], dtype=np.uint64)


def graph_of(
    dataset: Dataset,
    events: Interactions,
    settings: GraphSettings,
    *,
    users_too: bool = False,
    without: Collection[Pair] = (),
) -> ItemGraph:
    """Build the graph of the streams among some events.

    users_too: users are nodes of type USER, joined to the items that they streamed.
    without:   relations that are left out, as pairs of type names in ascending order.
    Raises ValueError where USER is an item type too.
    """
    if users_too and USER in dataset.item_types:
        raise ValueError(f"users cannot be nodes: {USER!r} is an item type of the data")
    keys, types = item_keys(dataset), dataset.items["item_type"].to_list()
    n_items, streams = len(keys), events.where(events.strong)
    if users_too:
        keys = np.concatenate([keys, [np.uint64(item_key(USER, str(u))) for u in dataset.users]])
        types += [USER] * len(dataset.users)
    order, place = _in_order(keys)
    counts = _counted(streams, keys[order], place[:n_items], place[n_items:])
    nodes = pl.DataFrame(
        {
            "item_key": pl.Series(keys[order], dtype=pl.UInt64),
            "item_type": pl.Series(types).gather(order),
        }
    )
    if without:  # relations by name: never folded
        separate = max(settings.separate_types, len(set(types)))
        settings = replace(settings, separate_types=separate)
    graph = build_graph(counts, nodes, settings)
    kept = {pair: edges for pair, edges in graph.relations.items() if pair not in set(without)}
    return ItemGraph(
        graph=replace(graph, relations=kept), items=place[:n_items], users=place[n_items:]
    )


def co_interactions(events: Interactions, keys: npt.NDArray[np.uint64]) -> CoInteractions:
    """Count users by pair of items, by the state's definition with a window without an end.

    All events count, whatever their kind. keys: u64[n_items].
    """
    order, place = _in_order(keys)
    return _counted(events, keys[order], place, np.zeros(0, np.int64))


def _in_order(
    keys: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the order by key, i64[n], and each key's place in it, i64[n]."""
    order = np.argsort(keys)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return order, place


def _counted(
    events: Interactions,
    keys: npt.NDArray[np.uint64],
    items: npt.NDArray[np.int64],
    users: npt.NDArray[np.int64],
) -> CoInteractions:
    """Count by pair of nodes. keys: ascending; items, users: each one's node, users may be none.

    A user who is a node has met each own item once, and the own node once for each of them.
    """
    pairs = np.unique(np.stack([events.user, events.item]), axis=1)
    owner, item = np.unique(pairs[0], return_inverse=True)[1], items[pairs[1]]
    once = np.ones(len(owner), np.int32)
    n = len(keys)
    history = sparse.csr_array((once, (owner, item)), shape=(int(owner.max(initial=-1)) + 1, n))
    together = history.T @ history
    if len(users):
        node = users[pairs[0]]
        met = sparse.csr_array((once, (node, item)), shape=(n, n))
        own = sparse.csr_array((once, (node, node)), shape=(n, n))
        together = together + met + met.T + own
    upper = sparse.triu(together.tocsr()).tocoo()
    return CoInteractions(
        item_keys=keys,
        left=upper.row.astype(np.int32),
        right=upper.col.astype(np.int32),
        count=upper.data.astype(np.int32),
    )


def vectors_on(
    found: ItemGraph, text: Matrix, settings: StaticSettings, *, seed: int, progress: Progress
) -> Vectors:
    """Train the HGNN on a graph and return the vectors of its items and users.

    text: f32[n_items, dt], unit vectors; users have none, that is zeros.
    """
    features = np.zeros((found.graph.nodes, text.shape[1]), np.float32)
    features[found.items] = text
    training = train(
        found.graph, features, settings.hgnn, settings.train, seed=seed, progress=progress
    )
    vectors = item_vectors(training.model, found.graph, training.features, progress=progress)
    return Vectors(
        items=vectors[found.items],
        users=vectors[found.users],
        epochs=training.epochs,
        edges_seen=training.edges_seen,
        seconds=training.seconds,
    )


Reads = Literal["text", "hgnn", "control"]
"""What towers read of an item beside its text: nothing, its HGNN vector, or two scalars."""

_GAIN = 12.0  # what the towers multiply content by (dynamic_layer.items.features)


def scalars(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return what a graph knows without edges: is the item new, and the log of its old count.

    counts: i64[n], events or users of each item. Returns f32[n, 2], of unit variance after the
    towers' gain.
    """
    made = np.stack([counts == 0, np.log1p(counts)], axis=1).astype(np.float32)
    made -= made.mean(axis=0)
    made /= np.maximum(made.std(axis=0), 1e-6) * np.float32(_GAIN)
    return made
