"""Item vectors and queries like those of trained towers, in any number.

Drawn to look like the towers of the demo's world (5,000 items, 128 dimensions): one direction that
all share, genres, topics of unequal size in them, items around those; how much each direction takes
falls off as it does there. Unit length; behind it the popularity, in units of cosine. There and
here (5,000 items): cosine to the 1st, 10th and 100th neighbour 0.88, 0.82, 0.75 and 0.92, 0.86,
0.75; to the median item 0.37 and 0.41; share of the variance in the first 8, 32, 64 directions
0.56, 0.87, 0.97 and 0.60, 0.91, 0.98. Inverted lists have it harder here: of 71, a recall@10 of
0.99 needs 27 % of the items there and 59 % here (users of up to three items in both).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ItemSpace"]

_GENRES, _TOPICS = 24, 600
_COMMON, _GENRE, _TOPIC, _ITEM = 0.62, 0.58, 0.38, 0.36
_TEMPERATURE = 0.08


@dataclass(frozen=True)
class ItemSpace:
    """A mixture from which items and users are drawn; d is the towers' width.

    common: f32 [d], what all share; topics: f32 [topics, d]; basis: f32 [d, d], rows by how much
    of the variance they take, scaled to it.
    """

    common: NDArray[np.float32]
    topics: NDArray[np.float32]
    basis: NDArray[np.float32]

    @classmethod
    def draw(cls, width: int, seed: int) -> "ItemSpace":
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((width, width)))[0]
        # Fitted to the spectrum of the demo's items.
        variance = np.exp(-((np.arange(width) / 2.305) ** 0.473))
        basis *= np.sqrt(variance / variance.sum())[:, None]
        genres = rng.standard_normal((_GENRES, width)) @ basis
        topics = _GENRE * genres[rng.integers(_GENRES, size=_TOPICS)]
        topics = topics + _TOPIC * rng.standard_normal((_TOPICS, width)) @ basis
        common = _unit(rng.standard_normal(width))
        return cls(common, topics.astype(np.float32), basis.astype(np.float32))

    def items(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return unit vectors with the popularity behind them, f32 [n, d + 1]."""
        topic = self.topics_of_items(n, rng)
        vectors = np.empty((n, len(self.common) + 1), np.float32)
        vectors[:, :-1] = self.around(topic, rng)
        vectors[:, -1] = _TEMPERATURE * rng.gumbel(0.5, 0.6, n)
        return vectors

    def topics_of_items(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a topic for each of `n` items, i64 [n]; topics are of unequal size."""
        share = 1.0 / np.sqrt(np.arange(1, _TOPICS + 1))
        return rng.choice(_TOPICS, n, p=share / share.sum())

    def queries(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return users of one to three topics, f32 [n, d + 1]."""
        topic = rng.integers(_TOPICS, size=(3, n))
        weight = rng.dirichlet((1.0, 0.4, 0.2), n).T.astype(np.float32)
        queries = np.ones((n, len(self.common) + 1), np.float32)
        taste = [w[:, None] * self.around(t, rng) for w, t in zip(weight, topic, strict=True)]
        queries[:, :-1] = _unit(sum(taste))
        queries[:, :-1] /= np.float32(_TEMPERATURE)
        queries[:, -1] /= np.float32(_TEMPERATURE)
        return queries

    def around(self, topic: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a unit vector of each topic i64 [n], f32 [n, d]."""
        shape = (len(topic), len(self.common))
        own = rng.standard_normal(shape, dtype=np.float32) @ self.basis
        return _unit(_COMMON * self.common + self.topics[topic] + _ITEM * own)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)
