"""The parts of an explanation sum to the score of its place, whatever made the list."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from dynamic_layer import (
    InForce,
    ListSettings,
    Policies,
    Policy,
    Recommender,
    explain,
    rules_of,
)
from dynamic_layer.head.contributions import contributions
from dynamic_layer.head.ranking_head import RankingHead
from tests.dynamic_layer.headed import NOW_MS, headed, live_of
from tests.dynamic_layer.worlds import make_user

MIX, ONE = ListSettings(name="mix"), ListSettings(name="one", item_types=("podcast",))
GROUPS = {"weights", "vectors", "towers", "demand", "age", "user"}


@pytest.fixture(scope="module")
def recommender():
    return Recommender(headed().bundle, live_of(headed().examples), in_force=InForce())


@pytest.fixture(autouse=True)
def no_policy(recommender):
    recommender._in_force.policies = Policies(by_list={})


def user(*rows, **more):
    return replace(make_user(headed().static, [*rows], now_ms=NOW_MS), **more)


def explained(recommender, user, settings=MIX, end=10):
    ranking = explain(recommender, user, settings, end=end, nearest=2, now_ms=NOW_MS)
    found = ranking.why
    plain = recommender.recommend([user], [settings], NOW_MS)[0][settings.name]
    assert list(plain.rows) == list(ranking.rows), "to explain a list does not change it"
    assert len(found) == min(end, len(ranking.rows))
    for one, score in zip(found, ranking.scores.tolist(), strict=False):
        assert sum(one.parts.values()) == pytest.approx(score, abs=2e-4)
    return ranking, found


def test_shapley_values_are_those_of_the_definition():
    """Three groups: the mean over all six orders of what each group changes as it comes in."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = RankingHead([str(n) for n in range(5)], hidden=4)
        torch.nn.init.normal_(head.linear.weight)
        head.mean.copy_(torch.randn(5))
    groups = ["a", "b", "a", "c", "b"]
    features = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)

    def score(names):
        there = np.isin(groups, [*names])
        read = np.where(there, features, head.mean.numpy()).astype(np.float32)
        return head.scores(read[None], np.ones((1, 3), bool))[0].astype(float)

    base, found = contributions(head, features, groups)
    orders = list(permutations("abc"))
    for name in "abc":
        gains = [score(o[: o.index(name) + 1]) - score(o[: o.index(name)]) for o in orders]
        np.testing.assert_allclose(found[name], np.mean(gains, axis=0), atol=1e-5)
    np.testing.assert_allclose(base + sum(found.values()), score("abc"), atol=1e-5)


def test_the_parts_of_a_head_are_groups_of_features_candidates_and_type(recommender):
    ranking, found = explained(recommender, user(0, 6, 12))
    assert ranking.by_head
    for one in found:
        assert set(one.parts) <= GROUPS | {"candidates", "type"}
        assert {"weights", "demand", "candidates", "type"} <= set(one.parts)
        assert len(one.nearest) == 2
    # A list of one type has no share of its type.
    _, alone = explained(recommender, user(0, 6, 12), ONE)
    assert all("type" not in one.parts for one in alone)
    # "candidates" is the same for all items of a list of one type.
    assert len({round(one.parts["candidates"], 9) for one in alone}) == 1


def test_what_the_history_points_to_is_explained_by_item_weights(recommender):
    """The world's weights know the topics and its vectors tell nothing."""
    _, found = explained(recommender, user(0, 6, 12))
    best = found[0].parts
    assert best["weights"] == max(best.values()) > 0


def test_without_a_head_affinity_and_popularity_are_the_score():
    towers = Recommender(headed().bundle, live_of(headed().examples), use_head=False)
    _, found = explained(towers, user(0, 6, 12))
    assert all(set(one.parts) == {"affinity", "popularity"} for one in found)
    _, cold = explained(towers, user())
    assert all(set(one.parts) == {"popularity"} for one in cold)


@pytest.mark.parametrize("use_head", [True, False])
@pytest.mark.parametrize("behind", [("podcast",), ("audiobook", "podcast")])
def test_types_that_popularity_ranks_are_explained_by_it(use_head, behind):
    """Of bundles whose lists of these types were behind live popularity."""
    bundle = replace(headed().bundle, manifest={**headed().bundle.manifest})
    bundle.manifest["popularity_types"] = [*behind]
    served = Recommender(bundle, live_of(headed().examples), use_head=use_head)
    for settings in (MIX, ONE):
        ranking, found = explained(served, user(0, 6, 12), settings)
        replaced = use_head or set(settings.item_types or bundle.types) <= set(behind)
        for one, item_type in zip(found, ranking.item_types, strict=False):
            if replaced and item_type in behind:
                assert set(one.parts) <= {"popularity", "type"}
            else:
                assert not set(one.parts) <= {"popularity", "type"}


def test_dislikes_are_a_part(recommender):
    static = headed().static
    disliking = user(0, 6, 12, disliked=static.item_keys[[18]], demotion=0.01)
    _, found = explained(recommender, disliking)
    assert all("dislikes" in one.parts for one in found)
    assert min(one.parts["dislikes"] for one in found) < 0


