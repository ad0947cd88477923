"""The benchmark of newcomers: who is asked, and what counts as shown."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.newcomer_places import Standing
from benchmarks.newcomer_watch import Launch, Watched
from benchmarks.newcomers import GROUPS, NewcomersPlan, _report, launches
from simulation import World, WorldSettings
from streams import Item, Recommendation, RecommendedItem

PLAN = NewcomersPlan(items=200, users=2_000, events=6_000, newcomers=3, asked=4)
WORLD = WorldSettings(users=2_000, items=200, events=6_000, reserve=60)


def listed(user: str, *items: str) -> Recommendation:
    return Recommendation(
        user_id=user, list="mix", generation=1, created_at=0,
        items=[RecommendedItem(item_id=i, item_type="podcast", score=1.0) for i in items],
    )  # fmt: skip


def test_fans_with_the_topic_listen_to_it_and_the_others_to_something_else() -> None:
    world = World(WORLD, PLAN.seed)
    found = launches(PLAN, world)
    assert len({launch.item.item_id for launch in found}) == 3
    for place, launch in enumerate(found):
        groups = [list(launch.asked.values()).count(group) for group in GROUPS]
        assert groups == [4, 4, 4]
        assert set(launch.listens) == set(launch.asked)
        for user, items in launch.listens.items():
            with_topic = launch.asked[user] == GROUPS[0]
            assert [item in launch.alike for item in items] == [with_topic] * 2
        assert launch == launches(replace(PLAN), world)[place]
    with pytest.raises(ValueError, match="more users"):
        launches(replace(PLAN, asked=400), world)


def test_an_item_is_shown_by_the_first_list_that_holds_it_until_it_is_deleted() -> None:
    launch = Launch(
        item=Item(item_id="new", item_type="podcast"), alike=frozenset({("podcast", "a")}),
        asked={"ann": GROUPS[0], "bob": GROUPS[2]}, listens={},
    )  # fmt: skip
    watched = Watched(launch=launch, started=100.0)
    watched.saw(listed("bob", "a", "b"), 100.5)
    watched.saw(listed("cyd", *(f"i{n}" for n in range(20)), "new"), 100.75)
    watched.saw(listed("cyd", "new"), 101.0)
    watched.saw(listed("ann", "a", "new"), 102.0)
    watched.saw(listed("ann", "new"), 103.0)
    watched.deleted = 105.0
    watched.saw(listed("ann", "new"), 105.25)
    watched.saw(listed("bob", "a"), 105.5)
    assert watched.first_s == {10: 1.0, 100: 0.75}
    assert watched.shown == {10: {"ann": 2.0}, 100: {"ann": 2.0}}
    assert watched.answered == {"ann", "bob"}
    assert watched.after_s == [0.25]

    standings = [[Standing(user=u, place=p, alike=0.5) for u, p in (("ann", 2), ("bob", 40))]]
    report = _report(replace(PLAN, newcomers=1), [watched], standings)
    assert report["first_list_s"]["first 10"]["p50"] == 1.0
    assert report["never_listed"] == {"first 10": 0, "first 100": 0}
    assert report["groups"][GROUPS[0]]["share"] == 1.0
    assert report["groups"][GROUPS[2]]["missed"]["place"]["p50"] == 40
    assert report["deleted"] == {
        "lists_with_it_later": 1, "last_s": 0.25, "fans_answered_later": 0
    }  # fmt: skip
    assert np.isfinite(report["groups"][GROUPS[0]]["missed"]["topic_in_the_first_ten"])
