"""Towers over a past at hand read histories newest first and nothing from after the moment."""

import numpy as np
import pytest

from dynamic_layer.counts.moments import Moment, moment_at
from dynamic_layer.training.tower_fits import TowerFits, TowerFitSettings, user_features
from tests.dynamic_layer.worlds import SMALL, Items

DAY = 86_400_000


def moment() -> Moment:
    return moment_at(
        10 * DAY,
        user=np.array([0, 0, 0, 2]),
        item=np.array([4, 5, 6, 7]),
        timestamp=np.array([1, 3, 9, 8]) * DAY,
        n_users=3,
        n_items=120,
        half_lives_days=(1.0,),
    )


def test_histories_are_cut_to_their_newest_entries() -> None:
    read = user_features(moment().histories, 2)
    assert read.history.tolist() == [[6, 5], [-1, -1], [7, -1]]
    assert (read.age_s / 86_400).tolist() == [[1, 7], [0, 0], [2, 0]]


def test_an_event_from_after_the_moment_is_refused(items: Items) -> None:
    fits = TowerFits(items, TowerFitSettings(dynamic=SMALL), use_hgnn=True, seed=1)
    with pytest.raises(ValueError, match="expected events before"):
        fits.at(
            moment(),
            user=np.array([0]),
            item=np.array([4]),
            timestamp=np.array([10 * DAY]),
            strong=np.array([True]),
        )


def test_each_moment_goes_on_from_the_last(items: Items) -> None:
    rng = np.random.default_rng(0)
    n = 600
    columns = {
        "user": rng.integers(20, size=n),
        "item": rng.integers(120, size=n),
        "timestamp": np.sort(rng.integers(1, 20 * DAY, size=n)),
    }
    strong = np.ones(n, np.bool_)

    def at(day: int, fits: TowerFits) -> tuple[np.ndarray, np.ndarray]:
        now = moment_at(day * DAY, **columns, n_users=20, n_items=120, half_lives_days=(1.0,))
        known = columns["timestamp"] < day * DAY
        part = {name: column[known] for name, column in columns.items()}
        return fits.at(now, **part, strong=strong[known])

    one, other = (
        TowerFits(items, TowerFitSettings(dynamic=SMALL), use_hgnn=True, seed=1) for _ in range(2)
    )
    first = at(10, one)
    np.testing.assert_array_equal(first[1], at(10, other)[1])
    later = at(20, one)
    assert later[0].shape == (20, 16)
    assert not np.array_equal(first[1], later[1])
