"""The items' vectors of towers in training, as workers that serve an earlier bundle read them."""

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.bundles.publish import counted_to, demand_bias
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.items.features import ItemRows
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.fit import of_items
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.towers.two_tower import TwoTower
from dynamic_layer.training.intake import ExampleIntake
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
    intake: ExampleIntake,
    popularity: Popularity,
    settings: DynamicSettings,
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.float32]] | None:
    """Return item keys u64 [n], vectors f32 [n, d] and biases f32 [n] for workers of a bundle.

    model: the towers as they are now; intake: its latest examples tell how these have turned.

    Training turns both towers together. Workers have the bundle's user tower, so the vectors are
    turned back by the rotation that brings the users of the latest examples nearest to where the
    bundle has them. Demand has the bundle's weight and half-lives. HGNN vectors are those of the
    graph as it is now, if it is followed. None where the bundle is of another static bundle or
    form, or there are no examples.
    """
    numbers = intake.replay.numbers()[-TURNED_BY:]
    if not len(numbers) or not same_form(bundle, items):
        return None
    cap, features = settings.replay.history_cap, items.features
    latest = intake.replay.take(numbers, cap)
    then = bundle.user_vectors(user_features(latest, ItemRows(bundle.item_keys), cap))
    with torch.no_grad():
        users = user_features(latest, items.rows, cap)
        now = model.user(users, features.content, features.type_number)
    turned = procrustes(now.numpy(), then.numpy(), np.ones(len(latest)))
    half_lives = of_items(bundle.half_lives_days, bundle.types, features.type_number.numpy())
    recent = popularity.read(
        items.rows, len(features), half_life_days=half_lives,
        at_ms=counted_to(intake.newest_ms, settings.popularity),
    )  # fmt: skip
    weight = float(bundle.manifest["popularity"]["weight"])
    bias = demand_bias(recent, weight, settings.popularity)
    keys = np.asarray(items.static.item_keys)
    # Workers give an item without events the average demand, until a bundle has it.
    kept = (ItemRows(bundle.item_keys)(keys) >= 0) | (recent > 0)
    served = features if intake.graph is None else intake.graph.features(items)
    vectors = model.item_vectors(served).numpy() @ turned
    return keys[kept], vectors[kept], bias[kept]
