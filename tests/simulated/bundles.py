"""The bundles that a night begins with, and what its trainer learns with."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import torch

from dynamic_layer import (
    AdoptionSettings,
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    HeadSettings,
    LossSettings,
    PopularitySettings,
    RankingSettings,
    ReplaySettings,
    TowerSettings,
    Trainer,
)
from state import item_key
from static_layer import StaticBundle
from static_layer.bundle import FORMAT, item_frame
from static_layer.hgnn import HGNN
from static_layer.settings import HGNNSettings
from tests.simulated.worlds import ITEMS, TEXT, TYPES, WIDTH

DYNAMIC = DynamicSettings(
    batch_size=16,
    towers=TowerSettings(layers=(8, 4), dropout=0.0),
    loss=LossSettings(uniform_negatives=4),
    replay=ReplaySettings(
        capacity=2_048,
        entries=8_192,
        holdout_size=512,
        history_cap=8,
        whole_history=16,
        epochs=1.0,
        holdout_share=0.1,
    ),
    popularity=PopularitySettings(weights=(0.0, 0.5), half_lives_days=(7.0,)),
    adoption=AdoptionSettings(follow_steps=0),
    ranking=RankingSettings(enabled=False),
)
#: Of a fourth of the nights: a head takes the trainer as long as all the rest.
WITH_HEAD = replace(
    DYNAMIC,
    ranking=RankingSettings(
        entries=8, towers=4, weak=2, neighbours=4, demand=2, limit=12, first_least=8,
        first_lists=32, lists=16, min_lists=1,
        head=HeadSettings(hidden=4, negatives=8, epochs=1.0, capacity=64),
    ),
)  # fmt: skip


@cache
def first_static() -> StaticBundle:
    """What a static job would have made of an empty state."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    named = sorted((item_key(of, name), of, name) for of in TYPES for name in ITEMS)
    n = len(named)
    table = pl.DataFrame(
        {
            "item_key": pl.Series([key for key, *_ in named], dtype=pl.UInt64),
            "item_id": [name for *_, name in named],
            "item_type": [of for _, of, _ in named],
            "title": [name for *_, name in named],
            "language": pl.Series([None] * n, dtype=pl.String),
            "genres": pl.Series([None] * n, dtype=pl.List(pl.String)),
        }
    )
    return StaticBundle(
        item_frame(table, np.zeros(n, np.int64), np.ones(n, np.bool_)),
        _unit(draw.normal(size=(n, TEXT))).astype(np.float16),
        _unit(draw.normal(size=(n, WIDTH))),
        HGNN(TEXT, len(TYPES), HGNNSettings(hidden=WIDTH, output=WIDTH)).eval(),
        {"format": FORMAT, "name": "static-001", "generation": 1, "created_at": 0, "offsets": {}},
    )


@cache
def first_dynamic(*, with_head: bool = False) -> DynamicBundle:
    """The bundle that is served as the night begins."""
    torch.set_num_threads(1)
    settings = WITH_HEAD if with_head else DYNAMIC
    trainer = Trainer(first_static(), settings, seed=1, clock_ms=lambda: 0, ranking=with_head)
    trainer.add(_earlier(0))
    trainer.train()
    bundle = trainer.publish()
    if with_head:  # it learns from lists that are made by the bundle before
        trainer.add(_earlier(1))
        trainer.train()
        bundle, ranking = trainer.publish(), trainer._ranking
        # Whether the head is better than the towers is no matter here.
        head = ranking.publish(bundle) if ranking is not None else None
        bundle = replace(bundle, head=head, manifest=bundle.manifest | {"generation": 1})
    return bundle


def _earlier(times: int) -> ExampleBatch:
    """Each item as an example, of a user with so many other items."""
    keys, n = first_static().item_keys, len(first_static().item_keys)
    ends = np.arange(n + 1) * times
    return ExampleBatch(
        topic="earlier", partition=times, offset=np.arange(n), target=keys,
        timestamp=np.arange(n), strong=np.ones(n, np.bool_), repeat=np.zeros(n, np.bool_),
        country=[""] * n, birth_year=np.zeros(n, np.int16), indptr=ends,
        history_item=np.roll(keys, 1)[: ends[-1]], history_time=np.zeros(ends[-1], np.int64),
        history_strong=np.ones(ends[-1], np.bool_),
    )  # fmt: skip


def _unit(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)
