"""Lists under policies: nothing that the filter leaves out, never more than the limits, full."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamic_layer import (
    DynamicBundle,
    InForce,
    ListSettings,
    NewItems,
    Policies,
    Policy,
    Recommender,
    default_lists,
    rules_of,
)
from dynamic_layer.index.hits import Hits
from dynamic_layer.items.features import ItemRows
from dynamic_layer.policies.columns import ItemColumns
from dynamic_layer.policies.expressions import compile_expression
from dynamic_layer.policies.limits import crowded
from dynamic_layer.policies.masks import RowMasks
from dynamic_layer.policies.rules import (
    Cap,
    Cooling,
    Explore,
    Fresh,
    PolicyError,
    PolicyRules,
    Quota,
    Slot,
    Weighted,
)
from dynamic_layer.policies.selection import Candidates, select
from dynamic_layer.serving import policy_lists
from dynamic_layer.serving.limited_lists import LimitedLists, _distinct
from state.items import item_key
from tests.dynamic_layer.worlds import DAY_MS, START_MS, Items, make_user

NOW_MS = START_MS + 30 * DAY_MS
MIX = ListSettings(name="mix")
TYPES = {"item.stock": "number", "item.creator": "text", "item.added": "time"}


@pytest.fixture
def in_force(items: Items) -> InForce:
    """Seven creators, stock of 0 to 2, two titles each."""
    found = InForce()
    found.columns.put(
        items.item_keys.tolist(),
        [
            {
                "stock": row % 3, "creator": f"c{row % 7}", "title": f"Title {row % 60}",
                "genres": items.genres[row], "type": items.item_types[row],
                "added": NOW_MS - row * DAY_MS,
            }
            for row in range(len(items.item_ids))
        ],
    )  # fmt: skip
    return found


@pytest.fixture
def recommender(bundle: DynamicBundle, in_force: InForce) -> Recommender:
    return Recommender(bundle, in_force=in_force)


@pytest.fixture
def users(items: Items):
    """Two with a history, one without, one of another country."""
    made = [make_user(items, own, now_ms=NOW_MS) for own in ([0, 6, 12], [1, 7], [], [3])]
    return [*made[:3], replace(made[3], country="DE", attributes={"plan": "free"})]


def lists_of(recommender, users, in_force, rules, lists=(MIX,), now_ms=NOW_MS):
    policy = Policy.of(rules_of({"types": TYPES, **rules}))
    in_force.policies = Policies(by_list={"*": policy})
    return recommender.recommend(users, list(lists), now_ms)


def rows(ranking):
    return [int(name[1:]) for name in ranking.item_ids]


def plain(answers):
    return [
        {name: (list(one.rows), one.scores.tolist(), one.by_head) for name, one in answer.items()}
        for answer in answers
    ]


def test_without_a_policy_lists_are_what_they_are_without_columns(
    bundle, recommender, users, in_force
):
    lists = default_lists(bundle.types)
    wanted = plain(Recommender(bundle).recommend(users, lists, NOW_MS))
    assert plain(recommender.recommend(users, lists, NOW_MS)) == wanted
    # Nor does a policy without rules change anything, nor one of another list.
    assert plain(lists_of(recommender, users, in_force, {}, lists)) == wanted
    other = Policy.of(rules_of({"filter": "item.stock = 2", "types": TYPES}))
    in_force.policies = Policies(by_list={"mix": other})
    changed = plain(recommender.recommend(users, lists, NOW_MS))
    assert [[*answer] for answer in changed] == [[*answer] for answer in wanted]
    for answer, before in zip(changed, wanted, strict=True):
        assert answer["mix"] != before["mix"]
        assert all(answer[name] == before[name] for name in before if name != "mix")


@pytest.mark.parametrize("repeats", ["exclude", "include"])
@pytest.mark.parametrize("text", ["true", "item.stock >= 0"])
def test_a_filter_that_leaves_all_changes_nothing(
    bundle, recommender, users, in_force, repeats, text
):
    one = ListSettings(name="mix", repeats=repeats, k=30)
    wanted = plain(Recommender(bundle).recommend(users, [one], NOW_MS))
    found = plain(lists_of(recommender, users, in_force, {"filter": text}, [one]))
    assert [answer["mix"][0] for answer in found] == [answer["mix"][0] for answer in wanted]


def test_a_filter_leaves_only_its_items_and_lists_stay_full(recommender, users, in_force):
    lists = [
        MIX,
        ListSettings(name="p", item_types=("podcast",)),
        ListSettings(name="r", repeats="only"),
    ]
    answers = lists_of(recommender, users, in_force, {"filter": "item.stock = 2"}, lists)
    for answer in answers:
        assert {row % 3 for one in answer.values() for row in rows(one)} <= {2}
        assert [len(answer["mix"]), len(answer["p"])] == [10, 10]
    # Few are left: all of them come.
    few = {"filter": "item.stock = 2 and item.creator = 'c1'"}
    for answer in lists_of(recommender, users, in_force, few, lists):
        assert set(rows(answer["mix"])) == {r for r in range(120) if r % 3 == 2 and r % 7 == 1}


def test_a_change_of_an_attribute_counts_for_the_next_list(recommender, users, in_force, items):
    rules = {"filter": "item.stock > 0"}
    first = rows(lists_of(recommender, users, in_force, rules)[0]["mix"])[0]
    in_force.columns.put([int(items.item_keys[first])], [{"stock": 0}])
    again = recommender.recommend(users, [MIX], NOW_MS)
    assert all(first not in rows(answer["mix"]) and len(answer["mix"]) == 10 for answer in again)
    in_force.columns.put([int(items.item_keys[first])], [{"stock": 1}])
    assert rows(recommender.recommend(users, [MIX], NOW_MS)[0]["mix"])[0] == first


def test_items_that_come_later_are_filtered_by_their_own_attributes(
    recommender, users, in_force, items
):
    keys = np.array([item_key("podcast", name) for name in ("i998", "i999")], np.uint64)
    in_force.columns.put(keys.tolist(), [{"stock": 9}, {"stock": 0}])
    lists_of(recommender, users, in_force, {"filter": "item.stock = 9"})
    recommender.add_items(NewItems(
        item_keys=keys, item_ids=["i998", "i999"], item_types=["podcast"] * 2,
        languages=[None] * 2, genres=[None] * 2, text=np.asarray(items.text[:2])))  # fmt: skip
    answer = lists_of(recommender, users[:1], in_force, {"filter": "item.stock = 9"})[0]
    assert rows(answer["mix"]) == [998]


def test_conditions_read_the_user(recommender, users, in_force):
    text = (
        "(user.plan = 'free' and item.stock = 1) or (user.country = 'US' and item.stock = 2)"
        " or (user.birth_year < 1990 and item.stock = 0)"
    )
    types = TYPES | {"user.plan": "text"}
    users = [*users, replace(users[0], country="US"), replace(users[0], birth_year=1980)]
    answers = lists_of(recommender, users, in_force, {"filter": text, "types": types})
    found = [{row % 3 for row in rows(answer["mix"])} for answer in answers]
    assert found == [set(), set(), set(), {1}, {2}, {0}]


def test_conditions_read_the_request(recommender, users, in_force):
    """Surface and device as they were sent; hour and weekday where the user is."""
    text = (
        "(request.surface = 'home' and item.stock = 1)"
        " or (request.device <> 'phone' and item.stock = 2)"
        " or (request.hour = 7 and request.weekday = 3 and item.stock = 0)"
    )
    now_ms = 1_700_000_000_000  # 22:13 of a Tuesday in UTC, 7:13 of a Wednesday in Tokyo
    one = users[0]
    asked = [
        one,
        replace(one, context={"surface": "home"}),
        replace(one, context={"surface": "search", "device": "tv", "time_zone": None}),
        replace(one, context={"time_zone": "Asia/Tokyo"}),
        replace(one, attributes={"time_zone": "Asia/Tokyo"}),
        replace(one, attributes={"time_zone": "Asia/Tokyo"}, context={"time_zone": "UTC"}),
        replace(one, context={"time_zone": "../etc/passwd"}, attributes={"time_zone": 7}),
    ]
    answers = lists_of(recommender, asked, in_force, {"filter": text}, now_ms=now_ms)
    found = [{row % 3 for row in rows(answer["mix"])} for answer in answers]
    assert found == [set(), {1}, {2}, {0}, {0}, set(), set()]


def test_no_more_than_the_cap_of_a_value_and_full_where_that_is_possible(
    recommender, users, in_force
):
    for most, wanted in ((2, 10), (1, 7)):  # seven creators
        rules = {"cap": [{"attribute": "creator", "most": most}]}
        for answer in lists_of(recommender, users, in_force, rules):
            creators = [row % 7 for row in rows(answer["mix"])]
            assert max(map(creators.count, creators)) <= most
            assert len(creators) == wanted


def test_each_value_of_a_list_counts_for_its_cap(recommender, users, in_force, items):
    rules = {"cap": [{"attribute": "genres", "most": 1}]}
    for answer in lists_of(recommender, users, in_force, rules):
        genres = [name for row in rows(answer["mix"]) for name in items.genres[row] or ()]
        assert len(genres) == len(set(genres))
        assert len(answer["mix"]) == 10  # a third of the items has no genre


@pytest.mark.parametrize("of", ["boolean", "number", "time", "text", "list"])
def test_a_cap_counts_equal_values_of_any_type(recommender, users, in_force, items, of):
    """A third of the items has no value, and counts for no limit."""
    made = {
        "boolean": bool, "number": float, "time": lambda odd: NOW_MS + odd, "text": str,
        "list": lambda odd: [str(odd)],
    }[of]  # fmt: skip
    values = [{"x": made(row % 2)} if row % 3 else {} for row in range(len(items.item_ids))]
    in_force.columns.put(items.item_keys.tolist(), values)
    rules = {"cap": [{"attribute": "x", "most": 2}], "types": {"item.x": of}}
    for answer in lists_of(recommender, users, in_force, rules, [ListSettings(name="mix", k=30)]):
        found = Counter(row % 2 for row in rows(answer["mix"]) if row % 3)
        assert max(found.values()) <= 2
        assert len(answer["mix"]) == 30


def test_a_boost_of_one_changes_nothing(recommender, users, in_force):
    """Whatever limits leave of the candidates."""
    rules = {"cap": [{"attribute": "creator", "most": 1}]}
    one = {"boost": [{"when": "item.stock = 0", "factor": 1.0}]}
    for lists in ([MIX], [ListSettings(name="mix", k=7)]):
        before = plain(lists_of(recommender, users, in_force, rules, lists))
        assert plain(lists_of(recommender, users, in_force, rules | one, lists)) == before


def test_items_with_the_same_title_come_once(recommender, users, in_force):
    for answer in lists_of(recommender, users, in_force, {"same": [["title"]]}):
        titles = [row % 60 for row in rows(answer["mix"])]
        assert len(titles) == len(set(titles)) == 10


def test_items_are_the_same_by_all_attributes_of_a_group_that_they_have(
    recommender, users, in_force, items
):
    rules = {"same": [["stock", "creator"]]}
    wide = [ListSettings(name="mix", k=30)]
    for answer in lists_of(recommender, users, in_force, rules, wide):
        assert sorted({row % 21 for row in rows(answer["mix"])}) == list(range(21))
        assert len(answer["mix"]) == 21
    # Items without a creator are not the same as any.
    lacking = [row for row in range(len(items.item_ids)) if row % 21 == 4]
    in_force.columns.put(items.item_keys[lacking].tolist(), [{"stock": 1}] * len(lacking))
    for answer in lists_of(recommender, users, in_force, rules, wide):
        found = Counter(row % 21 for row in rows(answer["mix"]))
        assert found == Counter(range(21)) + Counter({4: found[4] - 1})
        assert found[4] > 1


def test_boosted_items_come_first_and_buried_ones_last(recommender, users, in_force):
    many = {"when": "item.creator = 'c3'", "factor": 1e6}
    for answer in lists_of(recommender, users[:3], in_force, {"boost": [many]}):
        assert {row % 7 for row in rows(answer["mix"])} == {3}
    # In the order in which they would stand alone.
    alone = lists_of(recommender, users[:2], in_force, {"filter": many["when"]})
    boosted = lists_of(recommender, users[:2], in_force, {"boost": [many]})
    for one, other in zip(alone, boosted, strict=True):
        assert rows(one["mix"]) == rows(other["mix"])
    for answer in lists_of(recommender, users, in_force, {"bury": [many]}):
        assert 3 not in {row % 7 for row in rows(answer["mix"])}


def test_what_users_had_before_is_all_that_such_a_list_has_under_limits(
    recommender, users, in_force
):
    """Of a user without a history, it has nothing: not what is popular."""
    again = [ListSettings(name="again", repeats="only")]
    rules = {"cap": [{"attribute": "creator", "most": 1}]}
    found = [
        set(rows(one["again"])) for one in lists_of(recommender, users, in_force, rules, again)
    ]
    assert found == [{0, 6, 12}, {1, 7}, set(), {3}]


def test_quotas_hold_at_both_ends(recommender, users, in_force):
    for least, most in ((4, None), (0, 1), (3, 3), (0, 0)):
        quota = {"when": "item.creator = 'c3'", "least": least, "most": most}
        for answer in lists_of(recommender, users, in_force, {"quota": [quota]}):
            count = [row % 7 for row in rows(answer["mix"])].count(3)
            assert least <= count <= (10 if most is None else most)
            assert len(answer["mix"]) == 10


def test_slots_hold_their_items_at_their_times_unless_the_filter_leaves_them_out(
    recommender, users, in_force
):
    slot = {"position": 2, "item_type": "podcast", "item_id": "i110"}
    for answer in lists_of(recommender, users, in_force, {"slots": [slot]}):
        assert rows(answer["mix"])[1] == 110
        assert len(answer["mix"]) == 10
    # Not among what the user knows, not out of stock, not before or after its time.
    known = [replace(users[0], history_item=np.array([item_key("podcast", "i110")], np.uint64),
                     history_time=np.array([NOW_MS]), history_strong=np.array([True]))]  # fmt: skip
    assert 110 not in rows(lists_of(recommender, known, in_force, {"slots": [slot]})[0]["mix"])
    for more in (
        {"filter": "item.stock < 2"},
        {"slots": [slot | {"until": "2023-01-01"}]},
        {"slots": [slot | {"start": "2100-01-01"}]},
        {"slots": [slot | {"item_id": "gone"}]},
    ):
        answer = lists_of(recommender, users[:1], in_force, {"slots": [slot], **more})[0]
        assert rows(answer["mix"])[1] != 110


def test_of_several_slots_for_a_position_the_last_that_a_user_may_get_holds(
    recommender, users, in_force
):
    slots = [{"position": 2, "item_type": "podcast", "item_id": name} for name in ("i110", "i112")]
    [answer] = lists_of(recommender, users[:1], in_force, {"slots": slots})
    assert rows(answer["mix"])[1] == 112
    known = [replace(users[0], history_item=np.array([item_key("podcast", "i112")], np.uint64),
                     history_time=np.array([NOW_MS]), history_strong=np.array([True]))]  # fmt: skip
    [answer] = lists_of(recommender, known, in_force, {"slots": slots})
    assert rows(answer["mix"])[1] == 110
    assert 112 not in rows(answer["mix"])


@pytest.fixture
def few_candidates(monkeypatch):
    """Candidates of a list are as many as its items: what limits keep out has to be asked for."""
    monkeypatch.setattr(policy_lists, "_depth", lambda _, one: one.k)


@pytest.mark.parametrize(
    ("rules", "values", "most", "k"),
    [
        ({"same": [["title"]]}, 60, 1, 50),
        ({"cap": [{"attribute": "creator", "most": 3}]}, 7, 3, 21),
        ({"quota": [{"when": "item.stock > 0", "most": 0}]}, 3, 40, 35),
    ],
)
@pytest.mark.usefixtures("few_candidates")
def test_lists_that_limits_make_short_are_filled_without_what_the_user_rejects(
    recommender, users, in_force, items, rules, values, most, k
):
    rejected = [[0, 7, 3], [119, 118, 117, 99], []]
    for user in (users[0], users[2]):
        asked = [replace(user, disliked=items.item_keys[one]) for one in rejected]
        answers = lists_of(recommender, asked, in_force, rules, [ListSettings(name="mix", k=k)])
        for disliked, answer in zip(rejected, answers, strict=True):
            found = rows(answer["mix"])
            assert len(found) == k
            assert not set(found) & set(disliked)
            assert max(Counter(row % values for row in found).values()) <= most


@pytest.mark.usefixtures("few_candidates")
def test_a_short_list_is_filled_with_the_last_item_of_the_catalogue_too(
    recommender, users, in_force, items
):
    last = len(items.item_ids) - 1
    every = [ListSettings(name="mix", k=last + 1)]
    first, *others = rows(lists_of(recommender, users[:1], in_force, {}, every)[0]["mix"])
    # More than come where items are asked for that the limit keeps out.
    creators = {**dict.fromkeys((first, *others[:20]), "a"), last: "b"}
    assert last not in others[:20]
    in_force.columns.put(
        items.item_keys.tolist(),
        [{"creator": creators[row]} if row in creators else {} for row in range(last + 1)],
    )
    rules = {
        "filter": "item.creator is not null", "cap": [{"attribute": "creator", "most": 1}]
    }  # fmt: skip
    two = [ListSettings(name="mix", k=2)]
    [answer] = lists_of(recommender, users[:1], in_force, rules, two)
    assert rows(answer["mix"]) == [first, last]


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("user", [1, 2])
def test_a_short_list_is_not_filled_with_what_it_has(recommender, users, in_force, items, user):
    """Nor with the first item of the catalogue, which no limit keeps out."""
    every = [ListSettings(name="mix", k=len(items.item_ids))]
    ranking = rows(lists_of(recommender, users[user : user + 1], in_force, {}, every)[0]["mix"])
    place = ranking.index(0)
    _, second, third, *_, last = ranking[place:]
    creators = {0: {}, second: {"creator": "a"}, third: {"creator": "a"}, last: {"creator": "b"}}
    in_force.columns.put(
        items.item_keys.tolist(),
        [{"kept": row in creators, **creators.get(row, {})} for row in range(len(items.item_ids))],
    )
    rules = {
        "filter": "item.kept", "cap": [{"attribute": "creator", "most": 1}],
        "types": TYPES | {"item.kept": "boolean"},
    }  # fmt: skip
    three = [ListSettings(name="mix", k=3)]
    [answer] = lists_of(recommender, users[user : user + 1], in_force, rules, three)
    assert rows(answer["mix"]) == [0, second, last]


@pytest.mark.parametrize("seed", range(12))
def test_crowded_items_are_those_whose_values_have_their_share(in_force, items, seed):
    of_genre = 1 + seed % 2
    caps = [{"attribute": "creator", "most": 2}, {"attribute": "genres", "most": of_genre}]
    rules = {
        "cap": caps if seed < 6 else caps[::-1],
        "same": [["title"]],
        "quota": [{"when": "item.stock = 2", "most": 1}],
    }
    policy = Policy.of(rules_of({"types": TYPES, **rules}))
    every = np.arange(len(items.item_ids))
    chosen = np.random.default_rng(seed).choice(every, 1 + seed // 2, replace=False)

    def values(row):
        """Each with how many items of a list may have it."""
        yield ("creator", row % 7), 2
        yield from ((("genre", genre), of_genre) for genre in items.genres[row] or ())
        yield ("title", row % 60), 1
        if row % 3 == 2:
            yield ("stock", 2), 1

    times = Counter(value for row in chosen for value, _ in values(row))
    expected = [any(times[value] >= most for value, most in values(row)) for row in every]
    slots = in_force.columns.slots_of(items.item_keys)
    found = crowded(policy, in_force.columns, slots, chosen, (every % 3 == 2)[:, None])
    assert found.tolist() == expected


@pytest.mark.usefixtures("few_candidates")
def test_a_slot_counts_as_the_last_candidate(recommender, users, in_force):
    slot = {"position": 2, "item_type": "podcast", "item_id": "i110"}
    [plain], [pinned] = (
        lists_of(recommender, users[:1], in_force, {"filter": "true", "slots": slots})
        for slots in ([], [slot])
    )
    assert 110 not in rows(plain["mix"])
    assert pinned["mix"].scores[1] == plain["mix"].scores[-1]
    assert rows(pinned["mix"])[2:] == rows(plain["mix"])[1:-1]


@pytest.mark.parametrize(
    ("before", "after", "fits"),
    [
        ([0, 3], [0, 1], False), ([0, 3], [3, 0], True), ([0, 1], [2, 3], True),
        ([0, 1], [1, 2], False), ([1, 2], [2, 1], True),
        ([1, -1], [1, 2], True), ([0, -1], [1, 2], False), ([3, -1], [0, 1], True),
        ([0, 3, 4], [0, 3], True), ([0, 3, 4], [0, 1], False),
    ],
)  # fmt: skip
def test_a_quota_that_a_list_held_is_held_with_what_it_explores(before, after, fits):
    """Two of the first, the fourth and the last item; -1 is behind the end of a list."""
    quota = {"when": "item.stock = 0", "least": 2}
    lists = SimpleNamespace(
        policy=Policy.of(rules_of({"types": TYPES, "quota": [quota]})),
        in_force=InForce(),
        slots=np.zeros(5, np.int64),
        _mask=lambda _: np.array([True, False, False, True, True]),
    )
    assert LimitedLists._fits(lists, np.array(after), np.array(before)) is fits


def test_further_candidates_come_behind_the_first_in_their_own_order():
    first = Hits(np.array([[4, 2, -1]]), np.array([[3.0, 1.0, -np.inf]], np.float32))
    more = Hits(np.array([[7, 8]]), np.array([[-5.0, -5.5]], np.float32))
    behind = LimitedLists._behind(None, first, more)
    assert behind.rows is more.rows
    assert behind.scores.tolist() == [[1.0, 0.5]]


@pytest.mark.parametrize(
    ("of", "value", "holds"),
    [
        ("number", 3, True), ("number", "3", False), ("number", True, False),
        ("number", 10**400, False),
        ("time", "2025-01-01", True), ("time", 1.7e12, True), ("time", "soon", False),
        ("boolean", True, True), ("boolean", 1, False),
        ("list", ["a"], True), ("list", "a", False),
        ("text", "a", True), ("text", 1, False),
    ],
)  # fmt: skip
def test_what_a_user_has_of_another_type_is_no_value(
    recommender, users, in_force, of, value, holds
):
    rules = {"filter": "user.x is not null", "types": {"user.x": of}}
    user = replace(users[2], attributes={"x": value})
    answer = lists_of(recommender, [user], in_force, rules)[0]
    assert bool(answer["mix"].item_ids) == holds


@pytest.mark.parametrize("of", [Cooling, Explore, Fresh, PolicyRules])
def test_what_a_rule_says_by_default_is_a_rule(of):
    """Defaults are not checked when a rule is read."""
    said = {name: getattr(of(), name) for name in of.__struct_fields__}
    assert msgspec.convert(msgspec.to_builtins(said), of) == of()


def test_a_policy_that_says_little_keeps_its_meaning():
    """Defaults are read by later versions too."""
    defaults = {
        f"{of.__name__}.{field.name}": field.default
        for of in (Cap, Cooling, Explore, Fresh, PolicyRules, Quota, Slot, Weighted)
        for field in msgspec.structs.fields(of)
        if field.default is not msgspec.NODEFAULT
    }
    assert defaults == {
        "Cooling.taken_days": 0, "Cooling.showings": 0, "Cooling.shown_days": 7,
        "Explore.share": 0.01, "Explore.slots": 1, "Explore.position": 10,
        "Explore.attribute": "published_at", "Explore.days": 3, "Explore.graduate": 100,
        "Explore.showings": 1,
        "Fresh.attribute": "published_at", "Fresh.factor": 2, "Fresh.half_life_days": 30,
        "PolicyRules.filter": "", "PolicyRules.diversity": 0,
        "PolicyRules.boost": (), "PolicyRules.bury": (), "PolicyRules.cap": (),
        "PolicyRules.same": (), "PolicyRules.quota": (), "PolicyRules.slots": (),
        "PolicyRules.fresh": None, "PolicyRules.cooling": None, "PolicyRules.explore": None,
        "Quota.least": 0, "Quota.most": None, "Slot.start": "", "Slot.until": "",
    }  # fmt: skip


def test_rules_that_are_in_force_cannot_be_changed():
    rules = rules_of({"slots": [{"position": 1, "item_type": "a", "item_id": "b"}]})
    for one in (rules, *rules.slots):
        with pytest.raises(AttributeError):
            setattr(one, one.__struct_fields__[0], None)


def test_a_condition_on_the_time_is_of_the_moment(recommender, users, in_force):
    rules = {"filter": "item.added > current_timestamp - interval '10 days'"}
    for later in (0, 5, 9):
        now_ms = NOW_MS + later * DAY_MS
        answers = lists_of(recommender, users[2:3], in_force, rules, now_ms=now_ms)
        assert set(rows(answers[0]["mix"])) == set(range(10 - later))


def test_hits_are_distinct_by_their_first():
    hits = Hits(np.array([[5, 3, 5, -1, 3, 7]]), np.array([[6, 5, 4, 3, 2, 1]], np.float32))
    distinct = _distinct(hits)
    assert distinct.rows.tolist() == [[5, 3, -1, -1, -1, 7]]
    assert distinct.scores[0, [0, 1, 5]].tolist() == [6, 5, 1]
    assert np.isneginf(distinct.scores[0, [2, 4]]).all()


def test_fresh_items_count_more(recommender, users, in_force):
    def mean_age(rules):
        answer = lists_of(recommender, users[:1], in_force, rules)[0]
        return np.mean(rows(answer["mix"]))  # the age in days

    fresh = {"attribute": "added", "factor": 1e6, "half_life_days": 20}
    assert mean_age({"fresh": fresh}) < mean_age({}) / 2


def test_diversity_brings_items_that_are_less_alike(recommender, users, in_force):
    def likeness(diversity):
        answer = lists_of(recommender, users[:1], in_force, {"diversity": diversity})[0]
        vectors = recommender.served_vectors(np.array(answer["mix"].rows))[:, :-1]
        return (vectors @ vectors.T).mean()

    assert likeness(0.9) < likeness(0.0)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"filter": "item.x > 1"}, "filter: line 1, column 1: there is no 'item.x'"),
        ({"boost": [{"when": "true", "factor": 0}]}, r"boost\[0\].factor|\$.boost"),
        ({"cap": [{"attribute": "nothing", "most": 2}]}, "cap.0..attribute: there is no"),
        ({"quota": [{"when": "true", "least": 3, "most": 1}]}, "quota.0.: expected most"),
        ({"slots": [{"position": 1, "item_type": "a", "item_id": "b", "start": "soon"}]},
         "slots.0..start: expected a time"),
        ({"diversity": 2}, "diversity"),
        ({"fresh": {"attribute": "stock"}}, "fresh.attribute: expected a time"),
        ({"filtre": "true"}, "filtre"),
        *(
            ({name: [one | {"mots": 1}]}, "mots")
            for name, one in {
                "boost": {"when": "true"},
                "cap": {"attribute": "creator", "most": 2},
                "quota": {"when": "true", "least": 1},
                "slots": {"position": 1, "item_type": "a", "item_id": "b"},
            }.items()
        ),
        *(({name: {"mots": 1}}, "mots") for name in ("fresh", "cooling", "explore")),
        ({"types": {"stock": "number"}}, "expected item.NAME or user.NAME"),
        ({"types": {"item.stock": "float"}}, "types"),
    ],
)  # fmt: skip
def test_bad_rules_are_refused_with_their_place(rules, message):
    with pytest.raises(PolicyError, match=message):
        Policy.of(rules_of({"types": TYPES, **rules}))


def test_an_item_that_the_catalogue_learns_of_while_lists_are_made_counts_for_the_next():
    columns = ItemColumns()
    keys = np.arange(1, 5, dtype=np.uint64)
    masks, rows = RowMasks(columns), ItemRows(keys)
    when = compile_expression("item.stock > 0", TYPES, "filter")

    def mask():
        return masks.mask(when, (), NOW_MS, slots)

    columns.put([1, 2], [{"stock": 1}, {"stock": 0}])
    slots = masks.slots(keys, rows)
    assert mask().tolist() == [True, False, False, False]
    # After slots and rows were compared, as a catalogue record may come at any time.
    columns.put([3, 2], [{"stock": 1}, {"stock": 1}])
    assert mask().tolist() == [True, True, False, False]
    slots = masks.slots(keys, rows)
    first = mask()
    assert first.tolist() == [True, True, True, False]
    columns.put([3], [{"stock": 7}])
    assert mask() is first  # nothing that the condition says has changed


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_that_follows_changes_and_new_rows_is_one_that_is_made_again(seed):
    rng = np.random.default_rng(seed)
    columns, keys = ItemColumns(), np.arange(1, 41, dtype=np.uint64)
    masks = RowMasks(columns)
    when = compile_expression("item.stock > 0", TYPES, "filter")
    for _ in range(40):
        if rng.random() < 0.4:
            keys = np.arange(1, len(keys) + 1 + rng.integers(3), dtype=np.uint64)
        told = rng.integers(1, len(keys) + 4, size=rng.integers(1, 6))
        columns.put(told.tolist(), [{"stock": int(n)} for n in rng.integers(2, size=len(told))])
        rows, again = ItemRows(keys), RowMasks(columns)
        followed = masks.mask(when, (), NOW_MS, masks.slots(keys, rows))
        made = again.mask(when, (), NOW_MS, again.slots(keys, rows))
        assert followed.tolist() == made.tolist()


def test_a_new_row_is_all_that_a_mask_is_evaluated_for():
    columns, keys = ItemColumns(), np.arange(1, 41, dtype=np.uint64)
    columns.put(keys.tolist(), [{"stock": 1}] * len(keys))
    masks, asked = RowMasks(columns), []
    when = compile_expression("item.stock > 0", TYPES, "filter")

    class Counted:
        user, timed = when.user, when.timed

        def __call__(self, moment):
            asked.append(len(moment.slots))
            return when(moment)

    counted = Counted()
    for n in (40, 41, 43):
        keys = np.arange(1, n + 1, dtype=np.uint64)
        masks.mask(counted, (), NOW_MS, masks.slots(keys, ItemRows(keys)))
    assert asked == [40, 1, 2]


def test_the_intersection_of_unchanged_masks_is_the_same_array():
    """Results that are derived from it are kept by it."""
    masks = RowMasks(ItemColumns())
    one, other = np.array([True, True, False]), np.array([True, False, False])
    both = masks.both(one, other)
    assert both.tolist() == [True, False, False]
    assert masks.both(one, other) is both
    assert masks.both(one, ~other).tolist() == [False, True, False]
    assert masks.both(one, None) is one


def test_changes_since_a_version_are_those_since_then_alone():
    columns, versions = ItemColumns(), []
    for keys in ([1], [2, 3], [3], [4]):
        versions.append(columns.version)
        columns.put(keys, [{"stock": 1}] * len(keys))
    found = [columns.changed_keys(version) for version in [*versions, columns.version]]
    assert found == [{1, 2, 3, 4}, {2, 3, 4}, {3, 4}, {4}, set()]


def test_a_change_counts_for_items_whose_keys_came_later():
    columns = ItemColumns()
    columns.put([1, 2, 3, 4], [{"stock": 1}] * 4)
    keys = np.array([4, 2, 3, 1], np.uint64)
    masks, when = RowMasks(columns), compile_expression("item.stock > 0", TYPES, "filter")
    for known in (2, 4):
        slots = masks.slots(keys[:known], ItemRows(keys[:known]))
        assert masks.mask(when, (), NOW_MS, slots).all()
    for row, key in enumerate(keys.tolist()):
        columns.put([key], [{"stock": 0}])
        slots = masks.slots(keys, ItemRows(keys))
        expected = [n > row for n in range(4)]
        assert masks.mask(when, (), NOW_MS, slots).tolist() == expected


# The selection alone, against one that is plain


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
def test_the_selection_is_that_of_a_plain_one(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    p, k = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 6))
    diversity = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    pins = data.draw(st.sampled_from([0.2, 0.6]))
    vectors = rng.normal(size=(1, p, 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    candidates = Candidates(
        rows=np.where(rng.random((1, p)) < 0.9, np.arange(p)[None], -1),
        scores=rng.normal(size=(1, p)).astype(np.float32),
        groups=rng.integers(-1, 3, (1, p, 2)).astype(np.int32),
        limits=rng.integers(0, 4, 3).astype(np.int32),
        meets=rng.random((1, p, 2)) < 0.4,
        least=rng.integers(0, 3, 2).astype(np.int32),
        pinned=np.where(rng.random((1, k)) < pins, rng.integers(p, size=(1, k)), -1),
        vectors=vectors,
    )
    found = select(candidates, k, diversity)[0]
    assert found.tolist() == _plain_selection(candidates, k, diversity)


def test_an_item_of_a_slot_leaves_a_place_less_for_a_quota():
    candidates = Candidates(
        rows=np.arange(3)[None],
        scores=np.array([[0, 5, 1]], np.float32),
        groups=np.full((1, 3, 0), -1, np.int32),
        limits=np.zeros(0, np.int32),
        meets=np.array([[[False], [False], [True]]]),
        least=np.ones(1, np.int32),
        pinned=np.array([[0, -1]]),
    )
    assert select(candidates, 2, 0.0).tolist() == [[0, 2]]


def _plain_selection(c, k, diversity):
    scores, there = c.scores[0].astype(np.float32), c.rows[0] >= 0
    chosen, used = {}, np.zeros(3, int)
    low, high = (scores[there].min(), scores[there].max()) if there.any() else (0, 0)

    def fits(n):
        return there[n] and n not in chosen.values() and all(
            used[g] < c.limits[g] for g in c.groups[0, n] if g >= 0
        )  # fmt: skip

    def take(place, n):
        chosen[place] = n
        for g in c.groups[0, n]:
            if g >= 0:
                used[g] += 1

    def value(n):
        if not diversity:
            return scores[n]
        near = max([0.0, *(float(c.vectors[0, m] @ c.vectors[0, n]) for m in chosen.values())])
        return (1 - diversity) * (scores[n] - low) / max(high - low, 1e-9) - diversity * near

    for place in range(k):
        if (n := int(c.pinned[0, place])) >= 0 and fits(n):
            take(place, n)
    for place in range(k):
        if place in chosen:
            continue
        lacks = [
            max(0, c.least[q] - sum(c.meets[0, n, q] for n in chosen.values())) for q in (0, 1)
        ]
        able = [n for n in range(len(scores)) if fits(n)]
        if sum(lacks) >= k - len(chosen):
            needed = [n for n in able if any(c.meets[0, n, q] and lacks[q] for q in (0, 1))]
            able = needed or able
        if not able:
            break
        take(place, max(able, key=lambda n: (round(float(value(n)), 5), -n)))
    ordered = [chosen[place] for place in sorted(chosen)]
    return ordered + [-1] * (k - len(ordered))
