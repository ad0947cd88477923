"""A canary that is treated wrongly is found out."""

import msgspec

from agents.experiments.arms import Arms, user_place
from streams import ArmShare, Recommendation
from tests.canary.checker import (
    Placed,
    fallen,
    placing,
    served_differences,
    share_differences,
)
from tests.canary.world import CANARY, CONTROL, EXPERIMENT

ARM = EXPERIMENT.arms[1]
USERS = [f"u{number}" for number in range(200)]
SHARES = [(1_000, 0.1), (2_000, 0.2), (3_000, 0.0)]


def said(*shares: float, **other) -> list[ArmShare]:
    """Announcements of these shares, the last one a fall."""
    common = {
        "arm": CANARY, "salt": "s", "state": "growing", "started_at": 1, "changed_at": 1,
        "after_generation": 7, "reasons": ["not worse"],
    }  # fmt: skip
    found = [ArmShare(**common, share=share) for share in shares]
    fall = {"state": "stopped", "reasons": ["worse than the control: much"]} | other
    return [*found[:-1], msgspec.structs.replace(found[-1], **fall)]


def test_steps_and_a_fall_are_as_they_should_be():
    assert not share_differences(said(0.1, 0.2, 0.3, 0.0), ARM)


def test_what_a_restart_must_not_do_is_told():
    assert "expected shares" in share_differences(said(0.1, 0.2, 0.1, 0.2, 0.0), ARM)[0]
    assert "expected shares" in share_differences(said(0.1, 0.3, 0.0), ARM)[0]
    assert "started_at" in share_differences(said(0.1, 0.2, 0.0, started_at=2), ARM)[0]
    assert "after_generation" in share_differences(said(0.1, 0.0, after_generation=9), ARM)[0]


def test_a_fall_that_is_none_or_for_another_reason_is_told():
    assert "stopped at the end" in share_differences(said(0.1, 0.0, state="growing"), ARM)[0]
    assert "because it is worse" in share_differences(said(0.1, 0.0, reasons=["stopped"]), ARM)[0]
    assert share_differences([], ARM)


def arm_of(user: str, share: float) -> str:
    arms = Arms(EXPERIMENT)
    arms.take({CANARY: share})
    return str(arms.of(user))


def placed_all(share: float, since: int, until: int) -> list[Placed]:
    return [Placed(user, arm_of(user, share), since, until) for user in USERS]


def test_users_are_in_the_arms_of_the_share_in_force():
    found = placing(EXPERIMENT, CANARY, SHARES, placed_all(0.2, 2_100, 2_900))
    assert not found.differences
    assert found.decided == len(USERS)
    assert found.by_arm.keys() == {CONTROL, CANARY}


def test_around_a_step_both_shares_are_right():
    for share in (0.1, 0.2):
        found = placing(EXPERIMENT, CANARY, SHARES, placed_all(share, 1_900, 2_100))
        assert not found.differences
        between = sum(1 - 0.2 <= user_place(EXPERIMENT.salt, user) < 1 - 0.1 for user in USERS)
        assert found.decided == len(USERS) - between


def test_a_worker_that_forgot_the_share_or_kept_a_fallen_canary_is_told():
    assert placing(EXPERIMENT, CANARY, SHARES, placed_all(0.0, 2_100, 2_900)).differences
    assert placing(EXPERIMENT, CANARY, SHARES, placed_all(0.2, 3_100, 3_900)).differences
    assert placing(EXPERIMENT, CANARY, SHARES, placed_all(0.1, 0, 900)).differences


ANSWER = Recommendation(
    user_id="u", list="mix", items=[], generation=3, created_at=5_000, arm=CONTROL
)
CHANNELS = {CONTROL: "default", CANARY: "next"}
ANNOUNCED = {"default": {3, 4}, "next": {100_003}}


def test_an_answer_by_the_other_channels_bundle_is_told():
    other = msgspec.structs.replace(ANSWER, generation=100_003)
    assert not served_differences([ANSWER], CHANNELS, ANNOUNCED)
    assert served_differences([other], CHANNELS, ANNOUNCED)
    canary = msgspec.structs.replace(other, arm=CANARY)
    assert not served_differences([canary], CHANNELS, ANNOUNCED)
    assert served_differences([msgspec.structs.replace(canary, arm=None)], CHANNELS, ANNOUNCED)


def test_how_long_a_fallen_canary_was_served_for():
    canary = msgspec.structs.replace(ANSWER, arm=CANARY)
    assert fallen([ANSWER, canary], CANARY, 4_400) == 600
    assert fallen([ANSWER], CANARY, 4_400) == 0
