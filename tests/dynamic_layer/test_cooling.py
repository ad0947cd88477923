"""Cooling-off: what was taken lately or shown often is in no list of a policy that says so."""

from dataclasses import replace

import numpy as np
import pytest

from dynamic_layer import InForce, ListSettings, Policies, Policy, Recommender, rules_of
from dynamic_layer.policies.rules import Cooling, PolicyError
from dynamic_layer.serving.cooling import cooling_items
from state import ShownItems
from tests.dynamic_layer.worlds import DAY_MS, START_MS, Items, make_user

NOW_MS = START_MS + 30 * DAY_MS


@pytest.fixture
def in_force(items: Items) -> InForce:
    found = InForce()
    found.columns.put(
        items.item_keys.tolist(), [{"few": row < 11} for row in range(len(items.item_ids))]
    )
    return found


@pytest.fixture
def recommender(bundle, in_force) -> Recommender:
    return Recommender(bundle, in_force=in_force)


def rows(ranking) -> list[int]:
    return [int(name[1:]) for name in ranking.item_ids]


def lists_of(recommender, in_force, users, one, **rules):
    policy = Policy.of(rules_of({"types": {"item.few": "boolean"}, **rules}))
    in_force.policies = Policies(by_list={"*": policy})
    return [rows(a[one.name]) for a in recommender.recommend(users, [one], NOW_MS)]


def with_shown(user, items, shown: list[tuple[int, int, int]]):
    """shown: item row, days ago, impressions."""
    row, days, count = np.array(shown, np.int64).reshape(-1, 3).T
    keys = items.item_keys[row]
    return replace(user, shown=ShownItems(items=keys, begin=NOW_MS - days * DAY_MS, count=count))


@pytest.mark.parametrize("history", [[0, 6, 12], []])
@pytest.mark.parametrize("repeats", ["exclude", "include"])
def test_what_was_shown_often_lately_is_not_shown(recommender, in_force, items, history, repeats):
    one = ListSettings(name="mix", repeats=repeats)
    plain = make_user(items, history, now_ms=NOW_MS)
    [before] = lists_of(recommender, in_force, [plain], one)
    often, twice, long_ago, never = before[:4]
    shown = [(often, 1, 2), (often, 3, 1), (twice, 1, 2), (long_ago, 8, 9)]
    user = with_shown(plain, items, shown)
    rule = {"showings": 3, "shown_days": 7}
    found, other = lists_of(recommender, in_force, [user, plain], one, cooling=rule)
    assert often not in found
    assert {twice, long_ago, never} <= set(found)
    assert len(found) == 10
    assert other == before, "another user's impressions change nothing"
    [found] = lists_of(recommender, in_force, [user], one, cooling=rule | {"shown_days": 30})
    assert not {often, long_ago} & set(found)
    # Nor does a pinned item come, nor what fills a list that a filter leaves short.
    slot = {"position": 1, "item_type": items.item_types[often], "item_id": items.item_ids[often]}
    [found] = lists_of(recommender, in_force, [user], one, cooling=rule, slots=[slot])
    assert often not in found
    few = with_shown(plain, items, [(3, 1, 5)])
    [found] = lists_of(recommender, in_force, [few], one, cooling=rule, filter="item.few")
    assert 3 not in found
    assert len(found) >= 8


def test_what_was_taken_lately_does_not_come_again_yet(recommender, in_force, items):
    """In lists of what a user had before: entries are 1, 2 and 3 days old."""
    user = make_user(items, [0, 6, 12], now_ms=NOW_MS)
    one = ListSettings(name="again", repeats="only")
    for days, expected in ((0.5, {0, 6, 12}), (1.5, {6, 12}), (30, set())):
        [found] = lists_of(recommender, in_force, [user], one, cooling={"taken_days": days})
        assert set(found) == expected
    # A glance that came later is not what counts, where the state says when it was taken.
    strong_time = NOW_MS - np.array([9, 2, 9]) * DAY_MS
    seen = replace(user, history_strong_time=strong_time)
    [found] = lists_of(recommender, in_force, [seen], one, cooling={"taken_days": 5})
    assert set(found) == {0, 12}
    weak = replace(user, history_strong=np.array([True, False, True]))
    included = ListSettings(name="again", k=200, repeats="include")
    [found] = lists_of(recommender, in_force, [weak], included, cooling={"taken_days": 30})
    assert {0, 6, 12} & set(found) == {6}


def test_a_rule_counts_what_it_names_alone(items):
    """Taken or shown; of a user whose impressions are not kept, nothing was shown."""
    plain = make_user(items, [0], now_ms=NOW_MS)
    user = with_shown(plain, items, [(3, 1, 9)])
    taken, shown = Cooling(taken_days=30), Cooling(showings=1)
    assert cooling_items(taken, user, NOW_MS).tolist() == items.item_keys[[0]].tolist()
    assert cooling_items(shown, user, NOW_MS).tolist() == items.item_keys[[3]].tolist()
    assert cooling_items(shown, plain, NOW_MS).tolist() == []


@pytest.mark.parametrize(("more_ms", "kept_out"), [(0, False), (1, True)])
def test_a_rule_ends_after_its_days_to_the_millisecond(items, more_ms, kept_out):
    then = np.array([NOW_MS - 7 * DAY_MS + more_ms])
    plain = make_user(items, [0], now_ms=NOW_MS)
    taken = replace(plain, history_time=then)
    keys = items.item_keys[[0]]
    shown = replace(plain, shown=ShownItems(items=keys, begin=then, count=np.array([1])))
    for rule, user in [(Cooling(taken_days=7), taken), (Cooling(showings=1, shown_days=7), shown)]:
        assert cooling_items(rule, user, NOW_MS).tolist() == (keys.tolist() if kept_out else [])


@pytest.mark.parametrize(
    "rule",
    [{"showings": -1}, {"taken_days": -1}, {"shown_days": 0}, {"days": 3}, {"showings": 1.5}],
)
def test_rules_without_meaning_are_refused_with_their_place(rule):
    with pytest.raises(PolicyError, match="cooling"):
        rules_of({"cooling": rule})
