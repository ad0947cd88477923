"""segue experiments estimate: which places were shown and taken, and what another policy shows."""

from dataclasses import replace

import numpy as np
import pytest

from dynamic_layer import (
    InForce,
    ListSettings,
    Policies,
    Policy,
    Ranking,
    Recommender,
    rules_of,
)
from dynamic_layer.serving.rankings import ItemNames
from dynamic_layer.serving.reasons import Explored, Options
from evaluation.off_policy import estimates
from segue.off_policy import Log, Showing, places_of, showings
from state.items import item_key
from streams import ExploredPlace, Recommendation, RecommendedItem
from tests.dynamic_layer.conftest import bundle, items, one_thread, trainer  # noqa: F401
from tests.dynamic_layer.worlds import DAY_MS, START_MS, make_user

NOW_MS = START_MS + 30 * DAY_MS
MIX = ListSettings(name="mix")
NEW = range(100, 120)


def listed(user, at, names, explored=()):
    return Recommendation(
        user_id=user, list="mix", generation=1, created_at=at, explored=explored,
        items=[RecommendedItem(item_id=name, item_type="p", score=1.0) for name in names],
    )  # fmt: skip


def key(name):
    return item_key("p", name)


def test_impressions_are_of_the_newest_list_that_holds_the_item_at_the_place():
    lists = [listed("ann", 100, "abc"), listed("bob", 100, "abc"), listed("ann", 200, "bca")]
    shown = {
        "ann": [
            (50, key("a"), 1),  # before any list
            (150, key("a"), 1), (160, key("a"), 1),  # twice: once
            (170, key("b"), 1),  # of another place
            (250, key("c"), 2), (260, key("a"), 9),
        ],
        "carl": [(150, key("a"), 1)],
    }  # fmt: skip
    taken = {("ann", key("a")): [155, 900], ("ann", key("c")): [251 + 100]}
    found = showings(Log(lists=lists, shown=shown, taken=taken), taken_ms=100)
    assert found == [Showing(0, 0, key("a"), True), Showing(2, 1, key("c"), False)]
    late = showings(Log(lists=lists, shown=shown, taken=taken), taken_ms=101)
    assert late[1].taken
    every = showings(Log(lists=lists, shown=None, taken=taken), taken_ms=100)
    assert len(every) == 9
    assert [one for one in every if one.taken] == [Showing(0, 0, key("a"), True)]


@pytest.fixture
def world(bundle, items):  # noqa: F811
    """A recommender in whose catalogue 20 items are new."""
    in_force = InForce()
    in_force.columns.put(
        items.item_keys.tolist(),
        [
            {"added": NOW_MS, "liked": row % 2 == 1} if row in NEW
            else {"added": NOW_MS - 100 * DAY_MS}
            for row in range(len(items.item_ids))
        ],
    )  # fmt: skip
    return World(Recommender(bundle, in_force=in_force), in_force, items)


class World:
    """Users ask once each; what they take of new items is known."""

    def __init__(self, recommender, in_force, items):  # noqa: F811
        self.recommender, self.in_force, self.items = recommender, in_force, items
        rng = np.random.default_rng(5)
        self.users = [
            replace(make_user(items, rng.permutation(100)[:5].tolist(), now_ms=NOW_MS),
                    user_id=f"u{n}")
            for n in range(300)
        ]  # fmt: skip
        # Odd new items are liked, even ones are not.
        odd = np.arange(len(items.item_ids)) % 2 == 1
        new = np.isin(np.arange(len(items.item_ids)), [*NEW])
        self.rate = np.where(new & odd, 0.6, np.where(new, 0.05, 0.2))
        for _ in range(2):
            self.rankings({})

    def rankings(self, rules):
        explore = {"share": 0.06, "attribute": "added", "graduate": 10**9} | rules.get(
            "explore", {}
        )
        types = {"item.added": "time", "item.liked": "boolean"}
        policy = Policy.of(rules_of({**rules, "explore": explore, "types": types}))
        self.in_force.policies = Policies(by_list={"mix": policy})
        found = []
        for begin in range(0, len(self.users), 100):
            part = self.users[begin : begin + 100]
            found += [one["mix"] for one in self.recommender.recommend(part, [MIX], NOW_MS)]
        return found

    def log(self, rankings, seed):
        rng = np.random.default_rng(seed)
        lists, shown = [], []
        for number, (user, ranking) in enumerate(zip(self.users, rankings, strict=True)):
            explored = [
                ExploredPlace(position=one.place + 1, new=one.new, propensity=one.propensity)
                for one in ranking.explored
            ]
            lists.append(listed(user.user_id, NOW_MS, [], explored))
            for place, row in enumerate(ranking.rows):
                taken = bool(rng.random() < self.rate[row])
                shown.append(Showing(number, place, int(self.items.item_keys[row]), taken))
        return lists, shown

    def value(self, rankings):
        """Of ten places, the expected takes a place, over all that may be explored."""
        total = 0.0
        for ranking in rankings:
            decided = {one.place: one.options for one in ranking.explored}
            for place, row in enumerate(ranking.rows):
                if place not in decided:
                    total += self.rate[row]
                    continue
                rows, chance, instead, of_none, _ = decided[place]
                total += (chance * self.rate[rows]).sum() + of_none * self.rate[instead]
        return float(total) / 10 / len(rankings)


