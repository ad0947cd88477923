"""EASE and iALS: linear models on the matrix of users and items."""

import logging

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import lapack

from evaluation.baselines import Rows, Scorer, Scores, history
from evaluation.dataset import Dataset
from evaluation.model import CannotFit, Past
from static_layer import Progress

__all__ = ["ease", "ials"]

logger = logging.getLogger(__name__)


def ease(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    regularization: float = 200.0,
    half_life_days: float | None = None,
    max_items: int = 12_500,
) -> Scorer:
    """EASE (Steck, WWW'19): the linear item-item model with zero diagonal, in closed form.

    regularization: lambda of the paper. half_life_days: a history item's weight halves with this
    age when scoring. max_items: its matrix is dense, n^2 floats and n^3 steps (12,500 items: 0.6
    GiB, and three minutes on one core); beyond that only the most popular ones are modelled and
    the rest is never listed.
    """
    shape = (len(dataset.users), len(dataset.items))
    x = history(split.train, *shape)
    counts = np.asarray(x.sum(axis=0)).ravel()
    known = np.flatnonzero(counts)
    if len(known) > max_items:
        logger.warning(
            "ease: models the %d most popular of %d items (its matrix is dense)",
            max_items, len(known),
        )  # fmt: skip
        known = known[np.argsort(-counts[known], kind="stable")[:max_items]]
    x = x[:, known]
    gram = np.asfortranarray((x.T @ x).toarray(), dtype=np.float32)
    gram[np.diag_indices(len(known))] += regularization
    factor, wrong = lapack.spotrf(gram, lower=True, overwrite_a=True)
    inverse, also = lapack.spotri(factor, lower=True, overwrite_c=True)
    if wrong or also:
        raise CannotFit(f"EASE's matrix is not positive definite with lambda {regularization:g}")
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    rows = history(split.train, *shape, half_life_days=half_life_days)[:, known]
    progress("ease", 1, 1, {"items": len(known)})

    def score(users: Rows, items: Rows) -> Scores:
        scores = np.full((len(users), shape[1]), -np.inf, np.float32)
        scores[:, known] = rows[users] @ weights
        return scores[:, items]

    return score


def ials(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    factors: int = 128,
    regularization: float = 0.05,
    alpha: float = 10.0,
    iterations: int = 15,
) -> Scorer:
    """iALS (Hu, Koren, Volinsky, ICDM'08) as `implicit` has it.

    alpha: weight of an observed pair. Users and items without events have zero vectors.
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
    except ImportError as error:
        raise CannotFit("ials needs the package implicit: install segue[evaluate]") from error
    x = sp.csr_matrix(history(split.train, len(dataset.users), len(dataset.items)))
    model = AlternatingLeastSquares(
        factors=factors,
        regularization=regularization,
        alpha=alpha,
        iterations=iterations,
        random_state=seed,
    )
    model.fit(
        x,
        show_progress=False,
        callback=lambda step, *_: progress("ials", step + 1, iterations),
    )
    users_had = np.diff(x.indptr) > 0
    user_vectors: npt.NDArray[np.float32] = model.user_factors * users_had[:, None]
    items_had = np.bincount(x.indices, minlength=x.shape[1]) > 0
    item_vectors: npt.NDArray[np.float32] = model.item_factors * items_had[:, None]

    def score(users: Rows, items: Rows) -> Scores:
        return np.asarray(user_vectors[users] @ item_vectors[items].T)

    return score
