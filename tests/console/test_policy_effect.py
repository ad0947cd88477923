"""What a preview says of quality: policies that must raise each figure, and that must lower it."""

import asyncio

import numpy as np
import pytest

from agents.policy_preview import asked_of_both, compared, questions_of, with_effects
from agents.policy_text import PolicyFile
from dynamic_layer import ListSettings, Policies, Policy, UserState, rules_of
from state import ShownItems
from streams import Item, encode
from tests.console.conftest import ready
from tests.console.worlds import HEADERS, NOW, make_world
from tests.dynamic_layer.worlds import DAY_MS
from tests.waiting import wait_until

#: What users take last (`make_world`): row of the item by number of the user.
ANSWERS = {number % 6 + 6 * ((number + 2) % 20) for number in range(20)}
TYPES = {"item.wanted": "boolean", "item.topic": "number"}
LOWER_AND_HIGHER = {
    "hr_at_10": ({"filter": "not item.wanted"}, {"filter": "item.wanted"}),
    "coverage": ({"filter": "item.topic = 0"}, {}),
    "diversity": ({}, {"diversity": 0.9}),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory, items, bundles):
    made = make_world(tmp_path_factory.mktemp("effects"), items, bundles)
    for row, (kind, name) in enumerate(zip(items.item_types, items.item_ids, strict=True)):
        item = Item(
            item_id=name, item_type=kind, title=f"Title {row}", description="",
            attributes={"wanted": row in ANSWERS, "topic": int(items.topic[row])},
        )  # fmt: skip
        made.log.append(made.settings.topics.catalogue, item.key, encode(item))
    made.announce(bundles[0])
    with ready(made) as found:
        policies = found.app.state.replica.channels.policies
        wait_until(policies.catalogue_read.is_set, "the attributes of the catalogue")
        yield found


def effect(shop, before, after):
    """Return what a preview says of `mix` if one set of rules takes the place of another."""
    replica = shop.app.state.replica
    states = [
        asyncio.run_coroutine_threadsafe(replica.user(name), shop.loop).result()
        for name in shop.world.users
    ]
    of = [rules_of({**rules, "types": TYPES}) for rules in (before, after)]
    lists = [ListSettings(name="mix")]
    asked = asked_of_both(
        replica.models.recommender, questions_of(states, DAY_MS), lists,
        Policies(by_list={"mix": Policy.of(of[0])}), PolicyFile(list_name="mix", rules=of[1]),
    )  # fmt: skip
    preview = compared([], lists, ([], []), lambda kind, name: None)
    return with_effects(preview, asked, 120)["lists"]["mix"]["effect"]


@pytest.mark.parametrize("figure", LOWER_AND_HIGHER)
def test_a_policy_that_must_raise_a_figure_raises_it_and_its_opposite_lowers_it(shop, figure):
    lower, higher = LOWER_AND_HIGHER[figure]
    up, down = (effect(shop, *sides) for sides in ((lower, higher), (higher, lower)))
    assert up["questions"] == down["questions"] == 20
    assert up[figure]["before"] < up[figure]["after"]
    assert up[figure]["low"] > 0
    assert down[figure]["high"] < 0
    assert (down[figure]["before"], down[figure]["after"]) == (
        up[figure]["after"], up[figure]["before"]
    )  # fmt: skip
    same = effect(shop, higher, higher)[figure]
    assert (same["after"] - same["before"], same["low"], same["high"]) == (0, 0, 0)


def test_what_a_user_did_from_the_answer_on_is_hidden():
    times = np.array([9, 8, 8, 3, 1], np.int64) * DAY_MS
    user = UserState(
        user_id="u", history_item=np.arange(10, 15).astype(np.uint64), history_time=times,
        history_strong=np.array([False, True, False, True, True]),
        history_strong_time=np.array([-1, 8, -1, 3, 1]) * DAY_MS,
        history_known=np.array([False, True, False, True, True]),
        shown=ShownItems(
            items=np.array([1, 2, 3], np.uint64), begin=np.array([6, 7, 8]) * DAY_MS,
            count=np.array([4, 5, 6]),
        ),
    )  # fmt: skip
    [found] = questions_of([user], DAY_MS)
    assert (found.answer, found.at_ms) == (11, 8 * DAY_MS - 1)
    assert found.user.history_item.tolist() == [13, 14]
    assert found.user.history_strong_time.tolist() == [3 * DAY_MS, DAY_MS]
    assert found.user.history_known.tolist() == [True, True]
    assert found.user.shown.count.tolist() == [4, 5]


def test_users_who_took_nothing_or_long_ago_are_not_asked():
    def of(name, *times, strong=True):
        return UserState(
            user_id=name, history_item=np.arange(len(times)).astype(np.uint64),
            history_time=np.array(times, np.int64),
            history_strong=np.full(len(times), strong, np.bool_),
        )  # fmt: skip

    users = [of("late", NOW), of("nothing"), of("weak", NOW, strong=False),
             of("old", NOW - 31 * DAY_MS), of("first", NOW - 29 * DAY_MS)]  # fmt: skip
    assert [one.user.user_id for one in questions_of(users, DAY_MS)] == ["first", "late"]


def test_the_effect_is_in_the_api_and_says_how_many_were_asked(shop):
    body = {"text": 'list = "mix"\nfilter = "item.topic = 0"\n', "random": 12, "seed": 1}
    with shop.client(headers=HEADERS) as client:
        found = client.post("/v1/policies/preview", json=body).json()["lists"]["mix"]["effect"]
    assert found["questions"] == 12
    assert found["coverage"]["after"] <= 20 / 120 < found["coverage"]["before"]
    assert set(found["diversity"]) == {"before", "after", "low", "high"}
