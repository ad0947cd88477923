"""What a sampler hands to the model: the part of the graph that one layer computes on."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class RelationBlock:
    """Messages of one relation from source nodes of one kind to target nodes of one group.

    target_group, source_kind: see HeteroGraph.groups and HeteroGraph.adjacency.
    targets: i64[t], places among the block's targets; each has at least one neighbour.
    sources: i64[s], places among the block's sources: the nodes that send.
    indptr:  i64[t + 1] and
    indices: i32[...], the neighbours of each target, as places in `sources`.
    """

    target_group: int
    source_kind: int
    targets: Tensor
    sources: Tensor
    indptr: Tensor
    indices: Tensor

    def to(self, device: torch.device) -> "RelationBlock":
        """Return the same relation on another device."""
        return replace(
            self,
            targets=self.targets.to(device),
            sources=self.sources.to(device),
            indptr=self.indptr.to(device),
            indices=self.indices.to(device),
        )


@dataclass(frozen=True)
class Block:
    """The bipartite graph of one layer.

    sources:   i64[n], row numbers in the graph; the first `n_targets` are the targets.
    n_targets: nodes that the layer computes.
    relations: at most one for each target group and source kind.
    types:     i64[n], item types of the sources.
    """

    sources: Tensor
    n_targets: int
    relations: tuple[RelationBlock, ...]
    types: Tensor

    def to(self, device: torch.device) -> "Block":
        """Return the same block on another device."""
        relations = tuple(relation.to(device) for relation in self.relations)
        return Block(self.sources.to(device), self.n_targets, relations, self.types.to(device))


def edgeless(n: int, device: torch.device | str = "cpu") -> Block:
    """Return a block of `n` nodes without neighbours; their types are not read."""
    rows = torch.arange(n, device=device)
    return Block(rows, n, (), torch.zeros_like(rows))
