"""A canary's share: the definition, read as examples."""

from dataclasses import replace

import pytest

from agents.experiments.arms import ArmSettings, CanarySettings
from agents.experiments.canary import Evidence, Move, decide, evidence
from dynamic_layer import HitCount, difference

HOUR = 3_600_000
ARM = ArmSettings(
    name="new", channel="next", share=0.5,
    canary=CanarySettings(first=0.05, step=0.1, every_s=3_600, margin=0.1, questions=500),
)  # fmt: skip
HELD = Move(share=0.05, state="growing", reasons=[])


def measured(control: float, canary: float, questions: int = 5_000, **other) -> Evidence:
    """Rates of both, each by so many questions."""
    found = difference(
        [(HitCount(questions, control * questions), HitCount(questions, canary * questions))]
    )
    known = {"publications": ["g1-next"], "refused": [], "recent": found, **other}
    return Evidence(questions=questions, control_questions=questions, difference=found, **known)


ALIKE = measured(0.3, 0.3)


def after(ms: int, found: Evidence = ALIKE, held: Move | None = HELD) -> Move:
    return decide(ARM, held, 0, found, ms)


def test_it_starts_with_its_first_share_once_its_channel_has_a_bundle():
    none = replace(ALIKE, publications=[])
    assert after(0, none, held=None).share == 0
    refused = replace(ALIKE, publications=["g1-next"], refused=["g1-next"])
    assert after(0, refused, held=None).share == 0
    assert after(0, held=None) == Move(share=0.05, state="growing", reasons=["started"])


def test_it_takes_a_step_when_nothing_speaks_against_it():
    found = after(HOUR)
    assert found.share == pytest.approx(0.15)
    assert found.state == "growing"
    assert "not worse" in found.reasons[0]


@pytest.mark.parametrize(
    ("ms", "found", "reason"),
    [
        (HOUR - 1, ALIKE, "less than 3600 s ago"),
        (HOUR, measured(0.3, 0.3, 499), "asked 499 questions of 500"),
        (HOUR, replace(ALIKE, refused=["g1-next"]), "the gate refused g1-next"),
        (HOUR, measured(0.3, 0.285, recent=ALIKE.difference), "a loss of 10.0% is not ruled out"),
        (HOUR, replace(ALIKE, difference=None), "no day on which both"),
        (HOUR, replace(ALIKE, recent=None), "too few questions were asked since its trainer"),
    ],
)
def test_it_stays_and_says_why(ms, found, reason):
    move = after(ms, found)
    assert (move.share, move.state) == (0.05, "growing")
    assert [reason in said for said in move.reasons].count(True) == 1


def test_it_stays_at_its_greatest_share():
    move = after(HOUR, held=replace(HELD, share=0.45))
    assert move.share == 0.5, "the last step is as long as there is room"
    assert "its greatest share" in after(HOUR, held=move).reasons[0]


def test_it_has_less_at_once_when_the_settings_give_it_less():
    assert after(0, held=replace(HELD, share=0.8)).share == 0.5


def test_it_falls_at_once_when_it_is_worse_with_confidence():
    move = after(0, measured(0.3, 0.2))
    assert (move.share, move.state) == (0.0, "stopped")
    assert "worse than the control: HR@10 0.2000 against 0.3000" in move.reasons[0]
    assert after(0, measured(0.3, 0.2, 99)).state == "growing", "too few to tell"
    assert after(HOUR, measured(0.3, 0.2, 150)).share == 0.05, "not with confidence"


def test_once_fallen_it_stays_however_good_it_is():
    fallen = after(0, measured(0.3, 0.2))
    assert after(1_000 * HOUR, measured(0.3, 0.5), held=fallen) == fallen


def test_a_better_one_grows_to_its_greatest_share_and_a_worse_one_never_gets_there():
    held, hours = None, 0
    while held is None or held.share < ARM.share:
        held = decide(ARM, held, (hours - 1) * HOUR, measured(0.3, 0.33), hours * HOUR)
        hours += 1
    assert hours == 6


def row(arm: str, day: str, generation: int, examples: int, hits: int) -> dict:
    return {"arm": arm, "day": day, "generation": generation, "examples": examples, "hits": hits}


def test_evidence_is_of_days_that_both_have_and_of_bundles_since_it_was_started():
    rows = [
        row("old", "2026-01-01", 7, 100, 30), row("old", "2026-01-02", 8, 200, 60),
        row("new", "2026-01-02", 3, 1_000, 0), row("new", "2026-01-02", 4, 50, 20),
        row("new", "2026-01-02", 5, 50, 20), row("new", "2026-01-03", 5, 90, 90),
        row("third", "2026-01-02", 5, 10, 0),
    ]  # fmt: skip
    decisions = [{"bundle": f"g{n}-next", "reasons": ["nan"] * (n == 2)} for n in range(1, 6)]
    found = evidence(rows, decisions, control="old", arm=ARM, after_generation=3)
    assert (found.control_questions, found.questions) == (200, 100)
    assert found.difference.estimate == pytest.approx(0.4 - 0.3)
    assert found.publications == ["g3-next", "g4-next", "g5-next"]
    assert found.refused == []
    again = evidence(rows, decisions[:4], control="old", arm=ARM, after_generation=3)
    assert again.refused == ["g2-next"]
