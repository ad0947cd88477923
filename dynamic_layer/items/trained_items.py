"""The items that towers learn on: a static bundle, as they read it.

An HGNN that was trained from new weights has a space of its own: the same items lie in other
directions. Distances within the two are much alike, so a rotation brings most of it back.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.items.features import ItemRows, StaticItems, item_features
from dynamic_layer.items.grown_items import GrownItems, NewItems, cold_vectors
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


class TrainedItems:
    """A static bundle with its HGNN's vectors turned into the space that the towers know.

    static: the bundle; use_hgnn: whether its vectors are read at all; rotation: f32 [d, d], None
    where they are read as they are.
    types: names in the order of their numbers; rows: of item keys; features: as towers read them.
    text_width: columns of the features' content that are text.
    """

    def __init__(
        self, static: StaticItems, *, use_hgnn: bool, rotation: Matrix | None = None
    ) -> None:
        """See above; without `use_hgnn` there is nothing to turn."""
        self.static, self.rotation = static, rotation if use_hgnn else None
        self.use_hgnn = use_hgnn
        self.types = sorted(set(static.item_types))
        self.text_width = int(static.text.shape[1])
        self.rows = ItemRows(static.item_keys)
        self.features = item_features(
            types=self.types,
            item_types=static.item_types,
            languages=static.languages,
            genres=static.genres,
            text=static.text,
            hgnn=turned(static.hgnn, rotation) if use_hgnn else None,
        )

    @property
    def name(self) -> Any:
        """Name of the static bundle; None where it has none."""
        return self.static.manifest.get("name")

    @property
    def static_items(self) -> int:
        """Number of the static bundle's own items; new ones have the rows behind them."""
        own = self.static.base if isinstance(self.static, GrownItems) else self.static
        return len(own.item_keys)

    def fits(self, other: "TrainedItems") -> bool:
        """Whether towers that read these can read the others, once they know their types."""
        width = self.features.content.shape[1]
        common = set(self.types) & set(other.types)
        return bool(common) and width == other.features.content.shape[1]

    def turned_by(self, rotation: Matrix | None) -> "TrainedItems":
        """Return the same bundle with its vectors read after another rotation."""
        return TrainedItems(self.static, use_hgnn=self.use_hgnn, rotation=rotation)

    def next(self, static: StaticItems, *, align: bool) -> "TrainedItems":
        """Return the items of a newer bundle; align: turn its vectors onto these."""
        rotation = None
        # New items have no edges yet: their vectors say nothing of the space of the graph.
        own = self.static.base if isinstance(self.static, GrownItems) else self.static
        if align and self.use_hgnn:
            here = turned(own.hgnn, self.rotation)
            rotation = rotation_onto(own.item_keys, here, static)
        found = TrainedItems(static, use_hgnn=self.use_hgnn, rotation=rotation)
        # Fresh towers read any space, and the bundle's own needs no matrix.
        return found if rotation is None or self.fits(found) else found.turned_by(None)

    def grown(self, new: NewItems) -> "TrainedItems":
        """Return these items with new ones behind them, as workers embed them.

        Items that are known already and items of types that the towers do not know are left out.
        """
        new = new.addable(self.rows, self.types)
        if not len(new):
            return self
        cold = None
        if self.use_hgnn:
            model = getattr(self.static, "model", None)
            cold = turned(cold_vectors(model, new.text), self.rotation)
        found = copy.copy(self)
        found.static = GrownItems(self.static, new)
        found.rows = ItemRows(found.static.item_keys)
        found.features = self.features.join(
            item_features(
                types=self.types,
                item_types=new.item_types,
                languages=new.languages,
                genres=new.genres,
                text=new.text,
                hgnn=cold,
            )
        )
        return found

    def graph_ends(self) -> dict[str, dict[str, int]]:
        """Return by topic and partition the offset from which on the graph holds no event."""
        return {
            topic: {str(partition): int(end) for partition, end in ends.items()}
            for topic, ends in self.static.manifest.get("offsets", {}).items()
        }
