"""Small streams, and the settings under which replays of them take a moment."""

import numpy as np

from dynamic_layer.counts.directed import WalkSettings
from dynamic_layer.head.live_lists import LiveSettings
from dynamic_layer.settings import HeadSettings
from evaluation import Dataset
from evaluation.prequential import SegueSettings
from evaluation.text import TextVectors
from static_layer import TextSettings
from static_layer.progress import silent

SMALL = SegueSettings(
    live=LiveSettings(
        half_lives_days=(1 / 24, 30.0),
        demand_half_lives_days=(1.0, 7.0),
        walks=WalkSettings(sources=4, span=10),
        tops=(("steps@last", 5), ("session@hour", 5), ("together@day", 10)),
        neighbours=5,
        vectors=3,
        demand=5,
        limit=30,
    ),
    head=HeadSettings(hidden=4, negatives=16, epochs=1.0),
    graph_width=4,
)


def words_of(dataset: Dataset) -> TextVectors:
    """Vectors without ties: which of two equals is taken may hang on a batch's size."""
    found = TextVectors(dataset.items, TextSettings(), silent)
    vectors = np.random.default_rng(0).standard_normal((len(dataset.items), 8), dtype=np.float32)
    found._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found
