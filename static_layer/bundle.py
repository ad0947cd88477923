"""The static bundle: everything that the dynamic layer and the workers need of this layer.

Item-item weights are sparse matrices in one safetensors file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from static_layer.hgnn import HGNN

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
    # Mapped, not copied: the weights of 100,000 items are 130 MB.
    parts = {name: tensor.numpy() for name, tensor in load_tensors(file).items()}
    found = {}
    for name in sorted({key.split(".")[0] for key in parts}):
        indptr, indices, data, shape = (parts[f"{name}.{part}"] for part in _PARTS)
        matrix = sp.csr_array((data, indices, indptr), shape=tuple(shape.tolist()))
        # Kernels read without checking: a torn file must not make them read beside the arrays.
        matrix.check_format(full_check=True)
        found[name] = matrix
    return found


FORMAT = 1
WEIGHTS, COUNTS = "weights.safetensors", "counts.safetensors"
#: Time of items of which the catalogue does not say when they were published.
ALWAYS = np.iinfo(np.int64).min

_ITEM_SCHEMA = pl.Schema(
    {
        "item_key": pl.UInt64(),
        "item_id": pl.String(),
        "item_type": pl.String(),
        "title": pl.String(),
        "language": pl.String(),
        "genres": pl.List(pl.String()),
        "published_at": pl.Int64(),
        "users": pl.Int64(),
        "has_text": pl.Boolean(),
    }
)


class BundleError(RuntimeError):
    """A folder does not hold a static bundle that this version can read."""


@dataclass(frozen=True)
class StaticBundle:
    """Items with their vectors, and the model that makes vectors for new ones.

    items:    one row per item, ascending by item_key; columns item_key, item_id, item_type,
              title, language, genres, published_at, users (i64, users in the window),
              has_text.
    text:     f16[n, dt], unit text vectors; hgnn: f32[n, d], unit HGNN vectors.
    model:    the HGNN, for items that the graph does not have (`cold`).
    manifest: plain JSON: format, name, generation, created_at (ms), offsets, watermark,
              window, settings, settings_hash, text_model, text (`TextEncoder.recipe`; not in
              older bundles), metrics.
    structure: f16[n, ds], what the model read of an item's place in the graph, for the next one to
              go on from; None in older bundles.
    weights:  item-item weights f32[n, n] by name, [source, target]; none in older bundles.
    counts:   item-item counts behind them, f32[n, n] by name, for a trainer that adds later events;
              none in older bundles and where they are many.
    """

    items: pl.DataFrame
    text: NDArray[np.float16]
    hgnn: NDArray[np.float32]
    model: HGNN
    manifest: dict[str, Any]
    weights: dict[str, sp.csr_array] = field(default_factory=dict)
    structure: NDArray[np.float16] | None = None
    counts: dict[str, sp.csr_array] = field(default_factory=dict)

    @cached_property
    def item_keys(self) -> NDArray[np.uint64]:
        """u64[n], ascending."""
        return self.items["item_key"].to_numpy()

    @cached_property
    def item_ids(self) -> list[str]:
        """Identifiers, unique within a type."""
        return self.items["item_id"].to_list()

    @cached_property
    def item_types(self) -> list[str]:
        """Type names."""
        return self.items["item_type"].to_list()

    @cached_property
    def titles(self) -> list[str | None]:
        """Titles, None where the catalogue has none."""
        return self.items["title"].to_list()

    @cached_property
    def languages(self) -> list[str | None]:
        """Languages, None where unknown."""
        return self.items["language"].to_list()

    @cached_property
    def genres(self) -> list[list[str] | None]:
        """Genres, None where unknown."""
        return self.items["genres"].to_list()

    @cached_property
    def published_ms(self) -> NDArray[np.int64]:
        """i64[n], when the items were published, ms UTC; `ALWAYS` where that is unknown."""
        return self.items["published_at"].fill_null(ALWAYS).to_numpy().copy()

    @cached_property
    def users(self) -> NDArray[np.int64]:
        """i64[n], users who interacted with the item inside the window."""
        return self.items["users"].to_numpy()

    @property
    def name(self) -> str:
        """Name of the artefact; names ascend with the time of building."""
        return str(self.manifest["name"])

    @property
    def generation(self) -> int:
        """Number of the bundle, ascending with the time of building."""
        return int(self.manifest["generation"])

    @property
    def offsets(self) -> dict[str, dict[int, int]]:
        """Topic -> partition -> next offset: the graph knows everything below, nothing above."""
        return {
            topic: {int(partition): offset for partition, offset in partitions.items()}
            for topic, partitions in self.manifest["offsets"].items()
        }

    def rows(self, item_keys: Sequence[int] | NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the row of each item key, -1 where the bundle does not have it; i64[m]."""
        keys = np.asarray(item_keys, dtype=np.uint64)
        if not len(self.item_keys):
            return np.full(len(keys), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.item_keys, keys), len(self.item_keys) - 1)
        return np.where(self.item_keys[place] == keys, place, -1).astype(np.int64)

    @torch.no_grad()
    def cold(self, text: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return unit HGNN vectors f32[m, d] of items known by their text vectors [m, dt] alone."""
        return self.model.cold(torch.from_numpy(np.asarray(text, dtype=np.float32))).numpy()

    def save(self, folder: Path) -> None:
        """Write the bundle into a folder, created if missing; the manifest comes last."""
        folder.mkdir(parents=True, exist_ok=True)
        self.items.write_parquet(folder / "items.parquet")
        vectors = {"text": self.text, "hgnn": self.hgnn, "structure": self.structure}
        save_file(
            {
                name: np.ascontiguousarray(part)
                for name, part in vectors.items()
                if part is not None
            },
            folder / "vectors.safetensors",
        )
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        save_tensors(weights, folder / "hgnn.safetensors")
        if self.weights:
            save_sparse(self.weights, folder / WEIGHTS)
        if self.counts:
            save_sparse(self.counts, folder / COUNTS)
        manifest = {**self.manifest, "model": self.model.shape}
        text = json.dumps(manifest, indent=1, sort_keys=True)
        (folder / "manifest.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a bundle; raises BundleError for another format or parts that do not fit."""
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(f"{folder} has no readable manifest.json: {error}") from error
        if manifest.get("format") != FORMAT:
            raise BundleError(
                f"{folder} has static bundle format {manifest.get('format')!r}, expected {FORMAT};"
                " build it again with `segue static build`"
            )
        model = HGNN.of_shape(manifest["model"])
        model.load_state_dict(load_tensors(folder / "hgnn.safetensors"))
        model.eval()
        vectors = load_file(folder / "vectors.safetensors")
        items = pl.read_parquet(folder / "items.parquet").match_to_schema(_ITEM_SCHEMA)
        if not items.height == len(vectors["text"]) == len(vectors["hgnn"]):
            raise BundleError(
                f"{folder} has {items.height} items, {len(vectors['text'])} text vectors and"
                f" {len(vectors['hgnn'])} HGNN vectors; expected equal numbers"
            )
        weights, counts = load_sparse(folder / WEIGHTS), load_sparse(folder / COUNTS)
        sizes = {matrix.shape for matrix in (*weights.values(), *counts.values())}
        if sizes - {(items.height, items.height)}:
            raise BundleError(
                f"{folder} has weights or counts that do not fit {items.height} items"
            )
        return cls(
            items, vectors["text"], vectors["hgnn"], model, manifest, weights,
            structure=vectors.get("structure"), counts=counts,
        )  # fmt: skip


def item_frame(
    catalogue: pl.DataFrame, users: NDArray[np.int64], has_text: NDArray[np.bool_]
) -> pl.DataFrame:
    """Return the bundle's item table of a catalogue that is sorted by item_key."""
    known = [
        pl.col(name).cast(kind) if name in catalogue.columns else pl.lit(None, kind).alias(name)
        for name, kind in _ITEM_SCHEMA.items()
        if name not in ("users", "has_text")
    ]
    return catalogue.select(known).with_columns(
        pl.Series("users", users, dtype=pl.Int64), pl.Series("has_text", has_text)
    )
