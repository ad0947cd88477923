"""Our own model in the harness: candidates, features and a ranking head fitted before the split.

The head's lists are users at earlier moments, labelled by what they met in the days that followed;
the models behind its features know nothing of those days. Then these models are fitted again up
to the split, and the head ranks with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from dynamic_layer.candidates import greatest, neighbour_lists, union
from dynamic_layer.head_features import (
    FeatureSettings,
    Sources,
    feature_names,
    pair_features,
    pooled,
)
from dynamic_layer.item_weights import EaseSettings, co_interactions, cosine_weights, ease_weights
from dynamic_layer.moments import Moment, moment_at
from dynamic_layer.ranking_head import HeadSettings, HeadTrainer, Lists, RankingHead
from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset, Interactions
from evaluation.split import DAY_MS, TimeSplit

Floats = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class CandidateSettings:
    """How many candidates each source may bring to a user's list of a type.

    neighbours: by item-item weights, for each kind of weights and half-life.
    demand:     by demand, for each half-life.
    text:       by text near the pooled history. towers: by the two-tower.
    limit:      of the union.
    """

    neighbours: int = 150
    demand: int = 60
    text: int = 80
    towers: int = 150
    limit: int = 800


@dataclass(frozen=True, kw_only=True)
class SegueSettings:
    """Everything that `segue` can be told.

    horizon_days: days after a moment whose events label the head's lists.
    windows:      earlier moments, one horizon apart, from which lists are drawn.
    max_lists:    lists drawn per window and type.
    """

    horizon_days: float = 30.0
    windows: int = 1
    max_lists: int = 4_000
    ease: EaseSettings = field(default_factory=EaseSettings)
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    head: HeadSettings = field(default_factory=HeadSettings)


def silent(_stage: str, _done: int, _total: int) -> None:
    """Report nothing."""
