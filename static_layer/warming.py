"""Compiles the kernels of the graph and of the HGNN's aggregation before they are needed."""

import numpy as np
import torch

from static_layer.gather_max import gather_max
from static_layer.graph import heaviest

__all__ = ["compile_graph_kernels"]


def compile_graph_kernels() -> None:
    """Run each kernel of the static layer once, on a graph of two edges.

    Compiled code is cached beside the source (numba's cache): some seconds the first time after an
    installation, a tenth of a second from then on.
    """
    ends = np.arange(2, dtype=np.int64)
    heaviest(ends, ends, np.ones(2), 1)
    messages = torch.ones((1, 1), requires_grad=True)
    places = torch.zeros(1, dtype=torch.int32)
    gather_max(messages, torch.arange(2), places).sum().backward()  # type: ignore[no-untyped-call]
