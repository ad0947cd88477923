"""Neighbour sampling: uniform, of fixed size per relation, redrawn at every call."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from static_layer.blocks import Block, RelationBlock
from static_layer.graph import HeteroGraph


class Sampler(Protocol):
    """Draws the blocks on which the vectors of some nodes can be computed."""

    def blocks(self, rows: Tensor, generator: torch.Generator) -> list[Block]:
        """Return one block per layer, input side first; the last one's targets are `rows`.

        rows: i64[t], distinct row numbers. Each target gets, per kind of neighbours, all of its
        neighbours where there are at most the layer's fan-out, else that many drawn
        uniformly without replacement.
        """


class CsrSampler:
    """The sampler in torch alone, on the CPU or an accelerator."""

    def __init__(
        self, graph: HeteroGraph, fan_outs: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        """Copy the adjacency to the device.

        fan_outs: neighbours per relation, one number per layer, input side first; 0 takes
        all of them.
        """
        self.fan_outs = tuple(fan_outs)
        self._types = torch.from_numpy(graph.node_types).to(device)
        self._groups = torch.from_numpy(graph.groups).to(device)
        self._adjacency = [
            (torch.from_numpy(rows.indptr).to(device), torch.from_numpy(rows.indices).to(device))
            for rows in graph.adjacency
        ]
        self._place = torch.empty(graph.nodes, dtype=torch.int64, device=device)

    def blocks(self, rows: Tensor, generator: torch.Generator) -> list[Block]:
        """See Sampler."""
        blocks: list[Block] = []
        for fan_out in reversed(self.fan_outs):
            blocks.append(self._block(rows, fan_out, generator))
            rows = blocks[-1].sources
        return blocks[::-1]

    def _block(self, rows: Tensor, fan_out: int, generator: torch.Generator) -> Block:
        drawn = [
            sample_neighbours(indptr, indices, rows, fan_out, generator)
            for indptr, indices in self._adjacency
        ]
        return assemble_block(rows, self._groups, self._types, drawn, self._place)


def assemble_block(
    rows: Tensor,
    groups: Tensor,
    types: Tensor,
    drawn: Sequence[tuple[Tensor, Tensor]],
    place: Tensor,
) -> Block:
    """Put drawn neighbours together to a block.

    rows: i64[t], the targets; groups, types: i64[nodes], see HeteroGraph; drawn: per kind of
    neighbours the number of neighbours i64[t] of each target and their rows i64[...];
    place: i64[nodes], scratch.
    """
    seen = torch.zeros(len(place), dtype=torch.bool, device=rows.device)
    for _, neighbours in drawn:
        seen[neighbours] = True
    seen[rows] = False
    sources = torch.cat([rows, seen.nonzero().squeeze(1)])
    place[sources] = torch.arange(len(sources), device=rows.device)
    relations: list[RelationBlock] = []
    target_groups = groups[rows]
    for source_kind, (lengths, neighbours) in enumerate(drawn):
        for target_group in torch.unique(target_groups[lengths > 0]).tolist():
            chosen = (target_groups == target_group) & (lengths > 0)
            senders = neighbours[chosen.repeat_interleave(lengths)]
            seen.zero_()
            seen[senders] = True
            sending = seen.nonzero().squeeze(1)
            # `place` serves twice; the block's own numbering is read before it is replaced.
            sources_of_relation = place[sending].clone()
            place[sending] = torch.arange(len(sending), device=rows.device)
            indices = place[senders].to(torch.int32)
            place[sending] = sources_of_relation
            indptr = run_starts(lengths[chosen])
            relations.append(
                RelationBlock(
                    target_group,
                    source_kind,
                    chosen.nonzero().squeeze(1),
                    sources_of_relation,
                    indptr,
                    indices,
                )
            )
    return Block(sources, len(rows), tuple(relations), types[sources])


def run_starts(lengths: Tensor) -> Tensor:
    """Return i64[n + 1]: where each of n runs of the given lengths starts, and the end."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def sample_neighbours(
    indptr: Tensor, indices: Tensor, rows: Tensor, fan_out: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw up to `fan_out` (0: all) neighbours of each row, without replacement.

    indptr: i64[nodes + 1], indices: i32[...], rows: i64[t]. Returns how many each row got,
    i64[t], and their row numbers, i64[sum], grouped by row. Floyd's algorithm, one vectorised
    step per neighbour: every subset of the right size is equally likely.
    """
    start = indptr[rows]
    degree = indptr[rows + 1] - start
    if fan_out == 0:
        offsets = torch.arange(int(degree.sum()), device=rows.device)
        offsets -= (degree.cumsum(0) - degree).repeat_interleave(degree)
        return degree, indices[start.repeat_interleave(degree) + offsets].long()
    columns = torch.arange(fan_out, device=rows.device)
    picks = columns.repeat(len(rows), 1)
    large = (degree > fan_out).nonzero().squeeze(1)
    drawn = picks[large]
    uniform = torch.rand(drawn.shape, generator=generator, device=rows.device, dtype=torch.float64)
    for column in range(fan_out):
        last = degree[large] - fan_out + column
        pick = (uniform[:, column] * (last + 1)).long()
        taken = (drawn[:, :column] == pick[:, None]).any(dim=1)
        drawn[:, column] = torch.where(taken, last, pick)
    picks[large] = drawn
    lengths = degree.clamp(max=fan_out)
    valid = columns < lengths[:, None]
    return lengths, indices[(start[:, None] + picks)[valid]].long()
