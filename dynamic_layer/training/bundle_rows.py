"""The items' vectors of towers in training, as workers that serve an earlier bundle read them."""

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.bundles.publish import counted_to, demand_bias
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.fit import of_items
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.towers.two_tower import TwoTower
from static_layer.procrustes import procrustes

__all__ = ["TURNED_BY", "rows_for", "same_form"]

#: Latest examples whose users tell how the towers have turned since a bundle.
TURNED_BY = 1_024


def same_form(bundle: DynamicBundle, items: TrainedItems) -> bool:
    """Whether a bundle is of the same static bundle, item types and widths as items in training."""
    return bool(
        bundle.manifest.get("static") == items.name
        and bundle.types == items.types
        and items.features.content.shape[1] == bundle.features.content.shape[1]
    )


def rows_for(
    bundle: DynamicBundle,
    items: TrainedItems,
    model: TwoTower,
    latest: PaddedExamples,
    popularity: Popularity,
    newest_ms: int,
    settings: DynamicSettings,
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.float32]]:
    """Return item keys u64 [n], vectors f32 [n, d] and biases f32 [n]; see `Trainer.item_rows`.

    model: the towers as they are now; latest: examples whose users tell how these have turned.
    """
    cap, features = settings.replay.history_cap, items.features
    then = bundle.user_vectors(user_features(latest, ItemRows(bundle.item_keys), cap))
    with torch.no_grad():
        users = user_features(latest, items.rows, cap)
        now = model.user(users, features.content, features.type_number)
    turned = procrustes(now.numpy(), then.numpy(), np.ones(len(latest)))
    half_lives = of_items(bundle.half_lives_days, bundle.types, features.type_number.numpy())
    recent = popularity.read(
        items.rows, len(features), half_life_days=half_lives,
        at_ms=counted_to(newest_ms, settings.popularity),
    )  # fmt: skip
    weight = float(bundle.manifest["popularity"]["weight"])
    bias = demand_bias(recent, weight, settings.popularity)
    keys = np.asarray(items.static.item_keys)
    # Workers give an item without events the average demand, until a bundle has it.
    kept = (ItemRows(bundle.item_keys)(keys) >= 0) | (recent > 0)
    vectors = model.item_vectors(features).numpy() @ turned
    return keys[kept], vectors[kept], bias[kept]
