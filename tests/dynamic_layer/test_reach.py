"""How often the answer is among a type's candidates."""

import numpy as np
import pytest

from dynamic_layer.lists.reach import Reach

TYPES = ["audiobook", "podcast", "video"]


def lists(*types: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(number, lists, hits) of each type."""
    number = np.concatenate([np.full(made, n) for n, made, _ in types])
    hit = np.concatenate([np.arange(made) < hits for _, made, hits in types])
    return number, hit


def test_shares_of_types_with_many_lists_are_what_was_counted() -> None:
    reach = Reach(10_000)
    reach.add(TYPES, *lists((0, 4_000, 1_000), (1, 4_000, 3_000)))
    assert reach.shares() == pytest.approx({"audiobook": 0.25, "podcast": 0.75}, abs=2e-3)


def test_few_lists_say_little() -> None:
    reach = Reach(10_000)
    reach.add(TYPES, *lists((0, 1_000, 500), (1, 2, 0)))
    assert reach.shares()["podcast"] == pytest.approx(0.5, abs=0.05)
    assert Reach(10_000).shares() == {}


def test_no_share_is_zero() -> None:
    reach = Reach(10_000)
    reach.add(TYPES, *lists((0, 500, 0)))
    assert 0 < reach.shares()["audiobook"] < 0.01


def test_later_lists_replace_earlier_ones() -> None:
    reach = Reach(1_000)
    reach.add(TYPES, *lists((0, 800, 800)))
    for _ in range(10):
        reach.add(TYPES, *lists((0, 800, 0)))
    assert reach.shares()["audiobook"] < 0.01


def test_counts_survive_a_checkpoint() -> None:
    reach = Reach(1_000)
    reach.add(TYPES, *lists((0, 100, 30), (2, 50, 40)))
    assert Reach(1_000, reach.saved()).shares() == reach.shares()
