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
GROUPS = {"weights", "vectors", "towers", "demand", "age", "traits", "user", "past"}


@pytest.fixture(scope="module")
def recommender():
    return Recommender(headed().bundle, live_of(headed().examples), in_force=InForce())


@pytest.fixture(autouse=True)
def no_policy(recommender):
    recommender._in_force.policies = Policies(by_list={})


def user(*rows, **more):
    return replace(make_user(headed().static, [*rows], now_ms=NOW_MS), **more)


def explained(recommender, user, settings=MIX, end=10):
    ranking, found = explain(recommender, user, settings, end=end, nearest=2, now_ms=NOW_MS)
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


@pytest.mark.parametrize("who", [(0, 6, 12), ()])
def test_what_rules_add_is_a_part(recommender, who):
    static, in_force = headed().static, recommender._in_force
    keys = static.item_keys.tolist()
    in_force.columns.put(keys, [{"creator": f"c{n % 7}"} for n in range(len(keys))])
    rules = {"types": {"item.creator": "text"}, "boost": [{"when": "item.creator = 'c3'",
                                                           "factor": 5}]}  # fmt: skip
    in_force.policies = Policies(by_list={"*": Policy.of(rules_of(rules))})
    ranking, found = explained(recommender, user(*who))
    boosted = [int(name[1:]) % 7 == 3 for name in ranking.item_ids[:10]]
    added = np.array([one.parts["rules"] for one in found])
    np.testing.assert_allclose(added[~np.array(boosted)], 0, atol=1e-3)
    # Others of that creator may have come in by the rule alone: then it is all of their score.
    assert np.isclose(added[boosted], np.log(5), atol=1e-3).any()


def test_a_later_part_of_a_list_is_explained_alone(recommender):
    deep = replace(MIX, k=30)
    _, all_of_it = explained(recommender, user(0, 6, 12), deep, end=30)
    _, part = explain(recommender, user(0, 6, 12), deep, first=10, end=20, nearest=2, now_ms=NOW_MS)
    for one, same in zip(part, all_of_it[10:20], strict=True):
        assert one.parts == pytest.approx(same.parts, abs=1e-5)
