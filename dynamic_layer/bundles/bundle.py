"""A published two-tower with all that a worker needs to serve it."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynamic_layer.bundles.sequence import ServedSequence
from dynamic_layer.bundles.shared_files import (
    FEATURES,
    ITEMS,
    WEIGHTS,
    ItemTable,
    features_in,
    save_features,
    unchanged_files,
)
from dynamic_layer.errors import CorruptBundle
from dynamic_layer.head.ranking_head import RankingHead
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.items.features import (
    ItemFeatures,
    UserFeatures,
    average_bias,
    item_features,
    unit_texts,
)
from dynamic_layer.items.grown_items import cold_vectors
from dynamic_layer.items.trained_items import turned
from dynamic_layer.popularity.demand import Demand
from dynamic_layer.settings import DynamicSettings, IndexSettings, TowerSettings
from dynamic_layer.towers.two_tower import TwoTower
from static_layer.bundle import load_sparse, save_sparse
from static_layer.hgnn import HGNN
from static_layer.procrustes import Matrix
from static_layer.seeding import undrawn

FORMAT = 1
COLUMNS = "items.safetensors"
_S = TypeVar("_S")


def settings_values(settings: DynamicSettings) -> dict[str, Any]:
    """Return settings as a manifest has them; those of a sequence tower that is off are left out.

    So bundles without one are, byte for byte, what earlier versions made. The live graph changes
    rows between bundles, and no bundle.
    """
    values = dataclasses.asdict(settings)
    del values["live_graph"]
    if not settings.sequence.enabled:
        del values["sequence"]
    return values


def settings_hash(settings: DynamicSettings) -> str:
    """Return a short hash of all settings, equal in every process."""
    text = json.dumps(settings_values(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class DynamicBundle:
    """Towers, item vectors, popularity and index of one generation; `n` items.

    manifest:   JSON values: format, generation, created_at (ms), static (name of the static
                bundle), types, use_hgnn, settings, settings_hash, popularity, metrics; reach (share
                of the lists of a type whose target was a candidate) since there was a head.
    item_keys:  u64 [n]; item_ids, item_types: n strings; titles: n strings or None.
    features:   of the items, as the towers read them.
    model:      the towers.
    hgnn:       the HGNN, for the vectors of items that come later; None without HGNN.
    rotation:   f32 [d, d], turns the HGNN's vectors into the space that the towers read; None where
                they read them as they are.
    vectors:    f32 [n, d], item vectors / temperature would be affinity: unit length.
    bias:       f32 [n], added to affinity: weighted log recent popularity.
    popularity: f32 [n] per market (country bucket; 0 is all), decayed counts of events.
    index:      over `served_vectors`.
    head:       ranks candidates by their features; None where none was trained, or did not win.
    weights:    item-item weights f32 [n, n] by name, [source, target], for candidates and features.
    demand:     as it was when the bundle was made, for workers that know no other; None without a
                head.
    sequence:   the sequence tower; None where none was trained.
    published_ms: i64 [n], of the items; see `times_of`; None where no item has a time.
    """

    manifest: dict[str, Any]
    item_keys: NDArray[np.uint64]
    item_ids: list[str]
    item_types: list[str]
    titles: list[str | None]
    features: ItemFeatures
    model: TwoTower
    hgnn: HGNN | None
    vectors: NDArray[np.float32]
    bias: NDArray[np.float32]
    popularity: dict[int, NDArray[np.float32]]
    index: ItemIndex
    head: RankingHead | None = None
    weights: dict[str, sp.csr_array] = field(default_factory=dict)
    demand: Demand | None = None
    rotation: Matrix | None = None
    sequence: ServedSequence | None = None
    published_ms: NDArray[np.int64] | None = None

    @property
    def generation(self) -> int:
        """Number of the bundle; a later one is greater."""
        return int(self.manifest["generation"])

    @property
    def made(self) -> tuple[int, int]:
        """Generation and time of creation, ms UTC (0 if unknown): one bundle over all channels."""
        return self.generation, int(self.manifest.get("created_at") or 0)

    @property
    def history_cap(self) -> int:
        """History entries that the user tower reads, the newest ones."""
        return int(self.manifest["settings"]["replay"]["history_cap"])

    @property
    def learns_from_impressions(self) -> bool:
        """Whether its trainer reads examples with impressions; those of earlier versions do not."""
        return bool(self.manifest["settings"]["ranking"].get("shown_half_lives_days"))

    @property
    def types(self) -> list[str]:
        """Item types, in the order of their numbers."""
        return list(self.manifest["types"])

    @property
    def half_lives_days(self) -> dict[str, float]:
        """Half-life of `popularity` by item type; earlier versions' bundles have one for all."""
        fit = self.manifest["popularity"]
        of_types: dict[str, float] = fit.get("half_lives_days") or dict.fromkeys(
            self.types, float(fit["half_life_days"])
        )
        return of_types

    def user_vectors(self, users: UserFeatures, items: ItemFeatures | None = None) -> Tensor:
        """Return user vectors, f32 [b, d], of unit length.

        items: features of all items that a history may name; the bundle's own when None.
        """
        items = items or self.features
        with torch.no_grad():
            vectors: Tensor = self.model.user(users, items.content, items.type_number)
        return vectors

    def prepared(self, items: ItemFeatures) -> Tensor:
        """Return what `vectors_of` reads of items, f32 [n, c]: to be made once for many users."""
        with torch.no_grad():
            prepared: Tensor = self.model.user.prepared(items.content)
        return prepared

    def vectors_of(self, users: UserFeatures, prepared: Tensor, type_number: Tensor) -> Tensor:
        """Return what `user_vectors` does, of items that were prepared; type_number: i64 [n]."""
        with torch.no_grad():
            vectors: Tensor = self.model.user.of_prepared(users, prepared, type_number)
        return vectors

    def queries(self, user_vectors: Tensor) -> NDArray[np.float32]:
        """Return the index's query of each user, f32 [b, d + 1]."""
        return index_queries(self.model, user_vectors)

    def texts(self, content: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the text vectors in rows of items' content, f32 [..., dt], of unit length."""
        width = content.shape[1] if self.hgnn is None else self.hgnn.text_width
        return unit_texts(content[rows, :width])

    @property
    def new_bias(self) -> NDArray[np.float32]:
        """Bias of items that come later, by type number: f32 [types]; see `average_bias`."""
        return average_bias(self.bias, self.features.type_number.numpy(), len(self.types))

    @property
    def popularity_types(self) -> frozenset[str]:
        """Item types whose lists are of live popularity: the bundle's own were behind it."""
        return frozenset(self.manifest.get("popularity_types", ()))

    @property
    def static_items(self) -> int:
        """Number of items of the static bundle, which come first; later ones are behind them."""
        return int(self.manifest.get("static_items", len(self.item_keys)))

    def embed(
        self,
        *,
        item_types: Sequence[str],
        languages: Sequence[str | None],
        genres: Sequence[Sequence[str] | None],
        text: NDArray[Any],
    ) -> tuple[ItemFeatures, NDArray[np.float32]]:
        """Return the features and unit vectors, f32 [m, d], of items without an event.

        text: [m, dt], from the encoder of the static bundle. Raises ValueError for unknown types.
        """
        cold = None if self.hgnn is None else turned(cold_vectors(self.hgnn, text), self.rotation)
        features = item_features(
            types=self.types,
            item_types=item_types,
            languages=languages,
            genres=genres,
            text=text,
            hgnn=cold,
        )
        return features, self.model.item_vectors(features).numpy()

    def save(self, folder: Path) -> None:
        """Write the bundle to an existing empty folder; the manifest last."""
        states = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.hgnn is not None:
            states |= {f"hgnn.{name}": value for name, value in self.hgnn.state_dict().items()}
        if self.rotation is not None:
            states["rotation"] = torch.from_numpy(self.rotation)
        save_file(
            {name: value.clone() for name, value in states.items()},
            folder / "towers.safetensors",
        )
        save_features(self.features, folder)
        columns: dict[str, Tensor] = {
            "vectors": torch.from_numpy(self.vectors),
            "bias": torch.from_numpy(self.bias),
            **{f"popularity.{m}": torch.from_numpy(v) for m, v in self.popularity.items()},
        }
        if self.demand is not None:
            columns |= {
                "demand.at_ms": torch.tensor(self.demand.at_ms),
                "demand.half_lives_days": torch.tensor(self.demand.half_lives_days),
                "demand.values": torch.from_numpy(self.demand.values),
                "demand.age_days": torch.from_numpy(self.demand.age_days),
                "demand.silent_days": torch.from_numpy(self.demand.silent_days),
            }
        if self.published_ms is not None:
            columns["published_ms"] = torch.from_numpy(self.published_ms)
        save_file(
            {name: value.contiguous() for name, value in columns.items()},
            folder / COLUMNS,
        )
        ItemTable.of(self).save(folder)
        self.index.save(folder)
        if self.head is not None:
            self.head.save(folder)
        if self.weights:
            save_sparse(self.weights, folder / WEIGHTS)
        if self.sequence is not None:
            self.sequence.save(folder)
        manifest = self.manifest | {"hgnn": None, "head": self.head is not None}
        if self.hgnn is not None:
            manifest["hgnn"] = self.hgnn.shape
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))

    @classmethod
    def load(cls, folder: Path, before: Self | None = None) -> Self:
        """Read what `save` wrote. Raises CorruptBundle when files are missing or do not fit.

        before: a bundle as it was loaded. What both have (`unchanged_files`) is shared with it, and
        need not be in the folder.
        """
        try:
            return cls._load(folder, before)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RuntimeError,
            SafetensorError,
            pl.exceptions.PolarsError,
        ) as error:
            raise CorruptBundle(f"expected a dynamic bundle in {folder.name}: {error}") from error

    @classmethod
    def _load(cls, folder: Path, before: Self | None) -> Self:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {manifest['format']}")
        held: dict[str, Self] = {}
        if before is not None:
            held = dict.fromkeys(unchanged_files(manifest, before.manifest), before)
        items = ItemTable.of(held[ITEMS]) if ITEMS in held else ItemTable.load(folder)
        columns = load_file(folder / COLUMNS)
        states = load_file(folder / "towers.safetensors")
        features = held[FEATURES].features if FEATURES in held else features_in(folder, columns)
        # Earlier versions pooled histories for each type, however many there were.
        pooled = {"separate_types": max(TowerSettings.separate_types, len(manifest["types"]))}
        towers = _settings_of(TowerSettings, pooled | manifest["settings"]["towers"])
        width, types = features.content.shape[1], len(manifest["types"])
        model = undrawn(lambda: TwoTower(width, types, towers))
        model.load_state_dict(_part(states, "model."))
        hgnn = None
        if manifest["hgnn"] is not None:
            hgnn = HGNN.of_shape(manifest["hgnn"])
            hgnn.load_state_dict(_part(states, "hgnn."))
        vectors, bias = columns["vectors"].numpy(), columns["bias"].numpy()
        demand = _demand(columns)
        weights = held[WEIGHTS].weights if WEIGHTS in held else load_sparse(folder / WEIGHTS)
        sizes = {len(items.item_keys), len(features), len(vectors), len(bias)}
        sizes |= {size for matrix in weights.values() for size in matrix.shape}
        sizes |= {len(demand)} if demand is not None else set()
        if len(sizes) > 1:
            raise ValueError(f"expected columns of one length, got {sorted(sizes)}")
        type_number, of_index = features.type_number.numpy(), manifest["settings"]["index"]
        index_settings = _settings_of(IndexSettings, of_index)
        index = ItemIndex.load(
            folder,
            served_vectors(vectors, bias),
            type_number,
            index_settings,
            scale=index_scale(model, vectors.shape[1]),
        )
        return cls(
            manifest=manifest,
            **vars(items),
            features=features,
            model=model.eval(),
            hgnn=hgnn,
            vectors=vectors,
            bias=bias,
            popularity={
                int(name.removeprefix("popularity.")): value.numpy()
                for name, value in columns.items()
                if name.startswith("popularity.")
            },
            index=index,
            head=RankingHead.load(folder) if manifest.get("head") else None,
            weights=weights,
            demand=demand,
            rotation=states["rotation"].numpy() if "rotation" in states else None,
            sequence=ServedSequence.load(folder, type_number, types, index_settings),
            published_ms=columns["published_ms"].numpy() if "published_ms" in columns else None,
        )