def with_rules(recommender, **rules):
    """Put items of seven creators and a policy of every list in force."""
    static, in_force = headed().static, recommender._in_force
    keys = static.item_keys.tolist()
    in_force.columns.put(
        keys,
        [{"creator": f"c{n % 7}", "at": "2026-01-01T00:00:00Z"} for n in range(len(keys))],
    )
    rules["types"] = {"item.creator": "text", "item.at": "time"}
    in_force.policies = Policies(by_list={"*": Policy.of(rules_of(rules))})


def creator(item_id):
    return f"c{int(item_id[1:]) % 7}"


@pytest.mark.parametrize("who", [(0, 6, 12), ()])
@pytest.mark.parametrize("first", [0, 4])
def test_rules_that_apply_are_named_and_sum_to_their_part(recommender, who, first):
    some = headed().static
    pinned = (some.item_types[20], some.item_ids[20])
    with_rules(
        recommender,
        filter="item.creator <> 'c1'",
        boost=[{"when": "item.creator = 'c3'", "factor": 5},
               {"when": "item.creator IN ('c3', 'c4')", "factor": 2}],
        bury=[{"when": "item.creator = 'c2'", "factor": 3}],
        fresh={"attribute": "at", "factor": 2, "half_life_days": 1e5},
        slots=[{"item_type": pinned[0], "item_id": pinned[1], "position": 6}],
    )  # fmt: skip
    answer = explain(recommender, user(*who), MIX, first=first, end=10, nearest=2, now_ms=NOW_MS)
    names = answer.item_ids[first:10]
    assert creator(pinned[1]) not in ("c1", "c3")
    seen, exact = set(), []
    for place, (name, one) in enumerate(zip(names, answer.why, strict=True), first):
        rules = [effect.rule for effect in one.rules]
        expected = {"c3": ["boost[0]", "boost[1]"], "c4": ["boost[1]"], "c2": ["bury[0]"]}
        wanted = [*expected.get(creator(name), []), "fresh"]
        assert rules == wanted + ["slots[0]"] * (place == 5)
        seen |= set(rules)
        added = sum(effect.adds for effect in one.rules)
        sums = added == pytest.approx(one.parts["rules"], abs=2e-4)
        exact.append(sums)
        # An item that a boost or a slot has brought in has further points of the rules.
        assert sums or {"boost[0]", "boost[1]", "slots[0]"} & set(rules)
    assert {"boost[0]", "slots[0]"} <= seen
    assert any(exact)
    effects = {effect.rule: effect for one in answer.why for effect in one.rules}
    assert effects["boost[0]"].when == "item.creator = 'c3'"
    assert effects["boost[0]"].adds == pytest.approx(np.log(5), abs=1e-5)
    assert effects["slots[0]"].adds == 0


def test_what_a_filter_leaves_is_counted(recommender):
    static = headed().static
    recommender._in_force.policies = Policies(by_list={})
    plain = explain(recommender, user(0), ONE, end=3, nearest=2, now_ms=NOW_MS)
    assert plain.filtered is None
    assert all(one.rules == () for one in plain.why)
    with_rules(recommender, filter="item.creator = 'c3'")
    found = explain(recommender, user(0), ONE, end=3, nearest=2, now_ms=NOW_MS).filtered
    of_type = [name for name, kind in zip(static.item_ids, static.item_types, strict=True)
               if kind == "podcast"]  # fmt: skip
    assert found == (len(of_type), sum(creator(name) == "c3" for name in of_type))
    with_rules(recommender, boost=[{"when": "item.creator = 'c3'", "factor": 5}])
    answer = explain(recommender, user(0), ONE, end=3, nearest=2, now_ms=NOW_MS)
    assert answer.filtered is None


@pytest.mark.parametrize("who", [(0, 6, 12), ()])
def test_what_rules_add_is_a_part(recommender, who):
    with_rules(recommender, boost=[{"when": "item.creator = 'c3'", "factor": 5}])
    ranking, found = explained(recommender, user(*who))
    boosted = [creator(name) == "c3" for name in ranking.item_ids[:10]]
    added = np.array([one.parts["rules"] for one in found])
    np.testing.assert_allclose(added[~np.array(boosted)], 0, atol=1e-3)
    # Others of that creator may have come in by the rule alone: then it is all of their score.
    assert np.isclose(added[boosted], np.log(5), atol=1e-3).any()


def test_a_later_part_of_a_list_is_explained_alone(recommender):
    deep = replace(MIX, k=30)
    _, all_of_it = explained(recommender, user(0, 6, 12), deep, end=30)
    part = explain(recommender, user(0, 6, 12), deep, first=10, end=20, nearest=2, now_ms=NOW_MS)
    for one, same in zip(part.why, all_of_it[10:20], strict=True):
        assert one.parts == pytest.approx(same.parts, abs=1e-5)
