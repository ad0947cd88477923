"""The dynamic layer: a two-tower that learns without stopping, its index and its bundles."""

from dynamic_layer.bundle import DynamicBundle
from dynamic_layer.demand_block import DemandRecord
from dynamic_layer.errors import CorruptBundle, CorruptCheckpoint, CorruptDemand, CorruptExamples
from dynamic_layer.examples import ExampleBatch
from dynamic_layer.explaining import Explanation, explain, search_text, similar
from dynamic_layer.gate import Judgement, hit_rate, judge, served_hit_rate
from dynamic_layer.head_features import FeatureSettings, Sources, feature_names, pair_features
from dynamic_layer.index import Hits, ItemIndex
from dynamic_layer.intervals import Difference, HitCount, difference, more_questions, wilson
from dynamic_layer.item_weights import EaseSettings
from dynamic_layer.live_popularity import LivePopularity
from dynamic_layer.moments import Histories, Moment, moment_at
from dynamic_layer.popularity import Popularity
from dynamic_layer.prequential import KEPT_DAYS, OPEN_DAYS, Asked, Prequential, Row
from dynamic_layer.propose import CandidateSettings, propose
from dynamic_layer.ranking_head import HeadSettings, HeadTrainer, Lists, RankingHead
from dynamic_layer.recommender import (
    ItemNames,
    ListSettings,
    Ranking,
    Recommender,
    UserState,
    default_lists,
)
from dynamic_layer.saved import Saved
from dynamic_layer.settings import (
    AdoptionSettings,
    DynamicSettings,
    GateSettings,
    IndexSettings,
    LossSettings,
    PopularitySettings,
    RankingSettings,
    ReplaySettings,
    TowerSettings,
    recipe,
)
from dynamic_layer.state_weights import state_weights
from dynamic_layer.trainer import Intake, Trainer, TrainingStats
from dynamic_layer.trainer_checkpoints import TrainerCheckpoint, TrainerCheckpoints

__all__ = [
    "KEPT_DAYS",
    "OPEN_DAYS",
    "AdoptionSettings",
    "Asked",
    "CandidateSettings",
    "CorruptBundle",
    "CorruptCheckpoint",
    "CorruptDemand",
    "CorruptExamples",
    "DemandRecord",
    "Difference",
    "DynamicBundle",
    "DynamicSettings",
    "EaseSettings",
    "ExampleBatch",
    "Explanation",
    "FeatureSettings",
    "GateSettings",
    "HeadSettings",
    "HeadTrainer",
    "Histories",
    "HitCount",
    "Hits",
    "IndexSettings",
    "Intake",
    "ItemIndex",
    "ItemNames",
    "Judgement",
    "ListSettings",
    "Lists",
    "LivePopularity",
    "LossSettings",
    "Moment",
    "Popularity",
    "PopularitySettings",
    "Prequential",
    "Ranking",
    "RankingHead",
    "RankingSettings",
    "Recommender",
    "ReplaySettings",
    "Row",
    "Saved",
    "Sources",
    "TowerSettings",
    "Trainer",
    "TrainerCheckpoint",
    "TrainerCheckpoints",
    "TrainingStats",
    "UserState",
    "default_lists",
    "difference",
    "explain",
    "feature_names",
    "hit_rate",
    "judge",
    "moment_at",
    "more_questions",
    "pair_features",
    "propose",
    "recipe",
    "search_text",
    "served_hit_rate",
    "similar",
    "state_weights",
    "wilson",
]
