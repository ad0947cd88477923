"""What our own model in the harness can be told."""

from dataclasses import dataclass, field

from dynamic_layer.counts.item_weights import EaseSettings
from dynamic_layer.head.features import FeatureSettings
from dynamic_layer.head.propose import CandidateSettings
from dynamic_layer.head.ranking_head import HeadSettings
from dynamic_layer.training.tower_fits import TowerFitSettings


@dataclass(frozen=True, kw_only=True)
class SegueSettings:
    """Everything that `segue` can be told.

    horizon_days: days after a moment whose events label the head's lists; None takes the test's, 30
                  at most.
    windows:      earlier moments, a horizon apart, from which lists are drawn.
    max_lists:    lists drawn per moment.
    list_size:    candidates kept of a list that teaches: its positives, and a draw of the others.
    weights:      item-item weights behind features and candidates: of `ease`, `cosine`, `recent`
                  (what an item's users met lately) and `borrowed` (of items without a past, from
                  their neighbours in text).
    cosines:      weights kept per item of all but `ease`.
    recent_half_life_days: of the events that `recent` counts.
    vectors:      vectors whose dots are features: of `text` (without what all texts share) and
                  `graph` (spectral).
    text_width:   principal directions of the text vectors that are kept.
    graph_width:  of the spectral vectors.
    history_cap:  newest items of a user that co-interactions are counted of; pairs are its square.
    towers:       of the two-tower; None leaves it out (on lfm1m the head gained nothing by it).
    """

    horizon_days: float | None = None
    windows: int = 2
    max_lists: int = 4_000
    list_size: int = 256
    weights: tuple[str, ...] = ("ease", "cosine", "recent", "borrowed")
    cosines: int = 200
    recent_half_life_days: float = 14.0
    vectors: tuple[str, ...] = ("text", "graph")
    text_width: int = 128
    graph_width: int = 96
    history_cap: int = 1_000
    towers: TowerFitSettings | None = None
    ease: EaseSettings = field(default_factory=EaseSettings)
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
