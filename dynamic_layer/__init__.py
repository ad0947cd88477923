"""The dynamic layer: a two-tower that learns without stopping, its index and its bundles.

The folders, in the order in which data flows; a folder imports only those before it (`make check`):

- `items`, `examples`, `counts`: what is known of items, of events, and by counting alone;
- `head`, `towers`, `index`, `popularity`: what scores an item for a user;
- `bundles`, `lists`: all of it in one published folder, and the lists that are made of one;
- `training`, `measure`, `serving`: what makes bundles, asks about them, and answers with them.

Other rooms find what they need here, and the rest in the folders' modules.
"""

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.counts.item_weights import EaseSettings
from dynamic_layer.counts.moments import Histories, Moment, moment_at
from dynamic_layer.counts.state_weights import state_weights
from dynamic_layer.errors import CorruptBundle, CorruptCheckpoint, CorruptDemand, CorruptExamples
from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.head.features import FeatureSettings, Sources, feature_names, pair_features
from dynamic_layer.head.propose import CandidateSettings, propose
from dynamic_layer.head.ranking_head import HeadSettings, HeadTrainer, Lists, RankingHead
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.measure.gate import Judgement, hit_rate, judge, served_hit_rate
from dynamic_layer.measure.intervals import Difference, HitCount, difference, more_questions, wilson
from dynamic_layer.measure.prequential import KEPT_DAYS, OPEN_DAYS, Asked, Prequential, Row
from dynamic_layer.popularity.demand_block import DemandRecord
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.live import LivePopularity
from dynamic_layer.saved import Saved
from dynamic_layer.serving.explaining import Explanation, explain, search_text, similar
from dynamic_layer.serving.rankings import (
    ItemNames,
    ListSettings,
    Ranking,
    UserState,
    default_lists,
)
from dynamic_layer.serving.recommender import Recommender
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
from dynamic_layer.training.checkpoints import TrainerCheckpoint, TrainerCheckpoints
from dynamic_layer.training.trainer import Intake, Trainer, TrainingStats

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
