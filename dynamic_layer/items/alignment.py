"""Turns the vectors of a new static bundle into the space that towers have learned to read.

An HGNN that was trained from new weights has a space of its own: the same items lie in other
directions. Distances within the two are much alike, so a rotation brings most of it back.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.items.features import ItemRows, StaticItems
from static_layer.procrustes import Matrix, procrustes


def turned(vectors: NDArray[Any], rotation: Matrix | None) -> Matrix:
    """Return vectors f32 [n, d] after a rotation f32 [d, d]; None changes nothing."""
    found = np.asarray(vectors, np.float32)
    return found if rotation is None else found @ rotation


def rotation_onto(old_keys: NDArray[np.uint64], old: Matrix, static: StaticItems) -> Matrix | None:
    """Return what turns a new bundle's HGNN vectors onto the old ones, f32 [d, d].

    old: f32 [n, d], of the items with keys old_keys. Items that both have count by the root of
    their users, where the bundle tells these: an item without users has a vector of its text
    alone (measured in benchmarks/RESULTS.md). None where there is nothing to go by: no item in
    common, or vectors of another width.
    """
    place = ItemRows(old_keys)(static.item_keys)
    common = np.flatnonzero(place >= 0)
    if not len(common) or static.hgnn.shape[1] != old.shape[1]:
        return None
    users: NDArray[np.int64] | None = getattr(static, "users", None)
    weight = np.ones(len(common)) if users is None else np.sqrt(users[common])
    return procrustes(static.hgnn[common], old[place[common]], weight) if weight.any() else None
