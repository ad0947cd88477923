"""The neighbour sampler on DGL 1.1.3 (Python 3.11, CPU): the same job behind the same interface.

The only module that imports DGL: its newest releases do not load with current torch, and
upstream has stopped.
"""

import os
from collections.abc import Sequence

# DGL asks for a backend at its first import, and writes the answer into the home directory.
os.environ.setdefault("DGLBACKEND", "pytorch")

import dgl
import numpy as np
import torch
from torch import Tensor

from static_layer.blocks import Block
from static_layer.graph import HeteroGraph
from static_layer.sampler import assemble_block


class DGLSampler:
    """See static_layer.sampler.Sampler. One DGL graph per kind of neighbours, over all nodes."""

    def __init__(
        self, graph: HeteroGraph, fan_outs: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        """Build the DGL graphs; raises ValueError for a device other than the CPU."""
        if torch.device(device).type != "cpu":
            raise ValueError(f"the DGL sampler runs on the CPU, not on {device}")
        self.fan_outs = tuple(fan_outs)
        self._types = torch.from_numpy(graph.node_types)
        self._node_groups = torch.from_numpy(graph.groups)
        self._place = torch.empty(graph.nodes, dtype=torch.int64)
        self._graphs = []
        for rows in graph.adjacency:
            targets = np.repeat(np.arange(graph.nodes), np.diff(rows.indptr))
            ends = (torch.from_numpy(rows.indices.astype(np.int64)), torch.from_numpy(targets))
            self._graphs.append(dgl.graph(ends, num_nodes=graph.nodes))

    def blocks(self, rows: Tensor, generator: torch.Generator) -> list[Block]:
        """See Sampler. DGL's own generator is seeded from the given one at each call."""
        seed = torch.randint(2**31 - 1, (1,), generator=generator)
        dgl.seed(int(seed))
        blocks: list[Block] = []
        for fan_out in reversed(self.fan_outs):
            drawn = [self._sample(graph, rows, fan_out or -1) for graph in self._graphs]
            blocks.append(assemble_block(rows, self._node_groups, self._types, drawn, self._place))
            rows = blocks[-1].sources
        return blocks[::-1]

    def _sample(self, graph: "dgl.DGLGraph", rows: Tensor, fan_out: int) -> tuple[Tensor, Tensor]:
        """Return number i64[t] and rows i64[sum] of the neighbours drawn for each row."""
        sampled = dgl.sampling.sample_neighbors(graph, rows, fan_out)
        sources, targets = sampled.edges()
        order = torch.argsort(targets, stable=True)
        lengths = torch.bincount(targets, minlength=len(self._types))
        # Grouped by ascending target so far; the caller wants them grouped by `rows`.
        starts = torch.cumsum(lengths, 0) - lengths
        mine = lengths[rows]
        offsets = torch.arange(int(mine.sum())) - (mine.cumsum(0) - mine).repeat_interleave(mine)
        places = starts[rows].repeat_interleave(mine) + offsets
        return mine, sources[order][places]
