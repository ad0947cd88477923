"""The graph is the merged counts, restricted to live items, cut as the settings say."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from state import CoInteractions, item_key
from static_layer.graph import HeteroGraph, build_graph
from static_layer.settings import GraphSettings

from .conftest import Community, catalogue_of

EVERY_EDGE = GraphSettings(max_degree=0)


def counted(pairs: dict[tuple[str, str], int]) -> CoInteractions:
    """Counts by ids; an id that starts with `a` is an audiobook's, else a podcast's."""

    def key(item_id: str) -> int:
        return item_key("audiobook" if item_id.startswith("a") else "podcast", item_id)

    return CoInteractions.from_pairs(
        np.array([key(left) for left, _ in pairs], np.uint64),
        np.array([key(right) for _, right in pairs], np.uint64),
        np.array(list(pairs.values()), np.int64),
    )


ITEMS = [("audiobook", "a1"), ("audiobook", "a2"), ("podcast", "p1"), ("podcast", "p2")]
COUNTS = {
    ("a1", "a1"): 5, ("a2", "a2"): 3, ("p1", "p1"): 9, ("p2", "p2"): 2,
    ("a1", "a2"): 2, ("a1", "p1"): 4, ("p1", "p2"): 1, ("a2", "p2"): 1,
}  # fmt: skip


def edges_by_id(graph: HeteroGraph, catalogue: pl.DataFrame) -> dict[tuple[str, str], int]:
    ids = catalogue["item_id"].to_list()
    return {
        (ids[left], ids[right]): int(count)
        for edges in graph.relations.values()
        for left, right, count in zip(edges.left, edges.right, edges.count, strict=True)
    }


def normal(edges: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {(min(pair), max(pair)): count for pair, count in edges.items()}


def test_edges_are_the_counts_off_the_diagonal_and_users_are_the_diagonal() -> None:
    catalogue = catalogue_of(ITEMS)
    graph = build_graph(counted(COUNTS), catalogue, EVERY_EDGE)
    expected = {pair: count for pair, count in COUNTS.items() if pair[0] != pair[1]}
    assert normal(edges_by_id(graph, catalogue)) == expected
    users = dict(zip(catalogue["item_id"], graph.users, strict=True))
    assert users == {"a1": 5, "a2": 3, "p1": 9, "p2": 2}


def test_a_relation_is_an_unordered_pair_of_types_and_lists_its_first_type_left() -> None:
    graph = build_graph(counted(COUNTS), catalogue_of(ITEMS), EVERY_EDGE)
    assert graph.edge_counts == {
        "audiobook-audiobook": 1,
        "audiobook-podcast": 2,
        "podcast-podcast": 1,
    }
    mixed = graph.relations["audiobook", "podcast"]
    assert {graph.type_names[t] for t in graph.node_types[mixed.left]} == {"audiobook"}
    assert {graph.type_names[t] for t in graph.node_types[mixed.right]} == {"podcast"}


def test_an_item_without_a_catalogue_entry_takes_its_edges_away() -> None:
    alive = catalogue_of([item for item in ITEMS if item[1] != "p1"])
    graph = build_graph(counted(COUNTS), alive, EVERY_EDGE)
    assert normal(edges_by_id(graph, alive)) == {("a1", "a2"): 2, ("a2", "p2"): 1}


def test_an_item_without_events_is_a_node_without_edges() -> None:
    catalogue = catalogue_of([*ITEMS, ("podcast", "new")])
    graph = build_graph(counted(COUNTS), catalogue, EVERY_EDGE)
    row = catalogue["item_id"].to_list().index("new")
    assert graph.nodes == 5
    assert graph.users[row] == 0
    assert all(rows.indptr[row] == rows.indptr[row + 1] for rows in graph.adjacency)


def test_adjacency_is_symmetric_and_sorted_by_neighbour_type(community: Community) -> None:
    merged = community.merged
    graph = build_graph(merged.co_interactions, merged.catalogue, EVERY_EDGE)
    seen = set()
    for neighbour_type, rows in enumerate(graph.adjacency):
        for node in range(graph.nodes):
            neighbours = rows.indices[rows.indptr[node] : rows.indptr[node + 1]]
            assert (np.diff(neighbours) > 0).all()
            assert (graph.node_types[neighbours] == neighbour_type).all()
            seen |= {(node, int(neighbour)) for neighbour in neighbours}
    assert seen == {(b, a) for a, b in seen}
    assert len(seen) == 2 * sum(graph.edge_counts.values()) == 2 * merged.co_interactions.pairs


def test_beyond_a_few_types_there_are_two_relations_however_many_types() -> None:
    items = [(f"type-{number // 2:02d}", f"i{number:02d}") for number in range(40)]
    catalogue = catalogue_of(items)
    keys = np.array([item_key(*item) for item in items], np.uint64)
    # A chain: every second edge lies inside a type.
    counts = CoInteractions.from_pairs(keys[:-1], keys[1:], np.full(39, 3))
    graph = build_graph(counts, catalogue, EVERY_EDGE)
    assert graph.edge_counts == {"same-type": 20, "other-types": 19}
    expected = {(f"i{number:02d}", f"i{number + 1:02d}"): 3 for number in range(39)}
    assert normal(edges_by_id(graph, catalogue)) == expected
    assert len(graph.adjacency) == 2
    for kind, rows in enumerate(graph.adjacency):
        node = np.repeat(np.arange(graph.nodes), np.diff(rows.indptr))
        alike = graph.node_types[node] == graph.node_types[rows.indices]
        assert (alike == (kind == 0)).all()
    few = build_graph(counts, catalogue, replace(EVERY_EDGE, separate_types=20))
    assert len(few.relations) == 39
    assert len(few.adjacency) == 20


def test_the_cap_on_degrees_holds_for_each_of_the_two_relations() -> None:
    items = [("hub", "hub"), *((f"type-{number:02d}", f"i{number}") for number in range(30))]
    keys = np.array([item_key(*item) for item in items], np.uint64)
    pairs = [(left, right) for left in range(31) for right in range(left + 1, 31)]
    left, right = np.array(pairs).T
    counts = CoInteractions.from_pairs(keys[left], keys[right], np.arange(len(pairs)) + 1)
    graph = build_graph(counts, catalogue_of(items), replace(EVERY_EDGE, max_degree=2))
    assert sum(graph.edge_counts.values()) <= 2 * len(items)


def test_min_count_drops_pairs_that_fewer_users_share() -> None:
    catalogue = catalogue_of(ITEMS)
    graph = build_graph(counted(COUNTS), catalogue, replace(EVERY_EDGE, min_count=2))
    assert normal(edges_by_id(graph, catalogue)) == {("a1", "a2"): 2, ("a1", "p1"): 4}


def test_an_edge_stays_while_it_is_among_the_heaviest_of_either_end(community: Community) -> None:
    merged = community.merged
    settings = GraphSettings(max_degree=3, shrinkage=2.0)
    every = build_graph(merged.co_interactions, merged.catalogue, EVERY_EDGE)
    graph = build_graph(merged.co_interactions, merged.catalogue, settings)
    for pair, edges in every.relations.items():
        users = every.users.astype(float)
        weight = edges.count / (np.sqrt(users[edges.left] * users[edges.right]) + 2.0)
        kept = set(zip(graph.relations[pair].left, graph.relations[pair].right, strict=True))
        ends = list(zip(edges.left, edges.right, strict=True))
        for node in np.unique(np.concatenate([edges.left, edges.right])):
            mine = np.flatnonzero((edges.left == node) | (edges.right == node))
            third = np.sort(weight[mine])[::-1][:3][-1]
            for place in mine[weight[mine] > third]:
                assert ends[place] in kept
        assert len(kept) < len(edges)


def test_the_graph_does_not_depend_on_the_order_of_the_catalogue(community: Community) -> None:
    merged = community.merged
    shuffled = merged.catalogue.sample(fraction=1.0, shuffle=True, seed=3)
    one = build_graph(merged.co_interactions, merged.catalogue, GraphSettings(max_degree=4))
    two = build_graph(merged.co_interactions, shuffled, GraphSettings(max_degree=4))
    assert (one.item_keys == two.item_keys).all()
    for pair, edges in one.relations.items():
        assert (edges.left == two.relations[pair].left).all()
        assert (edges.right == two.relations[pair].right).all()


def test_an_item_twice_in_the_catalogue_is_refused() -> None:
    catalogue = catalogue_of(ITEMS)
    with pytest.raises(ValueError, match="twice"):
        build_graph(counted(COUNTS), pl.concat([catalogue, catalogue[:1]]), EVERY_EDGE)
