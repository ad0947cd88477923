"""Makes a bundle of trained towers: item vectors, fitted popularity, index, manifest."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import (
    FORMAT,
    DynamicBundle,
    index_queries,
    index_scale,
    served_vectors,
    settings_hash,
    settings_values,
)
from dynamic_layer.bundles.sequence import ServedSequence
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.items.features import ItemFeatures, ItemRows
from dynamic_layer.items.published import known_times
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.popularity.demand import DemandReader
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.fit import PopularityFit, fit_popularity, of_items
from dynamic_layer.popularity.half_lives import HalfLives
from dynamic_layer.settings import DynamicSettings, PopularitySettings
from dynamic_layer.towers.two_tower import TwoTower

_HOUR_MS = 3_600_000
_MEASURED_WITH = 256
EVERYWHERE = 0
"""Market number of all markets together."""


def make_bundle(
    known: TrainedItems,
    model: TwoTower,
    popularity: Popularity,
    held_out: PaddedExamples,
    settings: DynamicSettings,
    *,
    newest_ms: int,
    seed: int,
    last_fit: PopularityFit | None,
    half_lives_days: Mapping[str, float],
    manifest: dict[str, Any],
    weights: Mapping[str, sp.csr_array],
    sequence: ServedSequence | None = None,
) -> DynamicBundle:
    """Return the bundle of a model that nothing will change any more.

    known: the items; held_out: fits the weight of popularity; last_fit: that of the bundle before,
    which holds while held-out examples are few; half_lives_days: of demand by item type, as far as
    they were asked about; newest_ms: time of the newest event, to which popularity is decayed;
    manifest: generation, created_at, types and metrics, completed here;
    weights: item-item weights f32 [n, n] by name, [source, target], for a head; sequence: tower.
    """
    static, features, rows, items = known.static, known.features, known.rows, len(known.features)
    vectors, number = model.item_vectors(features), features.type_number.numpy()
    half_lives = HalfLives(settings.popularity)
    half_lives.begin({**(last_fit.half_lives_days if last_fit else {}), **half_lives_days})
    if not half_lives.chosen():  # no question was asked yet
        begin = held_out.newest(settings.popularity.fit_examples)
        half_lives.learn(begin, popularity, rows=rows, type_number=number, types=known.types)
    chosen = half_lives.chosen(known.types)
    chosen = {name: chosen[name] for name in known.types}
    fit = fit_popularity(
        held_out,
        popularity=popularity,
        model=model,
        features=features,
        vectors=vectors,
        rows=rows,
        settings=settings.popularity,
        history_cap=settings.replay.history_cap,
        types=known.types,
        half_lives_days=chosen,
        seed=seed,
        last=last_fit,
    )
    at_ms = counted_to(newest_ms, settings.popularity)
    of_item = of_items(chosen, known.types, number)
    recent = {
        market or EVERYWHERE: popularity.read(
            rows, items, at_ms=at_ms, half_life_days=of_item, market=market
        )
        for market in [None, *popularity.markets(settings.popularity.markets)]
    }
    bias = demand_bias(recent[EVERYWHERE], fit.weight, settings.popularity)
    ranking = settings.ranking
    # Whole buckets alone, as heads read it; workers add what is counted from there on.
    demand = DemandReader(popularity, rows, items, ranking.demand_half_lives_days).at(newest_ms)
    metrics = {"held_out_ndcg": fit.ndcg, "popularity_fit_hr_at_10": fit.hr_at_10}
    return DynamicBundle(
        manifest={
            **manifest,
            "format": FORMAT,
            "static": static.manifest.get("name"),
            "text": static.manifest.get("text"),
            "use_hgnn": known.use_hgnn,
            "static_items": known.static_items,
            "settings": settings_values(settings),
            "settings_hash": settings_hash(settings),
            "popularity": asdict(fit),
            "newest_event": newest_ms,
            "popularity_at": at_ms,
            "demand_bucket_ms": popularity.bucket_ms,
            "metrics": {**manifest["metrics"], **metrics},
        },
        item_keys=static.item_keys,
        item_ids=list(static.item_ids),
        item_types=list(static.item_types),
        titles=list(static.titles),
        features=features,
        model=model,
        hgnn=getattr(static, "model", None) if known.use_hgnn else None,
        rotation=known.rotation,
        vectors=vectors.numpy(),
        bias=bias,
        popularity=recent,
        index=ItemIndex(
            served_vectors(vectors.numpy(), bias),
            features.type_number.numpy(),
            settings.index,
            queries=_users(model, features, rows, held_out, settings.replay.history_cap),
            scale=index_scale(model, vectors.shape[1]),
        ),
        weights=dict(weights) if ranking.enabled else {},
        demand=demand if ranking.enabled else None,
        sequence=sequence,
        published_ms=known_times(static),
    )


def counted_to(newest_ms: int, settings: PopularitySettings) -> int:
    """Return the time, ms UTC, to which demand is decayed.

    The newest event's own bucket counts too: nothing later than it is known.
    """
    return newest_ms + int(settings.bucket_hours * _HOUR_MS)


def demand_bias(
    recent: NDArray[np.float32], weight: float, settings: PopularitySettings
) -> NDArray[np.float32]:
    """Return what recent demand, f32 [n], adds to affinity: f32 [n]."""
    return np.asarray(weight * np.log(recent + settings.smoothing), np.float32)


def _users(
    model: TwoTower,
    features: ItemFeatures,
    rows: ItemRows,
    held_out: PaddedExamples,
    history_cap: int,
) -> NDArray[np.float32]:
    """Return queries of held-out users, f32 [s, d + 1], to measure the index with."""
    users = user_features(held_out.newest(_MEASURED_WITH), rows, history_cap)
    with torch.no_grad():
        return index_queries(model, model.user(users, features.content, features.type_number))
