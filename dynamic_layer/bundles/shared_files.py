"""Files of a bundle whose content bundles of the same items share: read once, then handed on.

A bundle that follows has other towers, vectors and demand. Items' features and names stay while no
item comes, and item-item weights until enough events came. They are most of a bundle's bytes: a
worker takes them from the bundle that it serves instead of downloading, checking and mapping them
once more. Sizes and sha256 in the manifests of the artifact store tell which are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynamic_layer.items.features import ItemFeatures

__all__ = [
    "FEATURES",
    "ITEMS",
    "WEIGHTS",
    "ItemTable",
    "features_in",
    "save_features",
    "unchanged_files",
]

FEATURES = "features.safetensors"
ITEMS = "items.parquet"
WEIGHTS = "weights.safetensors"
_SHARED = (FEATURES, ITEMS, WEIGHTS)
_PREFIX = "features."


def unchanged_files(manifest: Mapping[str, Any], before: Mapping[str, Any]) -> frozenset[str]:
    """Return the files of one artifact's manifest that are byte for byte those of another.

    Only of files that bundles share; none where a bundle is not from an artifact store.

    >>> files = {ITEMS: {"bytes": 1, "sha256": "a"}, FEATURES: {"bytes": 2, "sha256": "b"}}
    >>> later = files | {FEATURES: {"bytes": 2, "sha256": "c"}}
    >>> sorted(unchanged_files({"files": later}, {"files": files}))
    ['items.parquet']
    """
    now, then = manifest.get("files", {}), before.get("files", {})
    return frozenset(name for name in _SHARED if name in now and now[name] == then.get(name))


@dataclass(frozen=True, kw_only=True)
class ItemTable:
    """Names of a bundle's `n` items; see `DynamicBundle`."""

    item_keys: NDArray[np.uint64]
    item_ids: list[str]
    item_types: list[str]
    titles: list[str | None]

    @classmethod
    def of(cls, bundle: "ItemTable | Any") -> Self:
        """Return the names that a bundle has, not copied."""
        return cls(**{field.name: getattr(bundle, field.name) for field in fields(cls)})

    def save(self, folder: Path) -> None:
        """Write the names to a bundle's folder."""
        pl.DataFrame(
            {
                "item_key": pl.Series(self.item_keys, dtype=pl.UInt64),
                "item_id": pl.Series(self.item_ids, dtype=pl.String),
                "item_type": pl.Series(self.item_types, dtype=pl.String),
                "title": pl.Series(self.titles, dtype=pl.String),
            }
        ).write_parquet(folder / ITEMS)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        items = pl.read_parquet(folder / ITEMS)
        return cls(
            item_keys=items["item_key"].to_numpy(),
            item_ids=items["item_id"].to_list(),
            item_types=items["item_type"].to_list(),
            titles=items["title"].to_list(),
        )


def save_features(features: ItemFeatures, folder: Path) -> None:
    """Write items' features to a bundle's folder."""
    columns = {f"{_PREFIX}{name}": column.contiguous() for name, column in vars(features).items()}
    save_file(columns, folder / FEATURES)


def features_in(folder: Path, columns: Mapping[str, Tensor]) -> ItemFeatures:
    """Read what `save_features` wrote. Raises KeyError where a feature is missing.

    columns: the other columns of items. Earlier versions' bundles have the features among them.
    """
    file = folder / FEATURES
    found = load_file(file) if file.exists() else columns
    return ItemFeatures(**{f.name: found[f"{_PREFIX}{f.name}"] for f in fields(ItemFeatures)})
