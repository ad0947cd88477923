"""Metrics: their doctests, and what holds for any lists."""

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluation import metrics

RANKS = st.lists(
    st.lists(st.integers(0, 150), unique=True, max_size=5).map(
        lambda row: np.array(sorted(row), dtype=int)
    ),
    min_size=1,
    max_size=20,
)


def test_the_examples_in_the_docstrings_hold() -> None:
    found = doctest.testmod(metrics)
    assert found.attempted >= 7
    assert not found.failed


@given(RANKS, st.integers(1, 100))
def test_metrics_lie_between_zero_and_one_and_agree_on_who_is_hit(
    ranks: list[np.ndarray], k: int
) -> None:
    held_out = np.array([max(len(row), 1) for row in ranks])
    hits = metrics.hit_rate(ranks, k)
    for values in (
        metrics.recall(ranks, held_out, k),
        metrics.ndcg(ranks, held_out, k),
        metrics.mrr(ranks, k),
    ):
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
        assert ((values > 0) == (hits > 0)).all()


def test_the_interval_holds_the_mean_and_narrows_with_users() -> None:
    rng = np.random.default_rng(0)
    few, many = np.tile([0.0, 1.0, 1.0], 10), np.tile([0.0, 1.0, 1.0], 1_000)
    wide, narrow = (metrics.bootstrap_interval(values, rng) for values in (few, many))
    assert wide[0] < narrow[0] < 2 / 3 < narrow[1] < wide[1]


def test_nobody_has_no_interval() -> None:
    assert np.isnan(metrics.bootstrap_interval(np.array([]), np.random.default_rng(0))).all()
