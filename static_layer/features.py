"""The model's input: text and structure of the rows that a batch asks for, never of all items.

Structure is where an item stands in the graph (ours, not the papers'). Two items with like texts
and like-sounding neighbours look the same to a network that is fed by text alone, however
different the audiences. A few leading eigenvectors of the graph tell such items apart. Items
without edges have the zero vector.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from static_layer.graph import HeteroGraph
from static_layer.hgnn import HGNN
from static_layer.tuned_text import FreshText

_AT_ONCE = 16_384  # rows put together at once: what lies between text and input stays small


class NodeFeatures:
    """Text and structure of every item, f32[dt + ds] in the form that `HGNN.features` gives.

    On the CPU the parts stay where they are: text may be float16 in a memory-mapped file, of
    which only the rows asked for are read. An accelerator holds both parts.
    """

    def __init__(
        self,
        model: HGNN,
        text: NDArray[np.floating],
        structure: NDArray[np.float32],
        device: torch.device | str = "cpu",
    ) -> None:
        """text: f16 or f32[n, dt], unit vectors; structure: f32[n, ds], both by graph row."""
        self._model = model
        self._text = torch.from_numpy(text).to(device)
        self._structure = torch.from_numpy(structure).to(device)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._text)

    def renew(self, text: NDArray[np.floating]) -> None:
        """Take other text vectors of all items, f16 or f32[n, dt]."""
        self._text = torch.from_numpy(text).to(self._structure.device)

    def rows(self, rows: Tensor, fresh: FreshText | None = None) -> Tensor:
        """Return the input f32[m, dt + ds] of rows i64[m], with fresh text where there is any."""
        width = self._text.shape[1] + self._structure.shape[1]
        result = torch.empty(len(rows), width, device=self._text.device)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            result[start : start + _AT_ONCE] = self._model.features(
                self.text(part, fresh), self._structure[part]
            )
        return result

    def text(self, rows: Tensor, fresh: FreshText | None = None) -> Tensor:
        """Return the text vectors f32[m, dt] of rows i64[m], fresh ones where there are any."""
        text = self._text[rows].float()
        return text if fresh is None else fresh.over(text, rows)


_OVERSAMPLE = 16  # further directions that the iteration carries, dropped at the end
_CHUNK = 65_536  # rows whose products are summed in double precision at once
_ROUNDS = 6  # of subspace iteration; the vectors are features, four digits are not needed


def structural_features(graph: HeteroGraph, width: int, *, seed: int) -> NDArray[np.float32]:
    """Return f32[n, width]: the leading eigenvectors of the normalised co-interaction matrix.

    The matrix is count_ij / sqrt(strength_i * strength_j), where an item's strength is the sum
    of its counts. Eigenvectors are weighted by the root of their eigenvalue's size; rows have
    length one. A graph smaller than `width` leaves columns of zeros.
    """
    n = graph.nodes
    features = np.zeros((n, width), dtype=np.float32)
    matrix = _normalised(graph)
    size = min(width + _OVERSAMPLE, n)
    if width == 0 or matrix.nnz == 0:
        return features
    basis = np.random.default_rng(seed).standard_normal((n, size), dtype=np.float32)
    for _ in range(_ROUNDS):
        basis = _orthonormal(matrix @ basis)
    values, vectors = np.linalg.eigh((basis.T @ (matrix @ basis)).astype(np.float64))
    leading = np.argsort(-np.abs(values))[:width]
    turned = vectors[:, leading] * np.sqrt(np.abs(values[leading]))
    np.matmul(basis, turned.astype(np.float32), out=features[:, : len(leading)])
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    features[np.diff(matrix.indptr) == 0] = 0.0
    return features


def _orthonormal(basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return orthonormal columns of the same span, f32[n, k]; zeros where the rank is less.

    By the k x k matrix of inner products: a QR of a million rows takes four times as long, and
    the rounds of the iteration forgive the lost digits.
    """
    inner = np.zeros((basis.shape[1], basis.shape[1]))
    for start in range(0, len(basis), _CHUNK):
        part = basis[start : start + _CHUNK].astype(np.float64)
        inner += part.T @ part
    values, vectors = np.linalg.eigh(inner)
    kept = values > values[-1] * 1e-10
    scale = np.where(kept, 1.0, 0.0) / np.sqrt(np.where(kept, values, 1.0))
    return basis @ (vectors * scale).astype(np.float32)


def _normalised(graph: HeteroGraph) -> "sparse.csr_array[np.float32]":
    edges = list(graph.relations.values())
    empty = np.zeros(0, dtype=np.int32)
    left = np.concatenate([empty, *(relation.left for relation in edges)])
    right = np.concatenate([empty, *(relation.right for relation in edges)])
    count = np.concatenate([empty, *(relation.count for relation in edges)]).astype(np.float64)
    strength = np.bincount(left, count, graph.nodes) + np.bincount(right, count, graph.nodes)
    weight = (count / np.sqrt(strength[left] * strength[right])).astype(np.float32)
    ends = (np.concatenate([left, right]), np.concatenate([right, left]))
    return sparse.csr_array((np.tile(weight, 2), ends), shape=(graph.nodes, graph.nodes))
