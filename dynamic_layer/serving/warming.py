"""Compiles the kernels of item-item weights and lists before they are needed."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.item_weights import (
    capped,
    ease_weights,
    strongest,
    transition_weights,
)
from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.counts.neighbours import neighbours_of
from dynamic_layer.counts.state_weights import count_matrix
from dynamic_layer.head.candidates import Union
from dynamic_layer.head.features import Sources, feature_names, pair_values
from dynamic_layer.head.impressions import Impressions
from dynamic_layer.head.list_scores import ListScorer
from dynamic_layer.head.ranking_head import RankingHead
from dynamic_layer.index.hits import Hits
from dynamic_layer.settings import EaseSettings, FeatureSettings

__all__ = ["compile_list_kernels"]


@dataclass(frozen=True)
class _Counts:
    """Three items, each met with each other by a user."""

    item_keys: NDArray[np.uint64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    count: NDArray[np.int32]


def compile_list_kernels() -> None:
    """Run the kernels of the static job's item weights and of lists once, on three items.

    Compiled code is cached beside the source (numba's cache): a quarter of a minute of one core the
    first time after an installation, half a second from then on.
    """
    keys = np.arange(3, dtype=np.uint64)
    left, right = np.array([0, 0, 0, 1, 1, 2], np.int32), np.array([0, 1, 2, 1, 2, 2], np.int32)
    counts = count_matrix(_Counts(keys, left, right, np.ones(6, np.int32)), keys)
    ease_weights(capped(counts, 1), EaseSettings(neighbours=1, min_users=1))
    strongest(counts, 1)
    transition_weights(counts, 1)

    weights = sp.csr_array(np.ones((3, 3), np.float32))
    one = np.ones(1, np.float32)
    histories = Histories(
        indptr=np.array([0, 1], np.int64), item=np.zeros(1, np.int64), age_days=one
    )
    near = neighbours_of(histories, {"ease": weights}, [1.0])["ease"]
    rows, nothing = np.array([[1, 2]], np.int64), np.zeros(1, np.int64)
    near.scores(rows)
    found = Union(histories, limit=2, items=3)
    found.add(rows[:, :1])
    found.add_best(near, np.zeros(3, np.int16), nothing, 1)
    Impressions.of(1, nothing, nothing, one, nothing).features(rows, (1.0,))
    Hits(rows, np.ones((1, 2), np.float32)).best(1)
    figures = np.ones((3, 1), np.float32)
    moment = Moment(
        at_ms=0, histories=histories, demand=figures, age_days=figures[:, 0],
        silent_days=figures[:, 0],
    )  # fmt: skip
    sources = Sources(type_number=np.zeros(3, np.int64), types=1, weights={"ease": weights})
    read = FeatureSettings(half_lives_days=(1.0,), demand_half_lives_days=(1.0,))
    values = pair_values(moment, nothing, rows, sources, read)
    ListScorer(RankingHead(feature_names(sources, read), hidden=1)).scores(values)
    values.features()
