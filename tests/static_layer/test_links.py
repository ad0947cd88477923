"""An epoch's edges are balanced over relations; negatives are strangers."""

import numpy as np
import pytest
import torch

from static_layer.graph import GraphSettings, HeteroGraph, build_graph
from static_layer.links import Links, Strangers, balanced_links, hold_back

from .conftest import Community


@pytest.fixture(scope="module")
def graph(community: Community) -> HeteroGraph:
    merged = community.merged
    return build_graph(merged.co_interactions, merged.catalogue, GraphSettings(max_degree=0))


def by_relation(graph: HeteroGraph, links: Links) -> dict[str, int]:
    ends = np.sort(graph.node_types[np.stack([links.anchors, links.positives])], axis=0)
    names = ["-".join(graph.type_names[t] for t in pair) for pair in ends.T]
    return {name: names.count(name) for name in sorted(set(names))}


def pairs(links: Links) -> list[tuple[int, int]]:
    ends = np.sort(np.stack([links.anchors, links.positives]), axis=0)
    return [(int(a), int(b)) for a, b in ends.T]


def test_every_relation_gives_as_many_edges_as_the_smallest_one(graph: HeteroGraph) -> None:
    links = balanced_links(graph, 0, np.random.default_rng(0))
    smallest = min(graph.edge_counts.values())
    assert by_relation(graph, links) == dict.fromkeys(graph.edge_counts, smallest)
    assert len(set(pairs(links))) == len(links)


def test_majority_edges_are_drawn_afresh_and_minority_edges_all_take_part(
    graph: HeteroGraph,
) -> None:
    rng = np.random.default_rng(0)
    one, two = (set(pairs(balanced_links(graph, 0, rng))) for _ in range(2))
    minority = graph.relations["audiobook", "audiobook"]
    ends = {
        (int(min(pair)), int(max(pair))) for pair in zip(minority.left, minority.right, strict=True)
    }
    assert ends <= one
    assert ends <= two
    assert one != two


def test_unbalanced_epochs_hold_every_edge_once(graph: HeteroGraph) -> None:
    links = balanced_links(graph, 0, np.random.default_rng(0), balanced=False)
    assert by_relation(graph, links) == graph.edge_counts
    assert len(set(pairs(links))) == sum(graph.edge_counts.values())


def test_an_epoch_can_be_bounded(graph: HeteroGraph) -> None:
    links = balanced_links(graph, 30, np.random.default_rng(0))
    assert by_relation(graph, links) == dict.fromkeys(graph.edge_counts, 10)


def test_both_ends_serve_as_anchors(graph: HeteroGraph) -> None:
    links = balanced_links(graph, 0, np.random.default_rng(0))
    share = float((graph.node_types[links.anchors] == 0).mean())
    assert share == pytest.approx(0.5, abs=0.05)


def test_held_back_edges_leave_the_graph(graph: HeteroGraph) -> None:
    rest, held = hold_back(graph, 0.1, 10**9, np.random.default_rng(0))
    total = sum(graph.edge_counts.values())
    assert len(held) == sum(int(count * 0.1) for count in graph.edge_counts.values())
    assert sum(rest.edge_counts.values()) == total - len(held)
    left = set(pairs(balanced_links(rest, 0, np.random.default_rng(0), balanced=False)))
    assert not left & set(pairs(held))


def test_the_number_of_held_back_edges_can_be_bounded(graph: HeteroGraph) -> None:
    _, held = hold_back(graph, 0.5, 60, np.random.default_rng(0))
    assert 50 <= len(held) <= 60


def test_a_stranger_is_neither_the_anchor_nor_its_neighbour(graph: HeteroGraph) -> None:
    strangers = Strangers(graph)
    negatives = strangers.draw(100, torch.Generator().manual_seed(0))
    anchors = torch.arange(graph.nodes)
    connected = np.eye(graph.nodes, dtype=bool)
    for edges in graph.relations.values():
        connected[edges.left, edges.right] = connected[edges.right, edges.left] = True
    assert len(negatives.unique()) == len(negatives) == 100
    for _ in range(2):  # the second call must not see traces of the first
        excluded = strangers.excluded(anchors, negatives).numpy()
        assert (excluded == connected[:, negatives.numpy()]).all()


def test_weighted_draws_prefer_what_many_users_have_in_common(graph: HeteroGraph) -> None:
    count = {}
    for edges in graph.relations.values():
        for a, b, users in zip(edges.left, edges.right, edges.count, strict=True):
            count[int(min(a, b)), int(max(a, b))] = int(users)
    means = [
        np.mean([count[pair] for pair in pairs(links)])
        for weighted in (False, True)
        for links in [balanced_links(graph, 0, np.random.default_rng(0), weighted=weighted)]
    ]
    assert means[1] > means[0]
