"""A map of the item vectors: two coordinates per item, computed once per bundle."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.bundles.models import Models
from dynamic_layer import DynamicBundle

__all__ = ["Space", "principal_plane"]

#: Items on the map, at most; a browser draws so many points without effort.
POINTS = 20_000


#: The catalogue's entry of an item by type and id, None if there is none.
Entry = Callable[[str, str], Mapping[str, Any] | None]


class Space:
    """The map of the bundle in use; a new one is made when another is served."""

    def __init__(self, models: Models, entry: Entry) -> None:
        """Read the bundle that `models` serves, and genres and ages from `entry`."""
        self._models, self._entry = models, entry
        # Name of the bundle, and its map: channels number their generations apart.
        self._made: tuple[str | None, bytes] | None = None
        self._making = asyncio.Lock()

    async def map(self) -> bytes | None:
        """The map as JSON; None while no bundle is loaded."""
        async with self._making:
            recommender, name = self._models.recommender, self._models.serving
            if recommender is None:
                return None
            bundle = recommender.bundle
            if self._made is None or self._made[0] != name:
                self._made = name, await asyncio.to_thread(_drawn, bundle, self._entry)
            return self._made[1]


def principal_plane(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Project vectors f32 [n, d] on their two principal components, f32 [n, 2], in -1..1.

    Also returned: the share of the variance that the plane shows. Signs are fixed, so that equal
    vectors give an equal map.
    """
    centred = vectors - vectors.mean(axis=0, keepdims=True)
    values, axes = np.linalg.eigh(np.cov(centred, rowvar=False).reshape(vectors.shape[1], -1))
    plane = axes[:, ::-1][:, :2]
    plane = plane * np.sign(plane[np.abs(plane).argmax(axis=0), range(plane.shape[1])])
    places = centred @ plane
    shown = float(values[::-1][:2].sum() / max(float(values.sum()), 1e-12))
    return np.asarray(places / max(float(np.abs(places).max()), 1e-12), np.float32), shown


def _drawn(bundle: DynamicBundle, entry: Entry) -> bytes:
    # The most wanted ones, if not all.
    rows = np.sort(np.argsort(-bundle.popularity[0], kind="stable")[:POINTS])
    places, shown = principal_plane(bundle.vectors[rows])
    entries = [entry(bundle.item_types[row], bundle.item_ids[row]) or {} for row in rows]
    number = {name: place for place, name in enumerate(bundle.types)}
    return msgspec.json.encode(
        {
            "generation": bundle.generation,
            "items": len(bundle.item_ids),
            "shown_variance": round(shown, 4),
            "types": bundle.types,
            "x": np.round(places[:, 0], 4).tolist(),
            "y": np.round(places[:, 1], 4).tolist(),
            "type": [number[bundle.item_types[row]] for row in rows],
            "id": [bundle.item_ids[row] for row in rows],
            "genre": [next(iter(found.get("genres") or ()), None) for found in entries],
            "published_at": [found.get("published_at") for found in entries],
            "title": [bundle.titles[row] or bundle.item_ids[row] for row in rows],
        }
    )
