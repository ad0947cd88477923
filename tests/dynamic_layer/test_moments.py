"""The state at a moment holds what came before it, and nothing else."""

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.counts.moments import Histories, Moment
from tests.dynamic_layer.moments import moment_at

DAY = 86_400_000
HALF_LIVES = (2.0, float("inf"))

events = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 40)), min_size=0, max_size=30
)


def moment_of(rows: list[tuple[int, int, int]], day: float) -> Moment:
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return moment_at(
        round(day * DAY),
        user=columns[0],
        item=columns[1],
        timestamp=columns[2] * DAY,
        n_users=5,
        n_items=7,
        half_lives_days=HALF_LIVES,
    )


def same(one: Moment, other: Moment) -> None:
    for name in ("demand", "age_days", "silent_days"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5)
    for name in vars(one.histories):
        np.testing.assert_array_equal(
            getattr(one.histories, name), getattr(other.histories, name), err_msg=name
        )


@settings(deadline=None)  # the first call compiles
@given(events, events, st.integers(1, 40))
def test_later_events_change_nothing(
    before: list[tuple[int, int, int]], more: list[tuple[int, int, int]], day: int
) -> None:
    later = [(user, item, day + age) for user, item, age in more]
    same(moment_of(before, day), moment_of(before + later, day))


@settings(deadline=None)  # the first call compiles
@given(events, st.randoms(use_true_random=False))
def test_order_of_arrival_changes_nothing(rows: list[tuple[int, int, int]], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    same(moment_of(rows, 41), moment_of(shuffled, 41))


def test_histories_are_newest_first_with_the_latest_event_of_each_item() -> None:
    moment = moment_of([(1, 3, 0), (1, 2, 4), (1, 3, 6), (0, 5, 7)], 8)
    histories = moment.histories
    assert histories.indptr.tolist() == [0, 1, 3, 3, 3, 3]
    assert histories.item.tolist() == [5, 3, 2]
    assert histories.age_days.tolist() == [1, 2, 4]


def test_demand_halves_and_ages_count_days() -> None:
    moment = moment_of([(0, 1, 4), (1, 1, 6), (2, 0, 8)], 8)
    assert moment.demand[1].tolist() == [0.25 + 0.5, 2.0]
    assert moment.demand[0].tolist() == [0, 0]  # the event at the moment itself came too late
    assert moment.age_days[[0, 1]].tolist() == [0, 4]
    assert moment.silent_days[[0, 1]].tolist() == [0, 2]


def test_take_keeps_users_apart() -> None:
    histories = moment_of([(0, 1, 1), (1, 2, 1), (1, 3, 2), (3, 4, 1)], 5).histories
    taken: Histories = histories.take(np.array([3, 2, 1]))
    assert taken.indptr.tolist() == [0, 1, 1, 3]
    assert taken.item.tolist() == [4, 3, 2]
    assert taken.recency(1.0).tolist() == [2.0**-4, 2.0**-3, 2.0**-4]
