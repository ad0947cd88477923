"""Candidates: what sources bring, never what the user had."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.counts.moments import Histories, Moment, moment_at
from dynamic_layer.head.candidates import NONE, greatest, union
from dynamic_layer.head.features import FeatureSettings, Sources
from dynamic_layer.head.propose import CandidateSettings, propose

DAY = 86_400_000
USERS, ITEMS = 12, 40


def moment(seed: int, half_lives: tuple[float, ...] = (4.0, float("inf"))) -> Moment:
    rng = np.random.default_rng(seed)
    return moment_at(
        30 * DAY,
        user=rng.integers(USERS - 1, size=150),  # the last user has no past
        item=rng.integers(ITEMS, size=150),
        timestamp=rng.integers(30 * DAY, size=150),
        n_users=USERS,
        n_items=ITEMS,
        half_lives_days=half_lives,
    )


def sources(seed: int) -> Sources:
    rng = np.random.default_rng(seed)
    weights = sp.csr_array(
        (rng.random((ITEMS, ITEMS)) * (rng.random((ITEMS, ITEMS)) < 0.3)).astype(np.float32)
    )
    vectors = rng.normal(size=(ITEMS, 6)).astype(np.float32)
    return Sources(
        type_number=np.arange(ITEMS) % 2,
        types=2,
        weights={"ease": weights},
        vectors={"text": vectors / np.linalg.norm(vectors, axis=1, keepdims=True)},
        towers=(rng.normal(size=(USERS, 3)).astype(np.float32), vectors[:, :3]),
    )


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 200), st.integers(0, 1))
def test_candidates_are_new_to_the_user_distinct_and_of_the_type(seed: int, number: int) -> None:
    now = moment(seed)
    wanted = CandidateSettings(neighbours=6, demand=4, vectors=3, towers=3, limit=12)
    users = np.arange(USERS)
    found = propose(now, users, number, sources(seed), wanted, FeatureSettings())
    assert found.shape[1] <= 12
    for user, row in enumerate(found):
        chosen = row[row != NONE]
        had = now.histories.item[now.histories.indptr[user] : now.histories.indptr[user + 1]]
        assert len(chosen) == len(set(chosen.tolist()))
        assert not set(chosen.tolist()) & set(had.tolist())
        assert (chosen % 2 == number).all()
    assert (found[USERS - 1] != NONE).any()  # who has no past still gets what is in demand


def test_each_source_can_be_left_out() -> None:
    now, models = moment(1), sources(1)
    nobody = CandidateSettings(neighbours=0, demand=0, vectors=0, towers=0)
    users = np.arange(USERS)
    assert (propose(now, users, 0, models, nobody, FeatureSettings()) == NONE).all()


def test_union_keeps_the_order_of_sources(history: Histories) -> None:
    lists = [np.array([[5, 1, 4], [NONE, 7, 7]]), np.array([[4, 6], [0, 2]])]
    assert union(lists, history, limit=10).tolist() == [[5, 4, 6], [7, 0, 2]]
    assert union(lists, history, limit=2).tolist() == [[5, 4], [7, 0]]


def test_greatest_gives_all_of_a_short_row() -> None:
    rows = np.array([3, 8])
    found = greatest(np.array([[0.1, 0.2]], np.float32), rows, 5)
    assert sorted(found[0].tolist()) == [3, 8]
