"""The dynamic layer: a two-tower that learns without stopping, its index and its bundles."""

from dynamic_layer.bundle import DynamicBundle
from dynamic_layer.errors import CorruptBundle, CorruptExamples
from dynamic_layer.examples import ExampleBatch
from dynamic_layer.gate import accept, hit_rate
from dynamic_layer.index import Hits, ItemIndex
from dynamic_layer.recommender import (
    ListSettings,
    Ranking,
    Recommender,
    UserState,
    default_lists,
)
from dynamic_layer.settings import (
    DynamicSettings,
    GateSettings,
    IndexSettings,
    LossSettings,
    PopularitySettings,
    ReplaySettings,
    TowerSettings,
    recipe,
)
from dynamic_layer.trainer import Intake, Trainer, TrainingStats

__all__ = [
    "CorruptBundle",
    "CorruptExamples",
    "DynamicBundle",
    "DynamicSettings",
    "ExampleBatch",
    "GateSettings",
    "Hits",
    "IndexSettings",
    "Intake",
    "ItemIndex",
    "ListSettings",
    "LossSettings",
    "PopularitySettings",
    "Ranking",
    "Recommender",
    "ReplaySettings",
    "TowerSettings",
    "Trainer",
    "TrainingStats",
    "UserState",
    "accept",
    "default_lists",
    "hit_rate",
    "recipe",
]
