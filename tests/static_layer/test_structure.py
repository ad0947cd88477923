"""Structural features are the graph's leading eigenvectors, the same whenever they are made."""

import numpy as np
import pytest

from static_layer.features import structural_features
from static_layer.graph import HeteroGraph, build_graph
from static_layer.settings import GraphSettings

from .conftest import Community


@pytest.fixture(scope="module")
def graph(community: Community) -> HeteroGraph:
    merged = community.merged
    return build_graph(merged.co_interactions, merged.catalogue, GraphSettings(max_degree=0))


def test_rows_have_length_one_and_repeat_by_seed(graph: HeteroGraph) -> None:
    features = structural_features(graph, 8, seed=0)
    assert features.dtype == np.float32
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert np.array_equal(features, structural_features(graph, 8, seed=0))


def test_they_span_the_leading_eigenvectors(graph: HeteroGraph) -> None:
    matrix = np.zeros((graph.nodes, graph.nodes))
    for edges in graph.relations.values():
        matrix[edges.left, edges.right] = matrix[edges.right, edges.left] = edges.count
    strength = matrix.sum(axis=1)
    values, vectors = np.linalg.eigh(matrix / np.sqrt(np.outer(strength, strength)))
    leading = np.argsort(-np.abs(values))[:6]
    expected = vectors[:, leading] * np.sqrt(np.abs(values[leading]))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    features = structural_features(graph, 6, seed=0)
    # Signs of eigenvectors are free, products of rows are not.
    assert np.allclose(features @ features.T, expected @ expected.T, atol=0.02)


def test_items_without_edges_have_no_structure(graph: HeteroGraph) -> None:
    alone = graph.without({pair: np.arange(len(edges)) for pair, edges in graph.relations.items()})
    assert not structural_features(alone, 4, seed=0).any()
    assert structural_features(graph, 0, seed=0).shape == (graph.nodes, 0)


def test_a_graph_smaller_than_the_width_leaves_zeros(graph: HeteroGraph) -> None:
    features = structural_features(graph, graph.nodes + 20, seed=0)
    assert features.shape == (graph.nodes, graph.nodes + 20)
    assert not features[:, graph.nodes :].any()
