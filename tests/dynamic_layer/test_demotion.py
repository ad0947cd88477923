"""Lists of users who dislike items: without these, and with items like them demoted."""

from dataclasses import replace

import numpy as np
import pytest

from dynamic_layer import (
    DynamicBundle,
    InForce,
    ListSettings,
    Policies,
    Policy,
    Recommender,
    default_lists,
    rules_of,
)
from tests.dynamic_layer.worlds import DAY_MS, START_MS, Items, make_user

NOW_MS = START_MS + 30 * DAY_MS
HISTORIES = ([0, 6, 12], [1, 7], [])


@pytest.fixture
def recommender(bundle: DynamicBundle) -> Recommender:
    return Recommender(bundle)


def rows(ranking) -> list[int]:
    return [int(name[1:]) for name in ranking.item_ids]


def rejecting(items: Items, history: list[int], disliked: list[int], demotion: float = 0.25):
    user = make_user(items, history, now_ms=NOW_MS)
    return replace(user, disliked=items.item_keys[disliked], demotion=demotion)


LISTS = [
    ListSettings(name="mix"),
    ListSettings(name="all", k=500),
    ListSettings(name="podcasts", item_types=("podcast",), k=7),
    ListSettings(name="included", k=30, repeats="include"),
    ListSettings(name="only", repeats="only"),
]


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("fewer", [1, 4])
def test_no_list_holds_a_disliked_item_and_lists_stay_full(recommender, items, history, fewer):
    plain = make_user(items, history, now_ms=NOW_MS)
    before = recommender.recommend([plain], LISTS, NOW_MS, fewer=fewer)[0]
    disliked = sorted({row for one in before.values() for row in rows(one)[:5]} - {0, 6})
    user = rejecting(items, history, disliked)
    found = recommender.recommend([user], LISTS, NOW_MS, fewer=fewer)[0]
    for name, one in found.items():
        assert not set(rows(one)) & set(disliked), name
        assert len(set(rows(one))) == len(one)
        assert (np.diff(one.scores) <= 0).all()
    assert [len(found[name]) for name in ("mix", "podcasts", "included")] == [10, 7, 30]


def test_an_item_like_a_disliked_one_keeps_the_stated_share_of_its_chance(recommender, items):
    """To the digit: scores are logarithms of chances."""
    every = [ListSettings(name="all", k=len(items.item_ids))]
    first, second, disliked = (
        recommender.recommend([user], every, NOW_MS)[0]["all"]
        for user in (
            make_user(items, [0, 6, 12], now_ms=NOW_MS),
            rejecting(items, [0, 6, 12], [18, 19], demotion=1.0),
            rejecting(items, [0, 6, 12], [18, 19], demotion=0.1),
        )
    )
    vectors = recommender.served_vectors(np.arange(len(items.item_ids)))[:, :-1]
    nearest = np.maximum((vectors @ vectors[[18, 19]].T).max(axis=1), 0)
    plain = dict(zip(rows(first), first.scores, strict=True))
    assert nearest[[row for row in plain if row not in (18, 19)]].max() > 0.5
    unchanged = dict(zip(rows(second), second.scores, strict=True))
    assert unchanged == {row: s for row, s in plain.items() if row not in (18, 19)}
    found = dict(zip(rows(disliked), disliked.scores, strict=True))
    assert found.keys() == unchanged.keys()
    for row, score in found.items():
        assert score == pytest.approx(plain[row] + nearest[row] * np.log(0.1), abs=1e-4)


def test_items_of_the_disliked_topic_move_down(recommender, items):
    """The history is of topic 0; the disliked items are of it too."""
    topic = np.flatnonzero(items.topic == 0)
    history, disliked = topic[:3].tolist(), topic[3:5].tolist()
    one = [ListSettings(name="mix", k=20)]
    plain = make_user(items, history, now_ms=NOW_MS)
    before, after = (
        rows(recommender.recommend([user], one, NOW_MS)[0]["mix"])
        for user in (plain, rejecting(items, history, disliked, demotion=0.01))
    )
    of_topic = [np.mean(items.topic[found] == 0) for found in (before, after)]
    assert of_topic[0] > of_topic[1]


def test_answers_of_others_in_the_batch_do_not_change(recommender, items, monkeypatch):
    """Nor is a search for them deeper, which may find others in an index that is not exact."""
    ranked, batches = recommender.search.ranked, []

    def spy(batch, lists, allowed=None):
        batches.append({bool(len(user.disliked)) for user in batch.users})
        return ranked(batch, lists, allowed)

    monkeypatch.setattr(recommender.search, "ranked", spy)
    lists = default_lists(recommender.bundle.types)
    users = [make_user(items, list(own), now_ms=NOW_MS) for own in HISTORIES]
    wanted = recommender.recommend(users, lists, NOW_MS)
    rejects = [rejecting(items, list(own), [18, 20]) for own in HISTORIES]
    alone = [recommender.recommend([user], lists, NOW_MS)[0] for user in rejects]
    mixed = recommender.recommend(
        [rejects[0], users[0], users[1], rejects[1], users[2], rejects[2]], lists, NOW_MS
    )
    assert all(len(kinds) == 1 for kinds in batches)
    for found, expected in zip(
        [mixed[n] for n in (1, 2, 4, 0, 3, 5)], [*wanted, *alone], strict=True
    ):
        for name, one in found.items():
            assert rows(one) == rows(expected[name])
            np.testing.assert_allclose(one.scores, expected[name].scores, rtol=1e-5)


def test_policies_do_not_bring_disliked_items_back(bundle, items):
    """Neither by a boost, a quota, a slot, nor to fill a short list."""
    in_force = InForce()
    in_force.columns.put(
        items.item_keys.tolist(),
        [{"wanted": row in (18, 20, 22), "few": row < 8} for row in range(len(items.item_ids))],
    )
    recommender = Recommender(bundle, in_force=in_force)
    types = {"item.wanted": "boolean", "item.few": "boolean"}
    pinned = {
        "position": 1, "item_type": items.item_types[18], "item_id": items.item_ids[18],
    }  # fmt: skip
    for rules in (
        {"boost": [{"when": "item.wanted", "factor": 1e6}]},
        {"quota": [{"when": "item.wanted", "least": 3}]},
        {"slots": [pinned]},
        {"filter": "item.wanted or item.few", "fresh": {"attribute": "published_at"}},
    ):
        in_force.policies = Policies(by_list={"*": Policy.of(rules_of({"types": types, **rules}))})
        for history in HISTORIES:
            for one in (ListSettings(name="mix"), ListSettings(name="mix", repeats="include")):
                plain, user = make_user(items, history, now_ms=NOW_MS), [18, 20]
                both = [plain, rejecting(items, history, user)]
                before, after = (a["mix"] for a in recommender.recommend(both, [one], NOW_MS))
                assert {18, 20} & set(rows(before)), rules
                assert not {18, 20} & set(rows(after)), rules


def test_what_makes_known_may_differ_from_what_is_strong(recommender, items):
    user = replace(
        make_user(items, [0, 6, 12], now_ms=NOW_MS),
        history_strong=np.array([True, False, True]), history_known=np.array([False, True, True]),
    )  # fmt: skip
    one = [ListSettings(name="all", k=500), ListSettings(name="only", repeats="only")]
    found = recommender.recommend([user], one, NOW_MS)[0]
    assert {0, 6, 12} & set(rows(found["all"])) == {0}
    assert set(rows(found["only"])) == {6, 12}
