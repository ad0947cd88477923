"""Small generated data sets, and text vectors that nobody waits for."""

import numpy as np
import polars as pl

from evaluation import Dataset, dataset_of
from evaluation.text import TextVectors
from static_layer import TextSettings
from static_layer.progress import silent

DAY = 86_400_000


def text_of(dataset: Dataset) -> TextVectors:
    """Nobody waits for the encoder here: each item's vector is its own direction."""
    found = TextVectors(dataset.items, TextSettings(), silent)
    found._vectors = np.eye(len(dataset.items), dtype=np.float32)
    return found


def random_dataset(seed: int, *, users: int = 60, items: int = 40, events: int = 800) -> Dataset:
    """Two types, weak and strong events over 40 days; popular items and active users exist."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in (users * rng.random(events) ** 1.5).astype(int)],
            "item": (items * rng.random(events) ** 2).astype(int),
            "kind": rng.choice(["stream", "follow"], events, p=[0.8, 0.2]),
            "timestamp": rng.integers(0, 40 * DAY, events),
        }
    ).with_columns(
        item_id=pl.format("i{}", "item"),
        item_type=pl.when(pl.col("item") % 3 == 0).then(pl.lit("book")).otherwise(pl.lit("pod")),
    )
    catalogue = frame.select("item_id", "item_type").unique().sort("item_id")
    return dataset_of(frame, catalogue.with_columns(title=pl.col("item_id")))
