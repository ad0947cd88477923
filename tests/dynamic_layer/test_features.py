"""What the towers read."""

import numpy as np
import pytest
import torch

from dynamic_layer.items.features import (
    ItemRows,
    UserFeatures,
    age_of,
    bucket_of,
    item_features,
    pool_history,
)
from tests.dynamic_layer.worlds import make_items

DAY_S = 86_400.0
CONTENT = torch.tensor([[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]])
TYPES = torch.tensor([0, 0, 1])


def user(history: list[int], days: list[float], strong: list[bool]) -> UserFeatures:
    zero = torch.zeros(1, dtype=torch.int64)
    return UserFeatures(
        history=torch.tensor([history]),
        age_s=torch.tensor([days]) * DAY_S,
        strong=torch.tensor([strong]),
        country=zero,
        age=zero,
    )


def test_pools_are_means_per_type_of_streams_of_weak_signals_and_by_recency() -> None:
    pools, signals = pool_history(
        user([0, 1, 2], [1.0, 3.0, 5.0], [True, False, True]),
        CONTENT,
        TYPES,
        types=2,
        half_lives_days=(2.0,),
    )
    streams, weak, recent = pools[0, 0]
    assert streams.tolist() == [1.0, 0.0]
    assert weak.tolist() == [0.0, 1.0]
    assert recent.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert pools[0, 1].tolist() == [[4.0, 4.0], [0.0, 0.0], [4.0, 4.0]]
    assert torch.expm1(signals[0, 0]).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert torch.expm1(signals[0, 1]).tolist() == pytest.approx([1.0, 0.0, 5.0])


def test_recency_pools_do_not_underflow_on_old_histories() -> None:
    pools, _ = pool_history(
        user([0, 1], [3_000.0, 3_001.0], [True, True]),
        CONTENT,
        TYPES,
        types=2,
        half_lives_days=(1.0,),
    )
    assert pools[0, 0, 2].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-3)


def test_users_without_history_have_pools_of_zero() -> None:
    pools, signals = pool_history(
        user([-1, -1], [0.0, 0.0], [False, False]), CONTENT, TYPES, types=2, half_lives_days=(1.0,)
    )
    assert not pools.any()
    assert not signals.any()


def test_one_users_pools_do_not_depend_on_the_others_in_the_batch() -> None:
    rng = np.random.default_rng(0)
    many = UserFeatures(
        history=torch.from_numpy(rng.integers(-1, 3, (6, 4))),
        age_s=torch.from_numpy(rng.random((6, 4), np.float32)) * DAY_S,
        strong=torch.from_numpy(rng.random((6, 4)) < 0.5),
        country=torch.zeros(6, dtype=torch.int64),
        age=torch.zeros(6, dtype=torch.int64),
    )
    together, _ = pool_history(many, CONTENT, TYPES, types=2, half_lives_days=(1.0,))
    for row in range(6):
        one = UserFeatures(**{name: value[row : row + 1] for name, value in vars(many).items()})
        alone, _ = pool_history(one, CONTENT, TYPES, types=2, half_lives_days=(1.0,))
        torch.testing.assert_close(alone[0], together[row])


def test_names_hash_to_the_same_bucket_everywhere_and_unknown_to_zero() -> None:
    assert bucket_of(["", None, "DE", "DE"], 256).tolist() == [
        0,
        0,
        *[bucket_of(["DE"], 256)[0]] * 2,
    ]
    assert bucket_of(["DE"], 256)[0] > 0


def test_ages_come_in_steps_of_five_years() -> None:
    now = np.full(4, 1_750_000_000_000)
    years = np.array([0, 2025, 1985, 1800])
    assert age_of(years, now).tolist() == [0, 1, 9, 23]


def test_rows_of_unknown_keys_are_negative() -> None:
    rows = ItemRows(np.array([30, 10, 20], np.uint64))
    assert rows(np.array([10, 20, 30, 40], np.uint64)).tolist() == [1, 2, 0, -1]
    assert ItemRows(np.zeros(0, np.uint64))(np.array([1], np.uint64)).tolist() == [-1]


def test_items_of_a_type_that_the_towers_do_not_know_are_refused() -> None:
    items = make_items(4)
    with pytest.raises(ValueError, match="audiobook"):
        item_features(
            types=["podcast"],
            item_types=["audiobook"],
            languages=[None],
            genres=[None],
            text=items.text[:1],
            hgnn=None,
        )
