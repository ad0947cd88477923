"""Baselines: what a model has to beat. Each is a `Scorer`: users and item rows to scores."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from evaluation.dataset import Interactions
from evaluation.split import DAY_MS

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]
Scorer = Callable[[Rows, Rows], Scores]
"""Scores f[users, items] for user rows i64[users] and item rows i64[items]; greater is better."""


def popularity(
    train: Interactions,
    n_items: int,
    *,
    last_days: float | None = None,
    half_life_days: float | None = None,
    per_user: bool = True,
) -> Scorer:
    """Popularity: the number of streams of an item, the same for every user.

    last_days: count only the end of the training span. half_life_days: an event's weight halves
    with this age. Both count back from the last training event.
    per_user: count a user's streams of one item once (its last one), so that the item many people
    chose beats the item few people repeat; False counts every stream.
    """
    events = train.where(train.strong)
    now = int(train.timestamp.max()) if len(train) else 0
    if per_user:
        events = _last_of_each_pair(events, n_items)
    age_days = (now - events.timestamp) / DAY_MS
    weight = np.ones(len(events))
    if last_days is not None:
        weight[age_days >= last_days] = 0.0
    if half_life_days is not None:
        weight *= 0.5 ** (age_days / half_life_days)
    counts = np.bincount(events.item, weights=weight, minlength=n_items)

    def score(users: Rows, items: Rows) -> Scores:
        return np.broadcast_to(counts[items], (len(users), len(items)))

    return score


def item_cf(
    train: Interactions,
    n_users: int,
    n_items: int,
    *,
    half_life_days: float | None = None,
    target_half_life_days: float | None = None,
) -> Scorer:
    """ItemCF: sum over the user's items of cosine(users of item, users of candidate).

    The counts behind the cosine are the co-interactions c(i, j) that the streaming state keeps,
    H^T H of the histories. half_life_days: a history item's weight halves with this age.
    target_half_life_days: a user counts for the candidate with a weight that halves with the age
    of the event on it, so that neighbours in demand today rank before those of last year.
    """
    h = history(train, n_users, n_items)
    together = (h.T @ h).tocsr()
    norm = sp.diags_array(1 / np.sqrt(np.maximum(together.diagonal(), 1)))
    if target_half_life_days is not None:
        together = (h.T @ history(train, n_users, n_items, target_half_life_days)).tocsr()
    together.setdiag(0)
    cosine = (norm @ together @ norm).tocsr()
    weighted = history(train, n_users, n_items, half_life_days)

    def score(users: Rows, items: Rows) -> Scores:
        # All columns, then those that are asked for: slicing the matrix would cost far more.
        return np.asarray((weighted[users] @ cosine).toarray()[:, items])

    return score


def vector_knn(
    train: Interactions,
    vectors: npt.NDArray[np.floating],
    n_users: int,
    *,
    half_life_days: float | None = None,
) -> Scorer:
    """Vector-KNN: dot of the mean vector of the user's items and the candidate's vector.

    vectors: f[n_items, d], L2-normalised: text vectors make the papers' LLM-KNN, HGNN vectors
    their HGNN row. Users without history score 0 everywhere.
    """
    items = history(train, n_users, len(vectors), half_life_days)
    total = np.asarray(items.sum(axis=1)).ravel()
    means = (items @ vectors.astype(np.float32)) / np.maximum(total, 1e-9)[:, None]

    def score(users: Rows, items: Rows) -> Scores:
        return np.asarray(means[users] @ vectors[items].astype(np.float32).T)

    return score


def _last_of_each_pair(events: Interactions, n_items: int) -> Interactions:
    code = events.user * n_items + events.item
    _, last = np.unique(code[::-1], return_index=True)
    rows = np.zeros(len(events), dtype=bool)
    rows[len(events) - 1 - last] = True
    return events.where(rows)


def history(
    train: Interactions, n_users: int, n_items: int, half_life_days: float | None = None
) -> sp.csr_array:
    """Users' items, one entry a pair, f32[users, items]: 1, or halved with its last event's age.

    All kinds of events count. Ages count back from the last training event.
    """
    last = _last_of_each_pair(train, n_items)
    weight = np.ones(len(last), dtype=np.float32)
    if half_life_days is not None:
        age_days = (int(train.timestamp.max()) - last.timestamp) / DAY_MS
        weight = (0.5 ** (age_days / half_life_days)).astype(np.float32)
    return sp.csr_array((weight, (last.user, last.item)), shape=(n_users, n_items))
