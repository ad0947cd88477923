"""The benchmark of exploration: who counts as a fan, what counts as reached, and the cost."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np

from benchmarks.explore import ExplorePlan, _arm
from benchmarks.explore_world import Arm, Counts


def test_fans_are_counted_who_were_asked_within_a_day():
    """One launched item; users 0 and 1 are fans, 2 is nearly one, 3 does not follow the topic."""
    launched = [SimpleNamespace(interest=np.array([0.5, 0.2, 0.1, 0.0, 0.9]))]
    made = SimpleNamespace(
        launched=launched, fresh=SimpleNamespace(item_keys=np.array([7], np.uint64))
    )
    arm = Arm(
        asked=defaultdict(set, {0: {0, 1, 2, 3}}),
        reached=defaultdict(set, {0: {1, 2}}),
        hits=[True, False, False, False],
        lists=[(0, [1, 2]), (1, [7, 2])],
        explored=[(1, 7, 3), (2, 9, 3)],
    )
    found = _arm(ExplorePlan(), made, SimpleNamespace(watched=[0]), arm)
    assert (found["fans"], found["fans_reached"]) == (2, 0.5), "user 4 had no list"
    assert found["others_reached"] == 0.0
    assert (found["explored"], found["explored_share"]) == (2, 0.1)
    assert (found["of_launched"], found["of_launched_to_fans"]) == (1, 1.0)
    assert (found["questions"], found["hr_at_10"]) == (4, 0.25)


def test_counts_are_of_the_items_asked_for():
    counts = Counts()
    counts.shown[3] += 2
    counts.taken[3] += 1
    shown, taken = counts.of(np.array([5, 3], np.uint64))
    assert (shown.tolist(), taken.tolist()) == ([0, 2], [0, 1])