def _demand(columns: dict[str, Tensor]) -> Demand | None:
    if "demand.values" not in columns:
        return None
    return Demand(
        at_ms=int(columns["demand.at_ms"]),
        half_lives_days=tuple(columns["demand.half_lives_days"].tolist()),
        values=columns["demand.values"].numpy(),
        age_days=columns["demand.age_days"].numpy(),
        silent_days=columns["demand.silent_days"].numpy(),
    )


def served_vectors(vectors: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the index holds, f32 [n, d + 1]: the vector, then the bias.

    With the query (user vector / temperature, 1) the inner product is affinity plus popularity,
    so that one search ranks by both.
    """
    return np.concatenate([vectors, bias[:, None]], axis=1)


def index_queries(model: TwoTower, user_vectors: Tensor) -> NDArray[np.float32]:
    """Return the index's query of each user, f32 [b, d + 1]; user_vectors: f32 [b, d]."""
    one = torch.ones(len(user_vectors), 1)
    query = torch.cat([user_vectors / model.temperature, one], dim=1)
    return np.asarray(query.numpy(), np.float32)


def index_scale(model: TwoTower, width: int) -> NDArray[np.float32]:
    """Return the factors after which all columns of the index count alike, f32 [d + 1].

    An affinity is a cosine over the temperature, so popularity counts in units of that.
    """
    return np.array([1.0] * width + [model.temperature], np.float32)


def _part(states: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in states.items()
        if name.startswith(prefix)
    }


def _settings_of(kind: type[_S], values: dict[str, Any]) -> _S:
    """Return settings as a bundle has them; those that this version no longer has say nothing."""
    known = {f.name for f in dataclasses.fields(cast(Any, kind))}
    return kind(
        **{
            name: tuple(v) if isinstance(v, list) else v
            for name, v in values.items()
            if name in known
        }
    )
