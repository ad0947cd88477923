"""Why an item stands in a user's list, and what is near: read from one recommender."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.serving.rankings import Ranking, UserState
from dynamic_layer.serving.recommender import Recommender

__all__ = ["Explanation", "explain", "search_text", "similar"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an item stands where it stands.

    affinity:   cosine of user and item in the towers' space.
    popularity: what recent demand adds to the score.
    cold:       nobody had met the item when the bundle was made.
    nearest:    (item key, cosine) of the nearest items of the history, nearest first, by the
                HGNN's vectors (by text where the bundle has no HGNN).
    """

    affinity: float
    popularity: float
    cold: bool
    nearest: tuple[tuple[int, float], ...]


def explain(
    recommender: Recommender,
    user: UserState,
    item_keys: NDArray[np.uint64],
    *,
    nearest: int,
    now_ms: int,
) -> list[Explanation | None]:
    """Return the reasons of items u64 [m]; None for an item that has no vector."""
    rows = recommender.rows(item_keys)
    served = recommender.served_vectors(np.maximum(rows, 0))
    temperature = recommender.bundle.model.temperature
    affinity = served[:, :-1] @ recommender.user_vector(user, now_ms) * temperature
    history = recommender.rows(user.history_item)
    known = np.flatnonzero(history >= 0)
    cosine = _space(recommender, rows) @ _space(recommender, history[known]).T
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :nearest]
    return [
        None
        if rows[m] < 0
        else Explanation(
            affinity=float(affinity[m]),
            popularity=float(served[m, -1]),
            cold=bool(rows[m] >= len(recommender.bundle.item_keys)),
            nearest=tuple(
                (int(user.history_item[known[h]]), float(cosine[m, h])) for h in order[m]
            ),
        )
        for m in range(len(rows))
    ]


def similar(
    recommender: Recommender, item_key: int, item_types: Sequence[str], k: int
) -> Ranking | None:
    """Return the items nearest to one, by cosine in the towers' space; None if it is unknown."""
    rows = recommender.rows(np.array([item_key], np.uint64))
    if rows[0] < 0:
        return None
    vectors = recommender.served_vectors(rows)[:, :-1]
    return recommender.nearest(vectors, item_types, k, rows[:, None])[0]


def search_text(
    recommender: Recommender, text: NDArray[np.float32], item_types: Sequence[str], k: int
) -> Ranking:
    """Return the items nearest to a text f32 [dt], best first.

    The text is placed in the shared space as an item that nobody has met, once in each type's way.
    """
    bundle = recommender.bundle
    types = [name for name in bundle.types if not item_types or name in item_types]
    if not types:
        return recommender.ranking([], np.zeros(0, np.float32))
    _, vectors = bundle.embed(
        item_types=types,
        languages=[None] * len(types),
        genres=[None] * len(types),
        text=np.repeat(text[None, :], len(types), axis=0),
    )
    found = [
        recommender.nearest(vectors[place : place + 1], [name], k)[0]
        for place, name in enumerate(types)
    ]
    rows = [row for ranking in found for row in ranking.rows]
    scores = np.concatenate([ranking.scores for ranking in found])
    best = np.argsort(-scores, kind="stable")[:k]
    return recommender.ranking([rows[place] for place in best], scores[best])


def _space(recommender: Recommender, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return unit vectors f32 [m, d]: the HGNN's part of the content, or all of it."""
    bundle = recommender.bundle
    first = bundle.hgnn.text_width if bundle.hgnn is not None else 0
    content = recommender.features.content.numpy()[np.maximum(rows, 0), first:]
    norm = np.linalg.norm(content, axis=1, keepdims=True)
    return np.asarray(content / np.maximum(norm, 1e-9), np.float32)
