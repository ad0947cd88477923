"""Features of pairs: point in time, by hand, and in the order of their names."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.counts.moments import Moment
from dynamic_layer.head.candidates import NONE
from dynamic_layer.head.features import Sources, feature_names, pair_values
from dynamic_layer.settings import GROUPS, FeatureSettings
from tests.dynamic_layer.moments import moment_at

DAY = 86_400_000
READ = FeatureSettings(
    half_lives_days=(2.0, float("inf")), demand_half_lives_days=(4.0,), smoothing=1.0
)

Events = list[tuple[int, int, int]]
events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 19)), min_size=1, max_size=25
)


def moment_of(rows: Events, day: int) -> Moment:
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return moment_at(
        day * DAY,
        user=columns[0],
        item=columns[1],
        timestamp=columns[2] * DAY,
        n_users=4,
        n_items=6,
        half_lives_days=READ.demand_half_lives_days,
    )


@pytest.fixture(scope="module")
def sources() -> Sources:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 4)).astype(np.float32)
    return Sources(
        type_number=np.array([0, 0, 0, 0, 1, 1]),
        types=2,
        weights={"ease": sp.csr_array(rng.random((6, 6)).astype(np.float32))},
        towers=(rng.normal(size=(4, 4)).astype(np.float32), vectors),
    )


CANDIDATES = np.array([[0, 1, 3], [2, 3, NONE], [4, 5, NONE], [NONE, NONE, NONE]])


@given(events, events)
@settings(max_examples=40, deadline=None)
def test_later_events_never_change_a_feature(before: Events, more: Events) -> None:
    rng = np.random.default_rng(0)
    models = Sources(
        type_number=np.array([0, 0, 0, 0, 1, 1]),
        types=2,
        weights={"ease": sp.csr_array(rng.random((6, 6)).astype(np.float32))},
    )
    later = [(user, item, 20 + age) for user, item, age in more]
    users = np.arange(4)
    one = pair_values(moment_of(before, 20), users, CANDIDATES, models, READ).features()
    other = pair_values(moment_of(before + later, 20), users, CANDIDATES, models, READ).features()
    np.testing.assert_allclose(one, other, atol=1e-5)


def column(found: np.ndarray, sources: Sources, name: str) -> np.ndarray:
    return found[:, :, feature_names(sources, READ).index(name)]


def test_features_by_hand(sources: Sources) -> None:
    # User 0 met item 2 twice (days 1 and 8) and item 4 once (day 6); it is day 10.
    rows = [(0, 2, 1), (0, 2, 8), (0, 4, 6), (1, 0, 6)]
    candidates = np.array([[0, 2, NONE]])
    found = pair_values(moment_of(rows, 10), np.array([0]), candidates, sources, READ).features()
    assert found.shape == (1, 3, len(feature_names(sources, READ)))
    assert not found[0, 2].any()
    ease = sources.weights["ease"].toarray()
    get = {name: column(found, sources, name)[0] for name in feature_names(sources, READ)}
    assert get["ease@2d"][0] == pytest.approx(0.5 * ease[2, 0] + 0.25 * ease[4, 0], rel=1e-5)
    assert get["ease@infd"][0] == pytest.approx(ease[2, 0] + ease[4, 0], rel=1e-5)
    assert get["demand@4d"][0] == pytest.approx(np.log(0.5 + 1), rel=1e-5)
    assert get["age"][0] == pytest.approx(np.log(5))
    assert get["new"][:2].tolist() == [0, 0]
    assert get["history"][0] == pytest.approx(np.log(3))
    assert get["of-type"][0] == pytest.approx(np.log(2))
    assert get["type-share"][0] == 0.5
    assert get["away"][0] == pytest.approx(np.log(3))
    assert [get["type-0"][0], get["type-1"][0]] == [1, 0]
    user, item = sources.towers or (np.zeros(0), np.zeros(0))
    assert get["towers"][0] == pytest.approx(user[0] @ item[0], rel=1e-5)
    assert sorted([get["z:towers"][0], get["z:towers"][1]]) == pytest.approx([-1, 1], abs=1e-3)


def test_recent_activity_by_hand(sources: Sources) -> None:
    # User 0 met item 2 twice (days 1 and 8) and item 0 once (day 3); it is day 10.
    rows = [(0, 2, 1), (0, 2, 8), (0, 0, 3), (1, 0, 9)]
    candidates = np.array([[0, 2, 3]])
    found = pair_values(moment_of(rows, 10), np.array([0]), candidates, sources, READ).features()
    get = {name: column(found, sources, name)[0] for name in feature_names(sources, READ)}
    # The items met lately, each by the age of its latest event: 7 and 2 days.
    for half in (7, 30, 120):
        active = np.log1p(2 ** (-7 / half) + 2 ** (-2 / half))
        assert get[f"active@{half}d"].tolist() == pytest.approx([active] * 3, rel=1e-5)


def test_a_group_that_is_left_out_has_no_features(sources: Sources) -> None:
    sources = replace(sources, sequence=sources.towers)
    for group in (name for name in GROUPS if name != "vectors"):
        every = FeatureSettings(shown_half_lives_days=(1.0, 30.0))
        fewer = replace(every, groups=tuple(name for name in GROUPS if name != group))
        now = moment_of([(0, 1, 1)], 5)
        all_names = feature_names(sources, every)
        names = feature_names(sources, fewer)
        assert len(names) < len(all_names)
        demand = np.repeat(now.demand, len(fewer.demand_half_lives_days), axis=1)
        wide = Moment(**{**vars(now), "demand": demand})
        found = pair_values(wide, np.arange(4), CANDIDATES, sources, fewer).features()
        assert found.shape[2] == len(names)


def test_a_user_without_past_has_finite_features(sources: Sources) -> None:
    found = pair_values(
        moment_of([(0, 1, 1)], 5), np.array([3]), CANDIDATES[:1], sources, READ
    ).features()
    assert np.isfinite(found).all()
    assert not column(found, sources, "ease@2d").any()
