"""Who is in which arm: shares are kept, and nobody is moved who need not be."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.experiments.arms import (
    MAX_ARMS,
    Arms,
    ArmSettings,
    CanarySettings,
    ExperimentSettings,
    user_place,
)

USERS = [f"user-{n}" for n in range(8_000)]


def experiment(*shares: float, salt: str = "s") -> ExperimentSettings:
    """Fixed arms a0 (the control), a1, ... of given shares; the control has what they leave."""
    arms = [ArmSettings(name=f"a{n}", share=share) for n, share in enumerate(shares, 1)]
    control = ArmSettings(name="a0", share=1 - sum(shares))
    return ExperimentSettings(salt=salt, arms=(control, *arms))


def with_canary(now: float, greatest: float = 0.5) -> Arms:
    canary = ArmSettings(name="new", share=greatest, canary=CanarySettings(first=0.01))
    rest = 1 - greatest - 0.2
    arms = Arms(
        ExperimentSettings(
            arms=(
                ArmSettings(name="old", share=rest),
                ArmSettings(name="other", share=0.2),
                canary,
            )
        )
    )
    arms.take({"new": now})
    return arms


def divided(arms: Arms) -> dict[str, str | None]:
    return {user: arms.of(user) for user in USERS}


shares = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(
    lambda parts: [part / max(1.0, 1.01 * sum(parts)) for part in parts]
)


@settings(max_examples=15, deadline=None)
@given(parts=shares, salt=st.text(max_size=20))
def test_arms_have_their_shares_of_the_users(parts, salt):
    arms = Arms(experiment(*parts, salt=salt))
    found = list(divided(arms).values())
    for arm in arms.settings.arms:
        spread = math.sqrt(arm.share * (1 - arm.share) * len(USERS))
        # Five standard deviations: one such draw in two million is farther away.
        assert abs(found.count(arm.name) - arm.share * len(USERS)) <= 5 * spread + 1
        assert arms.share(arm.name) == pytest.approx(arm.share)


@settings(max_examples=15, deadline=None)
@given(before=st.floats(0, 0.5), more=st.floats(0, 0.5))
def test_a_canary_that_grows_takes_users_from_the_control_and_moves_nobody_else(before, more):
    first = divided(with_canary(before))
    then = divided(with_canary(before + more))
    moved = {(first[user], then[user]) for user in USERS if first[user] != then[user]}
    assert moved <= {("old", "new")}


@settings(max_examples=15, deadline=None)
@given(parts=shares, extra=st.floats(0, 1))
def test_an_arm_that_is_added_takes_users_from_the_control_alone(parts, extra):
    first = divided(Arms(experiment(*parts)))
    added = extra * (1 - sum(parts))
    then = divided(Arms(experiment(*parts, added)))
    moved = {(first[user], then[user]) for user in USERS if first[user] != then[user]}
    assert moved <= {("a0", f"a{len(parts) + 1}")}


@settings(max_examples=15, deadline=None)
@given(parts=shares.filter(lambda parts: len(parts) >= 2), which=st.booleans(), by=st.floats(0, 1))
def test_either_of_the_last_two_arms_changes_at_the_controls_cost_alone(parts, which, by):
    place = len(parts) - 1 - which
    changed = [*parts]
    changed[place] = by * (1 - sum(parts) + parts[place])
    first, then = divided(Arms(experiment(*parts))), divided(Arms(experiment(*changed)))
    moved = {frozenset((first[u], then[u])) for u in USERS if first[u] != then[u]}
    assert moved <= {frozenset(("a0", f"a{place + 1}"))}


def test_another_salt_divides_the_users_independently():
    one, two = divided(Arms(experiment(0.3, salt="1"))), divided(Arms(experiment(0.3, salt="2")))
    both = sum(one[user] == two[user] == "a1" for user in USERS)
    assert abs(both - 0.09 * len(USERS)) < 5 * math.sqrt(0.09 * 0.91 * len(USERS))


def test_places_are_the_same_everywhere_and_for_ever():
    places = [user_place("segue", user) for user in ("ann", "bob", "\u00e9va")]
    assert places == [0.5107740604619674, 0.7793809301022515, 0.09557290404983876]


def test_a_canary_of_which_nothing_was_announced_has_no_users():
    arms = with_canary(0.3)
    arms.take({})
    assert set(divided(arms).values()) == {"old", "other"}
    assert arms.share("new") == 0
    arms.take({"new": 0.9})
    assert arms.share("new") == pytest.approx(0.5), "never more than the settings say"


def test_without_arms_nobody_is_divided():
    arms = Arms(ExperimentSettings())
    assert not arms
    assert arms.of("ann") is None
    assert arms.channel_of(None) == "default"
    assert arms.settings.channels == ("default",)
    assert arms.settings.on_channel("default") is None


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([("a", 0.5), ("b", 0.4)], r"add up to 1, got a 0.5 \+ b 0.4 = 0.9"),
        ([("a", 0.5), ("a", 0.5)], "once each, got a again"),
        ([("A", 1.0)], "expected a name of an arm"),
        ([("a" * 33, 1.0)], "expected a name of an arm"),
        ([(f"a{n}", 1 / 20) for n in range(20)], f"up to {MAX_ARMS} arms, got 20"),
        ([("a", 1.5), ("b", -0.5)], r"share of arm a in \[0, 1\], got 1.5"),
    ],
)
def test_arms_that_do_not_fit_together_are_refused(arms, message):
    with pytest.raises(ValueError, match=message):
        ExperimentSettings(arms=tuple(ArmSettings(name=n, share=s) for n, s in arms))


def test_the_control_is_no_canary_and_a_canary_begins_below_its_greatest_share():
    canary = CanarySettings(first=0.1)
    with pytest.raises(ValueError, match="the first arm, a, is the control"):
        ExperimentSettings(arms=(ArmSettings(name="a", share=1.0, canary=canary),))
    with pytest.raises(ValueError, match=r"canary\.first of arm a up to its share"):
        ArmSettings(name="a", share=0.05, canary=canary)