def test_the_policy_of_the_log_has_weight_one_everywhere(world):
    rankings = world.rankings({})
    lists, shown = world.log(rankings, 1)
    found = places_of(lists, shown, rankings, world.recommender)
    np.testing.assert_allclose(found.target, found.propensity)
    assert (found.propensity < 1).sum() > 200
    made = estimates(found)
    assert made.robust.value == pytest.approx(made.logged.value, abs=0.003)


def test_policies_that_show_more_of_what_is_liked_are_named_better(world):
    """New items are liked more than others: a greater share is better, a smaller one worse."""
    world.rate[[*NEW]] = 0.7
    logging = world.rankings({})
    lists, shown = world.log(logging, 2)
    for share, better in ((0.1, True), (0.01, False)):
        rankings = world.rankings({"explore": {"share": share}})
        truth = world.value(rankings)
        assert bool(truth > world.value(logging)) is better
        made = estimates(places_of(lists, shown, rankings, world.recommender))
        assert made.robust.low < truth < made.robust.high
        assert (made.robust.value > made.logged.value) is better
        assert (made.weighted.value > made.logged.value) is better
        assert made.supported > 0.95


def test_what_the_other_policy_does_not_show_has_weight_zero(world):
    rankings = world.rankings({})
    filtered = world.rankings({"filter": "item.liked is null or item.liked"})
    lists, shown = world.log(rankings, 3)
    found = places_of(lists, shown, filtered, world.recommender)
    disliked = {int(key) for key in world.items.item_keys[[row for row in NEW if row % 2 == 0]]}
    gone = np.array([one.item in disliked for one in shown])
    assert gone.any()
    assert (found.target[gone] == 0).all()
    assert estimates(found).supported < 1


def ranking_of(rows, explored=()):
    return Ranking(names=ItemNames(), rows=rows, scores=np.zeros(len(rows)), explored=explored)


def options_at(place, rows, chance, instead, matches):
    options = Options(
        np.array(rows), np.array(chance), instead, 1 - sum(chance), np.array(matches, float)
    )
    return Explored(place, False, options.of_none, options)


class Rows:
    """Finds rows by keys that are the rows themselves."""

    def rows(self, keys):
        return keys.astype(np.int64)


def test_what_moves_to_another_shown_place_counts_as_shown_there():
    """The log has 1 and 2, and then 3, or the new 8 or 9; its places 0 and 2 were shown.

    The first other policy fixes 9 at place 0 and moves 1 and 2 down: 2 was not shown, and 1 goes to
    a place that was not. The second one has 1 at the last place, if not 8.
    """
    slot = ExploredPlace(position=3, new=False, propensity=0.5)
    new = ExploredPlace(position=3, new=True, propensity=0.25)
    lists = [listed(user, NOW_MS, [], [one]) for user, one in
             (("ann", slot), ("bob", new), ("carl", new))]  # fmt: skip
    shown = [Showing(0, 0, 1, True), Showing(0, 2, 3, False), Showing(1, 0, 1, False),
             Showing(1, 2, 9, True), Showing(2, 2, 8, False)]  # fmt: skip
    other = ranking_of([9, 1, 2], [options_at(2, [8, 9], [0.4, 0.0], 2, [0.9, 0.8])])
    found = places_of(lists, shown, [other] * 3, Rows())
    np.testing.assert_allclose(found.propensity, [1, 0.5, 1, 0.25, 0.25])
    np.testing.assert_allclose(found.target, [0, 0, 0, 1, 0.4])
    wide = ranking_of([9, 2, 1], [options_at(2, [8, 9], [0.4, 0.0], 1, [0.9, 0.8])])
    found = places_of(lists, shown, [wide] * 3, Rows())
    np.testing.assert_allclose(found.target, [0.6, 0, 0.6, 1, 0.4])


def test_a_new_item_that_is_fixed_counts_once_over_the_slots_of_the_log():
    """Two slots showed it with .2 and .1: the weights of both sum to 1 in the mean."""
    slots = [ExploredPlace(position=3, new=True, propensity=0.2),
             ExploredPlace(position=2, new=True, propensity=0.1)]  # fmt: skip
    lists = [listed("ann", NOW_MS, [], slots)]
    shown = [Showing(0, 0, 1, False), Showing(0, 1, 9, False), Showing(0, 2, 9, False)]
    found = places_of(lists, shown, [ranking_of([9, 1, 2])], Rows())
    np.testing.assert_allclose(found.target, [1, 0.5, 0.5])
    weights = found.target / found.propensity
    assert 0.1 * weights[1] + 0.2 * weights[2] == pytest.approx(1.0)
