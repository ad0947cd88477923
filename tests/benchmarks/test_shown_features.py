"""Rates of takes per showing know only days that had ended a day before."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.shown_features import DAY_MS, SHRUNK, _Lists, _places, _Rates
from dynamic_layer import DemandRecord


def counted(counts_of, bucket, counts, records=1):
    keys = np.array([*counts], np.uint64)
    record = DemandRecord(
        partition=0, bucket=bucket, bucket_ms=DAY_MS, records=records, keys=keys,
        markets=np.ones(len(keys), np.int64), counts=np.array([*counts.values()]),
        counts_of=counts_of,
    )  # fmt: skip
    return SimpleNamespace(value=record.pack())


def test_rates_are_those_of_days_that_had_ended_a_day_before():
    rates = _Rates(
        [
            counted("shown", 10, {1: 70, 2: 30}, records=1),
            counted("shown", 10, {1: 100, 2: 100}, records=2),  # the same day, of more records
            counted("taken", 10, {1: 19}, records=2),
            counted("shown", 11, {1: 1_000}),
            counted("demand", 10, {2: 99}),
        ],
        DAY_MS,
    )
    base = 20 / 300
    known = [np.log((19 + SHRUNK * base) / (100 + SHRUNK) / base)]
    known += [np.log(SHRUNK * base / (100 + SHRUNK) / base), 0.0]
    keys = np.array([1, 2, 3], np.uint64)
    for at in (12 * DAY_MS, 13 * DAY_MS - 1):
        assert rates(keys, at).tolist() == pytest.approx(known)
    assert rates(keys, 12 * DAY_MS - 1).tolist() == [0, 0, 0]
    assert rates(keys, 13 * DAY_MS)[0] < known[0]
    assert rates.totals == (1_200, 19)


def test_a_weight_moves_items_by_their_rates():
    lists = [
        _Lists(scores=np.array([2.0, 1.0, -np.inf]), rates=np.array([0.0, 3.0, 9.0]), target=1),
        _Lists(scores=np.array([2.0, 1.0]), rates=np.zeros(2), target=-1),
    ]
    assert _places(lists, 0.0).tolist() == [1, 1_000_000]
    assert _places(lists, 1.0)[0] == 0
