"""Item vectors of the whole graph, layer by layer, from all neighbours instead of a sample."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from static_layer.graph import HeteroGraph
from static_layer.hgnn import HGNN
from static_layer.progress import Progress, silent
from static_layer.sampler import CsrSampler


@torch.no_grad()
def item_vectors(
    model: HGNN,
    graph: HeteroGraph,
    features: NDArray[np.float32],
    *,
    chunk: int = 65_536,
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Return the unit vectors f32[n, output] of all items.

    features is f32[n, ...], the model's input in the order of the graph's rows. A layer is
    finished for all nodes before the next one starts; only `chunk` targets and their
    neighbours are on the model's device at a time, the rest stays in main memory.
    """
    device = next(model.parameters()).device
    model.eval()
    sampler = CsrSampler(graph, fan_outs=(0,))
    generator = torch.Generator()
    h = torch.from_numpy(features)
    for number, layer in enumerate(model.layers):
        done = torch.empty(graph.nodes, layer.own.out_features)  # type: ignore[union-attr,arg-type]
        for start in range(0, graph.nodes, chunk):
            rows = torch.arange(start, min(start + chunk, graph.nodes))
            (block,) = sampler.blocks(rows, generator)
            done[rows] = layer(h[block.sources].to(device), block.to(device)).cpu()
            progress(
                "vectors", number * graph.nodes + int(rows[-1]) + 1, len(model.layers) * graph.nodes
            )
        h = done
    return functional.normalize(h, dim=1).numpy()
