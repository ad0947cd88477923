"""An epoch's edges are balanced over relations; negatives are strangers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from static_layer.graph import Edges, HeteroGraph, build_graph
from static_layer.links import (
    EdgeDraw,
    Links,
    Strangers,
    balanced_links,
    edge_chances,
    hold_back,
)
from static_layer.settings import GraphSettings

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


def test_a_rare_relation_does_not_set_the_size_of_an_epoch(graph: HeteroGraph) -> None:
    pair = ("audiobook", "audiobook")
    rare = graph.without({pair: np.arange(2, len(graph.relations[pair]))})
    counts = by_relation(rare, balanced_links(rare, 0, np.random.default_rng(0)))
    others = {name: n for name, n in rare.edge_counts.items() if name != "audiobook-audiobook"}
    assert counts["audiobook-audiobook"] == 2
    assert {counts[name] for name in others} == {min(others.values())}


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


@pytest.mark.parametrize("draw", ["count", "cosine", "ppmi"])
def test_edges_are_drawn_by_their_chances(graph: HeteroGraph, draw: EdgeDraw) -> None:
    pair = ("audiobook", "podcast")
    edges = graph.relations[pair]
    few = replace(graph, relations={pair: edges})
    chances = edge_chances(edges, graph.users, draw)
    place = {
        frozenset(ends): number
        for number, ends in enumerate(zip(edges.left.tolist(), edges.right.tolist(), strict=True))
    }
    rng = np.random.default_rng(0)
    seen = np.zeros(len(edges))
    for _ in range(40):
        for ends in pairs(balanced_links(few, 0, rng, draw=draw)):
            seen[place[frozenset(ends)]] += 1
    assert not seen[chances == 0].any()
    likely = chances > 0
    expected = seen.sum() * chances[likely] / chances.sum()
    assert stats.chisquare(seen[likely], expected).pvalue > 0.01


def test_ppmi_is_zero_where_two_items_meet_no_more_than_by_chance() -> None:
    # Items 0 and 1 meet twice as often as chance has it, 0 and 2 less often.
    edges = Edges(np.array([0, 0, 3]), np.array([1, 2, 2]), np.array([4, 1, 8]))
    chances = edge_chances(edges, np.full(4, 9), "ppmi")
    strength, total = [5, 4, 9, 8], 26
    expected = [
        max(0.0, np.log(count * total / (strength[a] * strength[b])))
        for a, b, count in ((0, 1, 4), (0, 2, 1), (3, 2, 8))
    ]
    assert chances == pytest.approx(expected)
    assert chances[1] == 0.0
