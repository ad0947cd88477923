"""Sampled blocks hold true neighbours, in the right number, each equally likely."""

import numpy as np
import pytest
import torch
from scipy import stats

from static_layer.blocks import Block
from static_layer.graph import HeteroGraph, build_graph
from static_layer.sampler import CsrSampler, Sampler, sample_neighbours
from static_layer.settings import GraphSettings
from static_layer.train import sampler_factory

from .conftest import Community

FAN_OUTS = (3, 5)


@pytest.fixture(scope="module", params=[4, 1], ids=["by type", "folded"])
def graph(community: Community, request: pytest.FixtureRequest) -> HeteroGraph:
    merged = community.merged
    settings = GraphSettings(max_degree=0, separate_types=request.param)
    return build_graph(merged.co_interactions, merged.catalogue, settings)


@pytest.fixture(params=["torch", pytest.param("dgl", marks=pytest.mark.dgl)])
def sampler(request: pytest.FixtureRequest, graph: HeteroGraph) -> Sampler:
    if request.param == "dgl":
        pytest.importorskip("dgl", reason="the dgl extra is not installed")
    return sampler_factory(request.param)(graph, FAN_OUTS, torch.device("cpu"))


def drawn(block: Block, graph: HeteroGraph) -> dict[tuple[int, int], list[int]]:
    """(row of target, kind of neighbours) -> rows of the neighbours in the block."""
    result = {}
    for relation in block.relations:
        for number, target in enumerate(relation.targets.tolist()):
            row = int(block.sources[target])
            assert graph.groups[row] == relation.target_group
            own = relation.indices[relation.indptr[number] : relation.indptr[number + 1]].long()
            result[row, relation.source_kind] = block.sources[relation.sources[own]].tolist()
    return result


def neighbours(graph: HeteroGraph, row: int, neighbour_type: int) -> set[int]:
    rows = graph.adjacency[neighbour_type]
    return set(rows.indices[rows.indptr[row] : rows.indptr[row + 1]].tolist())


def test_a_target_gets_all_its_neighbours_or_as_many_as_the_fan_out(
    sampler: Sampler, graph: HeteroGraph
) -> None:
    rows = torch.tensor([7, 3, 100, 42])
    blocks = sampler.blocks(rows, torch.Generator().manual_seed(0))
    for block, fan_out in zip(blocks, FAN_OUTS, strict=True):
        got = drawn(block, graph)
        for row in block.sources[: block.n_targets].tolist():
            for neighbour_type in range(len(graph.adjacency)):
                mine = got.get((row, neighbour_type), [])
                true = neighbours(graph, row, neighbour_type)
                assert set(mine) <= true
                assert len(mine) == len(set(mine)) == min(len(true), fan_out)


def test_blocks_chain_from_the_input_to_the_rows_asked_for(sampler: Sampler) -> None:
    rows = torch.tensor([9, 1, 5])
    first, second = sampler.blocks(rows, torch.Generator().manual_seed(0))
    assert second.sources[:3].tolist() == [9, 1, 5]
    assert second.n_targets == 3
    assert first.n_targets == len(second.sources)
    assert (first.sources[: first.n_targets] == second.sources).all()
    assert len(first.sources.unique()) == len(first.sources)


def test_equal_seeds_draw_equal_blocks_and_each_call_draws_anew(sampler: Sampler) -> None:
    rows = torch.arange(60)

    def draw(generator: torch.Generator) -> list[list[int]]:
        return [
            relation.indices.tolist() for relation in sampler.blocks(rows, generator)[1].relations
        ]

    generator = torch.Generator().manual_seed(1)
    first, second = draw(generator), draw(generator)
    assert first != second
    assert first == draw(torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fan_out", [1, 4, 9])
@pytest.mark.parametrize("name", ["torch", pytest.param("dgl", marks=pytest.mark.dgl)])
def test_every_neighbour_is_equally_likely(name: str, fan_out: int, graph: HeteroGraph) -> None:
    """The definition: all neighbours where they are few, else a uniform draw of `fan_out`.

    A neighbour among d is drawn in T rounds with variance T * k/d * (1 - k/d). With the factor
    (d - 1) / d, since the counts of a row sum to T * k, the squares sum to chi-square of d - 1.
    """
    if name == "dgl":
        pytest.importorskip("dgl", reason="the dgl extra is not installed")
    sampler = sampler_factory(name)(graph, (fan_out,), torch.device("cpu"))
    generator, rounds = torch.Generator().manual_seed(2), 150
    rows = torch.arange(0, graph.nodes, 6)
    seen = np.zeros((graph.nodes, graph.nodes))
    for _ in range(rounds):
        for (row, _), mine in drawn(sampler.blocks(rows, generator)[0], graph).items():
            seen[row, mine] += 1
    square = freedom = 0.0
    for row in rows.tolist():
        for neighbour_type in range(len(graph.type_names)):
            mine = sorted(neighbours(graph, row, neighbour_type))
            degree, share = len(mine), fan_out / max(len(mine), 1)
            if share >= 1:
                assert (seen[row, mine] == rounds).all()
                continue
            variance = rounds * share * (1 - share)
            squares = float(((seen[row, mine] - rounds * share) ** 2).sum())
            square += squares / variance * (degree - 1) / degree
            freedom += degree - 1
    assert freedom > 500
    # Neither further from uniform than chance has it, nor nearer (a draw that takes turns).
    assert 0.005 < stats.chi2(freedom).cdf(square) < 0.995


@pytest.mark.dgl
def test_dgl_and_torch_draw_from_the_same_distribution(graph: HeteroGraph) -> None:
    pytest.importorskip("dgl", reason="the dgl extra is not installed")
    rows = torch.arange(0, graph.nodes, 4)
    counts = []
    for name in ("torch", "dgl"):
        sampler = sampler_factory(name)(graph, (5,), torch.device("cpu"))
        generator = torch.Generator().manual_seed(3)
        seen = np.zeros((graph.nodes, graph.nodes), dtype=int)
        for _ in range(150):
            for (row, _), mine in drawn(sampler.blocks(rows, generator)[0], graph).items():
                seen[row, mine] += 1
        counts.append(seen)
    edges = (counts[0] + counts[1]) > 0
    table = np.stack([counts[0][edges], counts[1][edges]])
    assert table[0].sum() == table[1].sum()
    assert stats.chi2_contingency(table).pvalue > 0.01


def test_every_subset_of_the_neighbours_is_equally_likely() -> None:
    indptr, indices = torch.tensor([0, 5]), torch.arange(5, dtype=torch.int32)
    rows = torch.zeros(4000, dtype=torch.int64)
    lengths, picks = sample_neighbours(indptr, indices, rows, 2, torch.Generator().manual_seed(0))
    assert (lengths == 2).all()
    subsets = picks.view(-1, 2).sort(dim=1).values
    codes, counts = (subsets[:, 0] * 5 + subsets[:, 1]).unique(return_counts=True)
    assert len(codes) == 10
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_fan_out_zero_takes_every_neighbour(graph: HeteroGraph) -> None:
    rows = torch.tensor([11, 2])
    (block,) = CsrSampler(graph, (0,)).blocks(rows, torch.Generator())
    got = drawn(block, graph)
    for row in (11, 2):
        for neighbour_type in (0, 1):
            assert set(got.get((row, neighbour_type), [])) == neighbours(graph, row, neighbour_type)
