"""The model computes the paper's formula; its parts agree with naive versions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from static_layer.features import NodeFeatures
from static_layer.gather_max import gather_max
from static_layer.graph import HeteroGraph, build_graph
from static_layer.hgnn import HGNN
from static_layer.infer import item_vectors
from static_layer.learner import contrastive_loss, hinge_loss
from static_layer.sampler import CsrSampler
from static_layer.settings import GraphSettings, HGNNSettings

from .conftest import Community


@pytest.fixture(scope="module", params=[4, 1], ids=["by type", "folded"])
def graph(community: Community, request: pytest.FixtureRequest) -> HeteroGraph:
    merged = community.merged
    settings = GraphSettings(max_degree=4, separate_types=request.param)
    return build_graph(merged.co_interactions, merged.catalogue, settings)


def model_for(graph: HeteroGraph, width: int, *, activated: bool = False) -> HGNN:
    torch.manual_seed(0)
    settings = HGNNSettings(hidden=12, output=8, structure=0, last_activation=activated)
    model = HGNN(width, len(graph.type_names), settings, folded=graph.folded)
    for layer in model.layers:  # as if they had learned: they begin at zero
        for vectors in [*layer.senders, *layer.receivers]:
            torch.nn.init.normal_(vectors.weight)
    return model


@given(
    degrees=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_gather_max_and_its_gradient_equal_torch(degrees: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    messages = torch.randn(5, 3, generator=generator, requires_grad=True)
    twin = messages.detach().clone().requires_grad_()
    indptr = torch.tensor([0, *np.cumsum(degrees)])
    indices = torch.randint(5, (int(indptr[-1]),), generator=generator, dtype=torch.int32)
    weights = torch.randn(len(degrees), 3, generator=generator)
    result = gather_max(messages, indptr, indices)
    expected = torch.stack(
        [twin[indices[a:b].long().unique()].amax(0) for a, b in pairwise(indptr)]
    )
    (result * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(result, expected)
    # Both add terms around one, in different orders: what is left of them may be near zero.
    assert torch.allclose(messages.grad, twin.grad, atol=1e-5)  # type: ignore[arg-type]


def features_of(model: HGNN, community: Community) -> NodeFeatures:
    return NodeFeatures(model, community.text, np.zeros((len(community.text), 0), np.float32))


def naive(model: HGNN, graph: HeteroGraph, text: torch.Tensor) -> torch.Tensor:
    """The paper's formula, node by node; in a folded graph with the types' vectors inside."""
    types = torch.from_numpy(graph.node_types)
    h = model.features(text)
    for layer in model.layers:
        rows = []
        for node in range(graph.nodes):
            total = layer.own(h[node])
            for kind, adjacency in enumerate(graph.adjacency):
                mine = adjacency.indices[adjacency.indptr[node] : adjacency.indptr[node + 1]]
                if not len(mine):
                    continue
                if graph.folded:
                    message = layer.relations[kind](h[mine.astype(int)])
                    message = message + layer.senders[kind](types[mine.astype(int)])
                    message = message + layer.receivers[kind](types[node])
                else:
                    relation = int(graph.node_types[node]) * model.types + kind
                    message = layer.relations[relation](h[mine.astype(int)])
                total = total + layer.sigma(message).amax(dim=0)
            last = layer is model.layers[-1] and not model.settings.last_activation
            rows.append(total if last else layer.sigma(total))
        h = torch.stack(rows)
    return functional.normalize(h, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("activated", [True, False], ids=["paper", "ours"])
def test_the_model_is_the_formula(
    graph: HeteroGraph, community: Community, activated: bool
) -> None:
    """That of the papers, and ours, which has no activation after the last layer."""
    model, text = model_for(graph, 16, activated=activated), torch.from_numpy(community.text)
    expected = naive(model, graph, text)
    rows = torch.tensor([5, 17, 2])
    blocks = CsrSampler(graph, (0, 0)).blocks(rows, torch.Generator())
    got = model(model.features(text)[blocks[0].sources], blocks)
    assert torch.allclose(got, expected[rows], atol=1e-6)
    assert torch.allclose(got.norm(dim=1), torch.ones(3))


def test_a_shape_of_an_earlier_version_has_the_activation_that_it_was_trained_with() -> None:
    shape = HGNN(4, 2, HGNNSettings()).shape
    assert not HGNN.of_shape(shape).settings.last_activation
    del shape["settings"]["last_activation"]
    old = HGNN.of_shape(shape)
    assert old.settings.last_activation
    assert old.layers[-1].update is old.layers[-1].sigma


def test_a_model_of_a_shape_takes_the_weights_of_another() -> None:
    made = HGNN(4, 2, HGNNSettings())
    loaded = HGNN.of_shape(made.shape)
    loaded.load_state_dict(made.state_dict())
    for one, other in zip(loaded.parameters(), made.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.requires_grad


@pytest.mark.parametrize("chunk", [7, 240, 1000])
def test_layer_wise_inference_is_exact_whatever_the_chunk(
    graph: HeteroGraph, community: Community, chunk: int
) -> None:
    model = model_for(graph, 16)
    with torch.no_grad():
        expected = naive(model, graph, torch.from_numpy(community.text)).numpy()
    got = item_vectors(model, graph, features_of(model, community), chunk=chunk)
    assert np.allclose(got, expected, atol=1e-6)


@torch.no_grad()
def test_a_cold_item_has_the_vector_of_a_node_without_edges(
    graph: HeteroGraph, community: Community
) -> None:
    alone = graph.without({pair: np.arange(len(edges)) for pair, edges in graph.relations.items()})
    model = model_for(graph, 16)
    expected = item_vectors(model, alone, features_of(model, community))
    got = model.cold(torch.from_numpy(community.text)).numpy()
    assert np.allclose(got, expected, atol=1e-6)


def test_hinge_loss_is_the_mean_over_allowed_negatives() -> None:
    a, p = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6]])
    n = torch.tensor([[0.6, 0.8], [-1.0, 0.0], [1.0, 0.0]])
    excluded = torch.tensor([[False, False, True]])
    # Margins broken by 0.6 - 0.8 + 0.5 = 0.3 and by none; the third does not count.
    assert float(hinge_loss(a, p, n, excluded, 0.5)) == pytest.approx(0.15)
    assert float(hinge_loss(a, p, n, torch.ones(1, 3, dtype=torch.bool), 0.5)) == 0.0


def test_contrastive_loss_is_cross_entropy_with_the_positive_first() -> None:
    generator = torch.Generator().manual_seed(0)
    a, p, n = (torch.randn(size, 4, generator=generator) for size in (3, 3, 6))
    excluded = torch.rand(3, 6, generator=generator) < 0.3
    logits = torch.cat([(a * p).sum(1, keepdim=True), a @ n.T], dim=1) / 0.2
    logits[:, 1:][excluded] = -torch.inf
    expected = functional.cross_entropy(logits, torch.zeros(3, dtype=torch.long))
    assert float(contrastive_loss(a, p, n, excluded, 0.2)) == pytest.approx(float(expected))
