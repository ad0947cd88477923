"""A trainer that learned twice, or lost something, is found out; so are bundles from nowhere."""

from collections import Counter

from agents.bundles.rows import FollowedRows
from tests.agents.test_rows import MADE, delta, record
from tests.crash.learned import announced_differences, memory_differences, row_differences

LOG = {"replay": Counter([(0, 1), (0, 2), (1, 1)]), "holdout": Counter([(1, 7)])}


def test_equal_memories_have_no_differences():
    assert not memory_differences({name: Counter(held) for name, held in LOG.items()}, LOG)


def test_an_example_that_is_held_twice_or_lost_or_elsewhere_is_told():
    mine = {"replay": Counter([(0, 1), (0, 1), (1, 1), (1, 7)]), "holdout": Counter()}
    assert memory_differences(mine, LOG) == [
        "replay: example (0, 1) is held 2 times, not 1",
        "replay: example (0, 2) is held 0 times, not 1",
        "replay: example (1, 7) is held 1 times, not 0",
        "holdout: example (1, 7) is held 0 times, not 1",
    ]


def test_generations_rise_and_nobody_serves_one_that_was_not_announced():
    assert not announced_differences([1, 2, 5], {2, 5})
    assert announced_differences([1, 3, 3], {3, 4}) == [
        "generation 3 was announced after 3",
        "generation 4 was served and never announced",
    ]


def test_rows_that_no_replay_of_the_topic_comes_to_are_told():
    records = [record(delta(3, 5), 0), record(delta(2, 7, 5), 1, 1), record(delta(1, 9), 2)]
    known = set()
    for number in range(1, 4):
        follower = FollowedRows("default")
        follower.take(records[:number])
        known.add(follower.of(MADE).checksum(MADE))
    assert len(known) == 3
    assert not row_differences(records, known)
    assert row_differences(records[:1] + records[2:], known) != []
    assert row_differences(records, {*known, 17}) == [
        "rows with checksum 00000011 were served and never sent"
    ]
