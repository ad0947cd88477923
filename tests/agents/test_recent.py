"""What came between two looks, and what a long good past must not hide."""

import random

import pytest

from agents.experiments.arms import ArmSettings, CanarySettings
from agents.experiments.canary import DOUBTFUL, SUDDEN, Evidence, Move, decide
from agents.experiments.recent import Recent
from dynamic_layer import HitCount, difference

ARM = ArmSettings(
    name="new", channel="next", share=0.5,
    canary=CanarySettings(first=0.05, step=0.1, every_s=3_600, margin=0.1, questions=500),
)  # fmt: skip


def counted(*of_days: tuple[float, float]) -> dict[str, HitCount]:
    """Questions and hits of days one, two, ..."""
    return {f"day {n}": HitCount(*one) for n, one in enumerate(of_days, 1)}


def test_it_is_what_came_since_the_latest_look_with_enough():
    recent = Recent(100)
    assert recent.look(counted((1_000, 300)), counted((1_000, 300))) is None, "the first look"
    assert recent.look(counted((1_060, 330)), counted((1_060, 330))) is None, "too few"
    assert recent.look(counted((1_190, 360)), counted((1_099, 340))) is None, "too few of one"
    found = recent.look(counted((1_290, 390)), counted((1_160, 341)))
    assert found.questions == 230 + 100, "the second look is the latest since which 100 are there"
    assert found.control == pytest.approx(60 / 230)
    assert found.estimate == pytest.approx(11 / 100 - 60 / 230)


def test_a_new_day_counts_and_one_that_left_the_table_does_not():
    recent = Recent(100)
    recent.look(counted((1_000, 300), (50, 10)), counted((1_000, 300), (50, 10)))
    later = counted((0, 0), (150, 40), (80, 20))
    del later["day 1"]
    assert recent.look(later, later).questions == 2 * 180


def test_a_trainer_that_went_back_to_a_checkpoint_loses_questions_and_no_more():
    recent = Recent(100)
    recent.look(counted((1_000, 300)), counted((1_000, 300)))
    assert recent.look(counted((1_200, 360)), counted((950, 290))) is None
    assert recent.look(counted((1_400, 420)), counted((1_100, 330))).questions == 200 + 150


def test_other_evidence_begins_anew():
    recent = Recent(100)
    recent.look(counted((1_000, 300)), counted((1_000, 300)), 1)
    assert recent.look(counted((2_000, 600)), counted((0, 0)), 2) is None
    assert recent.look(counted((3_000, 900)), counted((200, 60)), 2).questions == 1_200


def decided(good: int, bad: int, rate: float) -> Move:
    """A canary at its first share whose bundles were good at first, then of another rate."""
    recent = Recent(500)
    past = counted((good, 0.3 * good)), counted((good, 0.3 * good))
    recent.look(*past)
    control = counted((good + bad, 0.3 * (good + bad)))
    arm = counted((good + bad, 0.3 * good + rate * bad))
    found = Evidence(
        questions=good + bad, control_questions=good + bad, publications=["g"], refused=[],
        difference=difference([(control["day 1"], arm["day 1"])]),
        recent=recent.look(control, arm),
    )  # fmt: skip
    held = Move(share=0.05, state="growing", reasons=[])
    return decide(ARM, held, 0, found, 3_600_000)


def test_a_long_good_past_does_not_keep_a_bad_bundle():
    """By all questions together the loss of nine tenths is one of half a percent."""
    move = decided(100_000, 500, 0.03)
    assert (move.share, move.state) == (0.0, "stopped")
    assert "HR@10 0.0300 against 0.3000 by the newest 1000 questions of both" in move.reasons[0]


def test_it_takes_no_step_when_the_newest_questions_speak_against_it():
    assert decided(100_000, 500, 0.3).share == pytest.approx(0.15)
    move = decided(100_000, 500, 0.23)
    assert (move.share, move.state) == (0.05, "growing")
    assert "it may have become worse" in move.reasons[0]


def test_an_equal_canary_that_is_looked_at_for_days_does_not_fall_by_its_newest_questions():
    """5,000 looks at both, 40 questions apart each; the worst is some four deviations away."""
    draw, recent, worst = random.Random(3), Recent(500), 0.0
    control, arm = HitCount(), HitCount()
    doubts = 0
    for _ in range(5_000):
        control, arm = (
            one.plus(HitCount(40, sum(draw.random() < 0.3 for _ in range(40))))
            for one in (control, arm)
        )
        found = recent.look({"day": control}, {"day": arm})
        if found is not None:
            worst = min(worst, found.estimate / found.variance**0.5)
            doubts += found.estimate / found.variance**0.5 < -DOUBTFUL
    assert worst > -SUDDEN
    assert worst < -DOUBTFUL, "else the looks would show nothing"
    assert doubts < 0.06 * 5_000
