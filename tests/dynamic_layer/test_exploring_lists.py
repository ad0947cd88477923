"""Lists that explore: one place changes, within all other rules, and says how likely that was."""

from dataclasses import replace

import numpy as np
import pytest

from console.serving import exploration
from dynamic_layer import (
    InForce,
    ListSettings,
    NewItems,
    Policies,
    Policy,
    Recommender,
    explain,
    rules_of,
)
from dynamic_layer.policies.rules import PolicyError
from state import ShownItems
from state.items import item_key
from tests.dynamic_layer.worlds import DAY_MS, START_MS, Items, make_user

NOW_MS = START_MS + 30 * DAY_MS
MIX = ListSettings(name="mix")
TYPES = {"item.stock": "number", "item.creator": "text", "item.added": "time"}
#: As often as can be: nearly every question of so few has an item explored.
OFTEN = {"share": 0.5, "attribute": "added", "days": 3.0}
NEW = [900, 901, 902, 903]


@pytest.fixture
def in_force(items: Items) -> InForce:
    """Items that are old, and new ones of two days and of today, with stocks and creators."""
    found = InForce()
    known = [
        {"added": NOW_MS - 100 * DAY_MS, "stock": 1, "creator": f"c{row}"} for row in range(120)
    ]
    found.columns.put(items.item_keys.tolist(), known)
    fresh = [
        {"added": NOW_MS - n * DAY_MS // 2, "stock": n, "creator": "c900"} for n in range(len(NEW))
    ]
    found.columns.put([item_key("podcast", f"i{row}") for row in NEW], fresh)
    return found


@pytest.fixture
def recommender(bundle, in_force, items) -> Recommender:
    made = Recommender(bundle, in_force=in_force)
    keys = np.array([item_key("podcast", f"i{row}") for row in NEW], np.uint64)
    made.add_items(NewItems(
        item_keys=keys, item_ids=[f"i{row}" for row in NEW], item_types=["podcast"] * len(NEW),
        languages=[None] * len(NEW), genres=[None] * len(NEW),
        text=np.asarray(items.text[[0, 1, 2, 3]])))  # fmt: skip
    return made


@pytest.fixture
def users(items: Items):
    return [
        replace(make_user(items, [n % 6, n % 6 + 6, n % 6 + 12], now_ms=NOW_MS), user_id=f"u{n}")
        for n in range(40)
    ]


def rows(ranking) -> list[int]:
    return [int(name[1:]) for name in ranking.item_ids]


def lists_of(recommender, users, one=MIX, explore=OFTEN, **rules):
    made = {"types": TYPES, **rules} | ({"explore": explore} if explore else {})
    recommender._in_force.policies = Policies(by_list={"*": Policy.of(rules_of(made))})
    return [answer[one.name] for answer in recommender.recommend(users, [one], NOW_MS)]


def explored(ranking) -> list[int]:
    return [rows(ranking)[one.place] for one in ranking.explored if one.new]


def test_one_place_has_a_new_item_and_all_others_are_as_before(recommender, users):
    # The list's own ranking does not have them: it has the average demand of their type.
    before = lists_of(recommender, users, explore=None)
    assert all(one.explored == () for one in before)
    found = lists_of(recommender, users)
    many = 0
    for old, new in zip(before, found, strict=True):
        [place] = new.explored
        assert place.place == 9
        assert 0 < place.propensity <= 1
        changed = [n for n in range(10) if rows(old)[n] != rows(new)[n]]
        assert changed == ([9] if place.new else [])
        np.testing.assert_array_equal(old.scores, new.scores)
        if place.new:
            many += 1
            assert explored(new)[0] in NEW
            assert explored(new)[0] not in rows(old)
    assert many > 20


def test_a_question_that_is_asked_again_has_the_same_list(recommender, users, bundle, in_force):
    # Rarity of matches is renewed where lists have doubled: with the second call, not the third.
    lists_of(recommender, users)
    first = [rows(one) for one in lists_of(recommender, users)]
    assert [rows(one) for one in lists_of(recommender, users)] == first
    alone = [rows(lists_of(recommender, [user])[0]) for user in users[:5]]
    assert alone == first[:5]


@pytest.mark.parametrize(
    ("seed", "share", "slots", "most"), [(1, 0.02, 1, None), (2, 0.05, 1, 1), (3, 0.06, 3, None)]
)
def test_lists_explore_the_share_from_the_first_list_on(
    recommender, items, seed, share, slots, most
):
    """Users of all kinds; with a cap that keeps some new items out of some lists."""
    rng, lists, batch = np.random.default_rng(seed), 20_000, 200
    users = [
        replace(make_user(items, rng.permutation(120)[:4].tolist(), now_ms=NOW_MS), user_id=f"v{n}")
        for n in range(lists)
    ]
    rule = {**OFTEN, "share": share, "slots": slots}
    made = {"types": TYPES, "explore": rule}
    if most is not None:
        made["quota"] = [{"when": "item.creator in ('c1', 'c900')", "most": most}]
    recommender._in_force.policies = Policies(by_list={"*": Policy.of(rules_of(made))})
    times = 0
    for first in range(0, lists, batch):
        # A batch each two seconds.
        found = recommender.recommend(users[first : first + batch], [MIX], NOW_MS + first * 10)
        times += sum(len(explored(answer["mix"])) for answer in found)
    assert times == pytest.approx(share * 10 * lists, rel=0.02)


def test_weights_count_for_what_is_explored(recommender, users):
    """By their ratios: a weight that all new items have changes nothing."""
    rule = OFTEN | {"share": 0.05}

    def found(**rules):
        made = lists_of(recommender, users, explore=rule, **rules)
        return [row for one in made for row in explored(one)]

    def times(**rules):
        return found(**rules).count(900)

    heavy = [{"when": "item.stock = 0", "factor": 20}]
    assert times(bury=heavy) < times() < times(boost=heavy)
    assert found(bury=[{"when": "item.creator = 'c900'", "factor": 1e3}]) == found()


def test_an_explored_item_keeps_to_all_other_rules(recommender, users, items):
    assert not any(explored(one) for one in lists_of(recommender, users, filter="item.stock = 7"))
    some = lists_of(recommender, users, filter="item.stock <= 1")
    assert {row for one in some for row in explored(one)} == {900, 901}
    # All new items have the creator of one that has its place for good.
    slot = [{"position": 1, "item_type": "podcast", "item_id": "i900"}]
    cap = [{"attribute": "creator", "most": 1}]
    assert any(explored(one) for one in lists_of(recommender, users, slots=slot))
    assert not any(explored(one) for one in lists_of(recommender, users, slots=slot, cap=cap))
    none = [{"when": "item.creator = 'c900'", "most": 0}]
    assert not any(explored(one) for one in lists_of(recommender, users, quota=none))
    every = [{"when": "item.creator <> 'c900'", "least": 10}]
    assert not any(explored(one) for one in lists_of(recommender, users, quota=every))
    books = ListSettings(name="books", item_types=("audiobook",))
    assert not any(explored(one) for one in lists_of(recommender, users, books))
    again = ListSettings(name="again", repeats="only")
    assert not any(one.explored for one in lists_of(recommender, users, again))


def test_what_a_user_knows_dislikes_or_was_shown_is_not_explored(recommender, users):
    keys = np.array([item_key("podcast", f"i{row}") for row in NEW], np.uint64)
    shown = ShownItems(items=keys, begin=np.full(4, NOW_MS), count=np.array([1, 1, 2, 1]))
    known = replace(
        users[0],
        history_item=np.concatenate([keys, users[0].history_item]),
        history_time=np.concatenate([np.full(4, NOW_MS - 1), users[0].history_time]),
        history_strong=np.concatenate([np.zeros(4, bool), users[0].history_strong]),
    )
    for user in (known, replace(users[0], disliked=keys), replace(users[0], shown=shown)):
        assert not any(explored(one) for one in lists_of(recommender, [user] * 20))
    found = lists_of(recommender, [replace(one, shown=shown) for one in users],
                     explore=OFTEN | {"showings": 2})  # fmt: skip
    assert {row for one in found for row in explored(one)} == {900, 901, 903}


def test_items_stop_being_new(recommender, users, monkeypatch):
    young = lists_of(recommender, users, explore=OFTEN | {"days": 0.7})
    assert {row for one in young for row in explored(one)} == {900, 901}
    counts = {"i900": (500, 0), "i901": (499, 20)}

    def shown_and_taken(asked):
        found = [counts.get(recommender._names.ids[row], (0, 0)) for row in asked.tolist()]
        return np.array(found, np.int64).reshape(-1, 2).T

    monkeypatch.setattr(recommender, "shown_and_taken", shown_and_taken)
    later = lists_of(recommender, users, explore=OFTEN | {"graduate": 500})
    assert 900 not in {row for one in later for row in explored(one)}


def test_without_a_time_an_item_is_new_until_a_bundle_has_it(recommender, users):
    found = lists_of(recommender, users, explore={"share": 0.5})
    assert {row for one in found for row in explored(one)} <= {*NEW}
    assert any(explored(one) for one in found)


def test_places_and_slots_of_the_rule(recommender, users):
    rule = OFTEN | {"position": 4, "slots": 3}
    slot = [{"position": 3, "item_type": "podcast", "item_id": "i5"}]
    for one in lists_of(recommender, users, explore=rule, slots=slot):
        assert [place.place for place in one.explored] == [3, 1, 0]
        assert len(set(rows(one))) == 10
    short = lists_of(recommender, users, ListSettings(name="short", k=3))
    assert {one.explored[0].place for one in short} == {2}
    # In a list with fewer items than places it is the last one.
    few = lists_of(recommender, users, filter="item.creator in ('c1', 'c2', 'c900')")
    assert all(place.place < len(one) for one in few for place in one.explored)
    assert {len(one) for one in few} <= {4, 5, 6}


def test_the_reasons_of_an_explored_place_have_its_propensity(recommender, users):
    found = lists_of(recommender, users)
    place = next(n for n, one in enumerate(found) if explored(one))
    ranking = explain(recommender, users[place], MIX, end=10, now_ms=NOW_MS)
    assert rows(ranking) == rows(found[place])
    [rule] = ranking.why[9].rules
    assert (rule.rule, rule.adds) == ("explore", 0.0)
    assert rule.propensity == found[place].explored[0].propensity
    assert sum(ranking.why[9].parts.values()) == pytest.approx(float(ranking.scores[9]), abs=1e-4)
    assert not any(why.rules for why in ranking.why[:9])


@pytest.mark.parametrize(
    ("explore", "said"),
    [
        ({"share": 0.0}, r"explore.share"),
        ({"share": 0.6}, r"explore.share"),
        ({"slots": 0}, r"explore.slots"),
        ({"slots": 3, "position": 2}, "explore.slots: expected at most position, 2, got 3"),
        ({"graduate": 0}, r"explore.graduate"),
        ({"odd": 1}, "explore"),
        ({"attribute": "stock"}, "explore.attribute: expected a time, stock is number"),
        ({"attribute": "gone"}, "explore.attribute: there is no attribute 'gone'"),
    ],
)
def test_mistakes_are_refused_with_their_place(explore, said):
    with pytest.raises(PolicyError, match=said):
        Policy.of(rules_of({"types": TYPES, "explore": explore}))


def test_what_is_explored_can_be_told(recommender, in_force, monkeypatch):
    counts = {"i900": (60, 6), "i901": (10, 0), "i902": (500, 9)}

    def shown_and_taken(asked):
        found = [counts.get(recommender._names.ids[row], (0, 0)) for row in asked.tolist()]
        return np.array(found, np.int64).reshape(-1, 2).T

    assert exploration(recommender, NOW_MS) == []
    monkeypatch.setattr(recommender, "shown_and_taken", shown_and_taken)
    rule = OFTEN | {"graduate": 100}
    policy = Policy.of(rules_of({"types": TYPES, "explore": rule}))
    in_force.policies = Policies(by_list={"mix": policy})

    [told] = exploration(recommender, NOW_MS)

    assert (told["list"], told["new"], told["graduated"]) == ("mix", 3, 1)
    assert (told["shown"], told["taken"]) == (70, 6)
    assert told["low"] < told["rate"] == 6 / 70 < told["high"]
    by_name = {one["item_id"]: one for one in told["items"]}
    assert by_name.keys() == {"i900", "i901", "i903"}
    assert (by_name["i900"]["shown"], by_name["i900"]["taken"]) == (60, 6)
    # What was taken often is expected to be taken again; what was not, less than an unknown one.
    assert by_name["i901"]["expected"] < by_name["i900"]["expected"]
    assert sum(one["part"] for one in told["items"]) == pytest.approx(1.0)
    parts = [one["part"] for one in told["items"]]
    assert parts == sorted(parts, reverse=True)
