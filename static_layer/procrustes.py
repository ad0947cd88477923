"""The rotation that brings two sets of vectors nearest to each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def procrustes(new: NDArray[Any], old: NDArray[Any], weight: NDArray[Any]) -> Matrix:
    """Return the orthogonal f32 [d, d] that turns new f32 [n, d] nearest to old f32 [n, d].

    Nearest in the sum of squared distances, weighted by f [n] (Schoenemann 1966).

    >>> quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> bool(np.allclose(procrustes(np.eye(2), np.eye(2) @ quarter, np.ones(2)), quarter))
    True
    """
    product = (new * weight[:, None]).astype(np.float64).T @ old.astype(np.float64)
    left, _, right = np.linalg.svd(product)
    return np.asarray(left @ right, np.float32)
