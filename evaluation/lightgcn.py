"""LightGCN (He et al., SIGIR'20): vectors of users and items, smoothed over who had what."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

from evaluation.baselines import Rows, Scorer, Scores, history
from evaluation.dataset import Dataset
from evaluation.model import Past
from static_layer import Progress, seeded

__all__ = ["lightgcn"]


class _Smooth(torch.autograd.Function):
    """Multiply by a symmetric sparse matrix; so its gradient is the same product."""

    @staticmethod
    def forward(ctx: Any, graph: Tensor, x: Tensor) -> Tensor:
        ctx.graph = graph
        return graph @ x

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor]:
        return None, ctx.graph @ slope


def lightgcn(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    width: int = 64,
    layers: int = 2,
    weight_decay: float = 1e-4,
    learning_rate: float = 5e-3,
    batch: int = 32_768,
    epochs: int = 40,
) -> Scorer:
    """Fit by BPR with one uniform negative a pair, as the paper does.

    A step propagates over the whole graph, so batches are large.
    """
    shape = (len(dataset.users), len(dataset.items))
    x = history(split.train, *shape).tocoo()
    graph = _normalised(x.tocsr())
    with seeded(seed):
        vectors = nn.Parameter(torch.randn(sum(shape), width) * 0.1)
        optimiser = torch.optim.Adam([vectors], lr=learning_rate)
        user, item = (
            torch.from_numpy(x.row.astype(np.int64)),
            torch.from_numpy(x.col.astype(np.int64)),
        )
        for epoch in range(epochs):
            losses = []
            for part in torch.split(torch.randperm(len(user)), batch):
                smooth = _propagate(graph, vectors, layers)
                users, items = smooth[: shape[0]], smooth[shape[0] :]
                other = torch.randint(shape[1], (len(part),))
                u, near, far = users[user[part]], items[item[part]], items[other]
                loss = F.softplus((u * (far - near)).sum(1)).mean()
                own = (
                    vectors[user[part]],
                    vectors[shape[0] + item[part]],
                    vectors[shape[0] + other],
                )
                loss = loss + weight_decay * sum((v**2).sum(1).mean() for v in own) / 2
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                losses.append(float(loss.detach()))
            progress("lightgcn", epoch + 1, epochs, {"loss": float(np.mean(losses))})
        with torch.no_grad():
            final = _propagate(graph, vectors, layers).numpy()
    met = np.asarray(x.sum(axis=0)).ravel() > 0

    def score(users: Rows, items: Rows) -> Scores:
        scores = final[users] @ final[shape[0] + items].T
        scores[:, ~met[items]] = -np.inf  # still where chance put them
        return np.asarray(scores)

    return score


def _normalised(x: sp.csr_array) -> Tensor:
    """The bipartite graph with each edge divided by the root of both degrees, as sparse rows."""
    found = x.tocoo()
    user, item = found.row.astype(np.int64), found.col.astype(np.int64) + x.shape[0]
    both = (np.concatenate([user, item]), np.concatenate([item, user]))
    degree = np.bincount(both[0], minlength=sum(x.shape))
    weight = 1 / np.sqrt(degree[both[0]] * degree[both[1]])
    whole = sp.csr_array((weight.astype(np.float32), both), shape=(len(degree), len(degree)))
    return torch.sparse_csr_tensor(
        torch.from_numpy(whole.indptr.astype(np.int64)),
        torch.from_numpy(whole.indices.astype(np.int64)),
        torch.from_numpy(whole.data),
        size=whole.shape,
        check_invariants=False,
    )


def _propagate(graph: Tensor, vectors: Tensor, layers: int) -> Tensor:
    """Mean of the vectors and of what `layers` steps over the graph make of them."""
    found = [vectors]
    for _ in range(layers):
        found.append(_Smooth.apply(graph, found[-1]))
    return torch.stack(found).mean(dim=0)
