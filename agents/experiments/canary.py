"""Whether a canary's share grows, stays or falls: a pure function of what was measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.experiments.arms import ArmSettings
from agents.experiments.recent import Recent
from dynamic_layer import Difference, HitCount, difference

__all__ = ["FALLS_BY", "Evidence", "Move", "by_day", "decide", "evidence"]

#: Questions of either arm without which a canary does not fall: fewer tell nothing of a rate.
FALLS_BY = 100
#: Standard deviations by which the newest questions have to be worse for a fall. At a look a minute
#: a canary that is as good falls so in a fortnight in fewer than 1 case of 100: 20,160 looks with a
#: chance of 2.9e-7 each, however they depend on each other.
SUDDEN = 5.0
#: And for a step to wait: a look's own one-sided 97.5 %, for waiting costs next to nothing.
DOUBTFUL = 1.96

State = Literal["growing", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a canary since it was started.

    questions: of the canary, control_questions: of the control, on days that have both;
    difference: canary minus control, None without such a day; recent: the same by the newest
    questions alone, None while there are too few;
    publications: bundles of its channel that the gate judged last, refused: those that it refused.
    """

    questions: float
    control_questions: float
    difference: Difference | None
    publications: Sequence[str]
    refused: Sequence[str]
    recent: Difference | None = None


@dataclass(frozen=True, kw_only=True)
class Move:
    """What becomes of a canary's share, and why."""

    share: float
    state: State
    reasons: list[str]


def decide(
    arm: ArmSettings, held: Move | None, changed_at: int, found: Evidence, now_ms: int
) -> Move:
    """Return the share that a canary is to have.

    held: what it has, None before it was started; changed_at: since when, ms.

    It is started once its channel has a bundle that the gate accepted. It falls to nothing as soon
    as it is worse than the control, with confidence, by all of its questions or by the newest ones,
    and stays there until a person restarts it. It takes a step when the last one is long enough
    ago, enough questions were asked, the gate accepted its last publications, it is not worse than
    the control by more than the margin, with confidence, and its newest questions are known and do
    not speak against it: what it is served by now may be worse than what it was served by.
    """
    if held is None:
        return _start(arm, found)
    if held.state == "stopped":
        return held
    if worse := _worse(found):
        return Move(share=0.0, state="stopped", reasons=[f"worse than the control: {worse}"])
    if held.share > arm.share:
        return Move(share=arm.share, state="growing", reasons=["the settings give it less"])
    against = list(_against(arm, held.share, changed_at, found, now_ms))
    grown = min(arm.share, round(held.share + arm.canary.step, 9))
    return Move(
        share=held.share if against else grown,
        state="growing",
        reasons=against or [f"not worse: {_told(found)}"],
    )


def _start(arm: ArmSettings, found: Evidence) -> Move:
    if not set(found.publications) - set(found.refused):
        none = f"channel {arm.channel} has no bundle that the gate accepted"
        return Move(share=0.0, state="growing", reasons=[none])
    return Move(share=arm.canary.first, state="growing", reasons=["started"])


def _worse(found: Evidence) -> str | None:
    """By what it is shown to be worse; None if it is not."""
    if min(found.questions, found.control_questions) < FALLS_BY:
        return None
    if found.difference is not None and found.difference.high < 0:
        return _told(found)
    return _against_it(found.recent, SUDDEN) if found.recent else None


def _against_it(recent: Difference, deviations: float) -> str | None:
    """Say how much worse the newest questions are, if by so many standard deviations."""
    spread = deviations * math.sqrt(recent.variance)
    if recent.estimate + spread >= 0:
        return None
    rates = f"HR@10 {recent.control + recent.estimate:.4f} against {recent.control:.4f}"
    return f"{rates} by the newest {recent.questions:.0f} questions of both"


def _against(
    arm: ArmSettings, share: float, changed_at: int, found: Evidence, now_ms: int
) -> Iterable[str]:
    """Reasons not to grow."""
    canary = arm.canary
    if share >= arm.share:
        yield f"it has its greatest share, {arm.share:g}"
    if now_ms - changed_at < canary.every_s * 1000:
        yield f"the last step was less than {canary.every_s:g} s ago"
    if found.questions < canary.questions:
        yield f"it was asked {found.questions:.0f} questions of {canary.questions}"
    if found.refused:
        yield f"the gate refused {', '.join(found.refused)}"
    if found.recent is None:
        yield "too few questions were asked since its trainer was started"
    elif doubt := _against_it(found.recent, DOUBTFUL):
        yield f"it may have become worse: {doubt}"
    lost = found.difference
    if lost is None:
        yield "there is no day on which both it and the control were asked"
    elif lost.low < -canary.margin * lost.control:
        yield f"a loss of {canary.margin:.1%} is not ruled out: {_told(found)}"


def _told(found: Evidence) -> str:
    one = found.difference
    if one is None:
        return "nothing was measured"
    return (
        f"HR@10 {one.control + one.estimate:.4f} against {one.control:.4f}, difference"
        f" {one.low:+.4f} to {one.high:+.4f} by {found.questions:.0f} questions"
    )


def by_day(
    rows: Iterable[Mapping[str, Any]], arm: str, after_generation: int = 0
) -> dict[str, HitCount]:
    """Return an arm's hits by day, of bundles that are newer than a generation."""
    found: dict[str, HitCount] = {}
    for row in rows:
        if row["arm"] == arm and row["generation"] > after_generation:
            day = str(row["day"])
            found[day] = found.get(day, HitCount()).plus(HitCount(row["examples"], row["hits"]))
    return found


def evidence(
    rows: Sequence[Mapping[str, Any]],
    decisions: Sequence[Mapping[str, Any]],
    *,
    control: str,
    arm: ArmSettings,
    after_generation: int,
    recent: Recent | None = None,
) -> Evidence:
    """Return what rows of the prequential table, and the gate's decisions, say of a canary.

    decisions: of the canary's channel, oldest first; recent: what was seen at earlier looks.
    """
    of_arm, of_control = by_day(rows, arm.name, after_generation), by_day(rows, control)
    days = [(of_control[day], of_arm[day]) for day in of_arm if day in of_control]
    last = decisions[-max(1, arm.canary.publications) :]
    return Evidence(
        questions=sum(mine.questions for _, mine in days),
        control_questions=sum(theirs.questions for theirs, _ in days),
        difference=difference(days),
        publications=[str(one["bundle"]) for one in last],
        refused=[str(one["bundle"]) for one in last if one["reasons"]],
        recent=recent.look(of_control, of_arm, after_generation) if recent else None,
    )
