"""Sparse matrices in one safetensors file: how bundles carry item-item weights."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

_PARTS = ("indptr", "indices", "data", "shape")


def save_sparse(matrices: Mapping[str, sp.csr_array], file: Path) -> None:
    """Write f32 matrices by name (without a dot in it) as compressed rows."""
    save_file(
        {
            f"{name}.{part}": np.ascontiguousarray(value)
            for name, matrix in matrices.items()
            for part, value in zip(
                _PARTS,
                (
                    matrix.indptr.astype(np.int32),
                    matrix.indices.astype(np.int32),
                    matrix.data.astype(np.float32),
                    np.array(matrix.shape, np.int64),
                ),
                strict=True,
            )
        },
        file,
    )


def load_sparse(file: Path) -> dict[str, sp.csr_array]:
    """Read what `save_sparse` wrote; none where the file is missing.

    Raises ValueError or KeyError where the parts do not fit each other.
    """
    if not file.exists():
        return {}
    parts = load_file(file)
    found = {}
    for name in sorted({key.split(".")[0] for key in parts}):
        indptr, indices, data, shape = (parts[f"{name}.{part}"] for part in _PARTS)
        matrix = sp.csr_array((data, indices, indptr), shape=tuple(shape.tolist()))
        # Kernels read without checking: a torn file must not make them read beside the arrays.
        matrix.check_format(full_check=True)
        found[name] = matrix
    return found
