"""Item-item weights from a merged state: kinds by name, rows by item key."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp

from dynamic_layer import RankingSettings
from dynamic_layer.counts.state_weights import item_counts, weights_of
from dynamic_layer.settings import EaseSettings
from state import CoInteractions
from state.transitions import Transitions

KEYS = np.array([11, 22, 33, 44], np.uint64)
SETTINGS = RankingSettings(ease=EaseSettings(min_users=1))


@dataclass(frozen=True)
class Counts:
    co_interactions: CoInteractions
    transitions: Transitions


def counted() -> Counts:
    """Items 11, 22 and 99, of which the catalogue has the first two; users go from 22 on to 11."""
    left = np.array([11, 22, 11, 99, 22], np.uint64)
    right = np.array([11, 22, 22, 99, 99], np.uint64)
    count = np.array([4, 9, 3, 5, 2], np.int64)
    source, target = np.array([22, 22], np.uint64), np.array([11, 99], np.uint64)
    return Counts(
        CoInteractions.from_pairs(left, right, count),
        Transitions.from_keys(source, target, np.array([3.0, 1.0], np.float32)),
    )


def state_weights(state: Counts, settings: RankingSettings) -> dict[str, sp.csr_array]:
    return weights_of(item_counts(state, KEYS, settings), settings)


def test_each_kind_has_its_matrix_over_the_catalogue() -> None:
    found = state_weights(counted(), SETTINGS)
    assert list(found) == ["ease", "cosine", "next"]
    assert {matrix.shape for matrix in found.values()} == {(4, 4)}
    cosine, following = found["cosine"].toarray(), found["next"].toarray()
    assert cosine[0, 1] == cosine[1, 0] == pytest.approx(3 / np.sqrt(4 * 9))
    assert np.count_nonzero(cosine) == 2
    # The way to an item outside of the catalogue counts nowhere.
    assert following[1, 0] == pytest.approx(3 / np.sqrt(3 * 3))
    assert np.count_nonzero(following) == 1


def test_kinds_that_are_not_asked_for_are_not_made() -> None:
    assert list(state_weights(counted(), replace(SETTINGS, weights=("next",)))) == ["next"]


def test_too_few_items_with_users_leave_the_kinds_without_weights() -> None:
    rare = replace(SETTINGS, ease=EaseSettings(min_users=5))
    found = state_weights(counted(), rare)
    assert {name: matrix.nnz and abs(matrix).max() for name, matrix in found.items()} == {
        "ease": 0, "cosine": 0, "next": 0
    }  # fmt: skip
