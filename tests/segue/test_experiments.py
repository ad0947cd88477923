"""What `segue experiments` says of the arms, and the settings that make them."""

import pytest

from agents.experiments.arms import ArmSettings, CanarySettings, ExperimentSettings
from dynamic_layer import HitCount, difference
from segue.experiments import arms_view, verdict
from segue.settings import Settings, SettingsError, load_settings, write_settings
from streams import ArmShare, Record, encode

TOML = """
[experiments]
salt = "2026"

[[experiments.arms]]
name = "today"
share = 0.7

[[experiments.arms]]
name = "next"
share = 0.3
channel = "next"
canary = {first = 0.01, step = 0.05}
"""
EXPERIMENT = ExperimentSettings(
    salt="2026",
    arms=(
        ArmSettings(name="today", share=0.7),
        ArmSettings(
            name="next", share=0.3, channel="next", canary=CanarySettings(first=0.01, step=0.05)
        ),
    ),
)


def test_arms_come_from_a_file_from_the_environment_and_back(tmp_path):
    (tmp_path / "a.toml").write_text(TOML)
    found = load_settings(tmp_path / "a.toml")
    assert found.experiments == EXPERIMENT
    write_settings(found, tmp_path / "b.toml")
    assert load_settings(tmp_path / "b.toml") == found
    arms = '[{"name": "today", "share": 0.5}, {"name": "b", "share": 0.5}]'
    named = load_settings(None, {"SEGUE_EXPERIMENTS__ARMS": arms}).experiments.arms
    assert [arm.name for arm in named] == ["today", "b"]
    assert Settings().experiments.arms == ()


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ('[{"name": "a", "share": 0.5}]', "add up to 1, got a 0.5 = 0.5"),
        (
            '[{"name": "a", "share": 1, "chanel": "b"}]',
            r"setting 'experiments.arms\[0\].chanel",
        ),
        ('[{"name": "a b", "share": 1}]', "expected a name of an arm"),
        ('[{"name": "a", "share": 1, "canary": {"frist": 1}}]', r"arms\[0\].canary.frist"),
    ],
)
def test_mistakes_in_arms_are_named(arms, message):
    with pytest.raises(SettingsError, match=message):
        load_settings(None, {}, [f"experiments.arms={arms}"])


def test_a_channel_of_a_trainer_is_a_name():
    assert load_settings(None, {}, ["trainer.channel=next"]).trainer.own_group.endswith("-next")
    with pytest.raises(SettingsError, match="expected a channel like"):
        load_settings(None, {}, ["trainer.channel=../x"])


def row(arm: str, day: str, examples: int, hits: int) -> dict:
    return {
        "arm": arm, "day": day, "generation": 1, "examples": examples, "hits": hits,
        "reciprocal_ranks": hits / 2, "popularity_hits": hits / 3,
    }  # fmt: skip


def test_arms_are_shown_with_share_rates_intervals_and_difference():
    said = ArmShare(
        arm="next", salt="2026", share=0.11, state="growing", started_at=1, changed_at=2,
        after_generation=0, reasons=["started"],
    )  # fmt: skip
    record = Record(topic="m", partition=0, offset=0, timestamp=0, key=said.key, value=encode(said))
    rows = [row("today", "d1", 4_000, 1_200), row("today", "d2", 4_000, 1_200)]
    rows += [row("next", "d1", 2_000, 800), row("next", "d3", 100, 0), row("other", "d1", 9, 9)]
    found = arms_view(Settings(experiments=EXPERIMENT), [record], rows, effect=0.05)
    today, later = found["arms"]
    assert (found["control"], today["name"], later["name"]) == ("today", "today", "next")
    assert today["share"] == pytest.approx(0.89)
    assert later["share"] == pytest.approx(0.11)
    assert later["canary"]["reasons"] == ["started"]
    assert (today["questions"], later["questions"]) == (8_000, 2_100)
    assert today["hr_at_10_low"] < today["hr_at_10"] == 0.3 < today["hr_at_10_high"]
    assert later["mrr"] == pytest.approx(400 / 2_100)
    assert later["popularity_hr_at_10"] == pytest.approx(800 / 3 / 2_100)
    assert later["difference"] == pytest.approx(0.1), "of the day that both have"
    assert later["difference_low"] > 0
    assert later["verdict"] == "better than the control, by +33.3% of its HR@10"
    assert "verdict" not in today


def test_an_arm_of_which_nothing_is_known_is_shown_without_figures():
    _, later = arms_view(Settings(experiments=EXPERIMENT), [], [], effect=0.05)["arms"]
    assert later["share"] == 0
    assert later["hr_at_10"] is later["difference"] is None
    assert later["verdict"].startswith("nothing to compare yet")
    assert later["canary"]["state"] == "not started"


@pytest.mark.parametrize(
    ("hits", "questions", "said"),
    [
        (200, 1_000, "worse than the control, by -33.3% of its HR@10"),
        (400, 1_000, "better than the control"),
        (300, 1_000, "more questions would show one of 5.0% of the control's HR@10"),
        (30_000, 100_000, "no difference shown; one of 5.0% of the control's HR@10 would have"),
    ],
)
def test_verdicts_are_in_words(hits, questions, said):
    found = difference([(HitCount(questions, 0.3 * questions), HitCount(questions, hits))])
    assert said in verdict(found, 0.05)
