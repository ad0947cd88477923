"""Results of an experiment by arm; start and stop a canary."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from agents.bundles.announcements import newest_announcements, newest_shares
from agents.experiments.arms import Arms, ArmSettings
from agents.experiments.canary import by_day
from agents.outputs import ProducerOutputs
from agents.training.quality import EveryChannel
from dynamic_layer import KEPT_DAYS, Difference, difference, more_questions, wilson
from segue.settings import Settings
from streams import ArmShare, LogRecord, encode, read_from
from streams.log_record import now_ms

__all__ = ["ExperimentError", "experiment_view", "move_canary", "verdict"]


class ExperimentError(ValueError):
    """The experiment, or the canary in it, does not exist."""


async def experiment_view(settings: Settings, *, days: int, effect: float) -> dict[str, Any]:
    """Return the arms with their results on the newest days, as JSON values.

    effect: smallest relevant difference, as a fraction of the control's HR@10.
    Raises ExperimentError, AdminError, KafkaError, OSError.
    """
    _require_arms(settings)
    records = await read_from(settings.kafka, settings.topics.models)
    quality = EveryChannel(settings.store(), keep_days=KEPT_DAYS)
    rows = await asyncio.to_thread(quality.rows, days)
    return arms_view(settings, records, rows, effect=effect) | {"days": days}


def arms_view(
    settings: Settings,
    records: Sequence[LogRecord],
    rows: Sequence[Mapping[str, Any]],
    *,
    effect: float,
) -> dict[str, Any]:
    """Return the arms from records of the models topic and rows of the prequential table."""
    own = settings.experiments
    shares = newest_shares(records, own.salt)
    arms = Arms(own)
    arms.take({name: said.share for name, said in shares.items() if said})
    return {
        "salt": own.salt,
        "control": own.control.name,
        "arms": [
            _arm_view(arm, own.control, rows, effect)
            | {"share": arms.share(arm.name)}
            | ({"canary": _canary_view(shares.get(arm.name))} if arm.is_canary else {})
            for arm in own.arms
        ],
    }


def _arm_view(
    arm: ArmSettings, control: ArmSettings, rows: Sequence[Mapping[str, Any]], effect: float
) -> dict[str, Any]:
    mine = [row for row in rows if row["arm"] == arm.name]
    sums = {
        name: sum(float(row[name]) for row in mine)
        for name in ("examples", "hits", "reciprocal_ranks", "popularity_hits")
    }
    asked = sums["examples"]
    low, high = wilson(sums["hits"], asked)
    found: dict[str, Any] = {
        "name": arm.name,
        "channel": arm.channel,
        "questions": int(asked),
        "hr_at_10": sums["hits"] / asked if asked else None,
        "hr_at_10_low": low if asked else None,
        "hr_at_10_high": high if asked else None,
        "mrr": sums["reciprocal_ranks"] / asked if asked else None,
        "popularity_hr_at_10": sums["popularity_hits"] / asked if asked else None,
    }
    if arm.name == control.name:
        return found
    of_control, of_arm = by_day(rows, control.name), by_day(rows, arm.name)
    against = difference([(of_control[day], of_arm[day]) for day in of_arm if day in of_control])
    return found | {
        "difference": against.estimate if against else None,
        "difference_low": against.low if against else None,
        "difference_high": against.high if against else None,
        "verdict": verdict(against, effect),
    }


def verdict(found: Difference | None, effect: float) -> str:
    """Describe a difference in words.

    effect: smallest relevant difference, as a fraction of the control's HR@10.
    """
    if found is None or not found.control:
        return "nothing to compare yet: no day on which both were evaluated"
    part = f"{found.estimate / found.control:+.1%}"
    if found.low > 0:
        return f"better than the control, by {part} of its HR@10"
    if found.high < 0:
        return f"worse than the control, by {part} of its HR@10"
    more = more_questions(found, effect * found.control)
    if more:
        return (
            f"no difference shown yet; about {more:,} more questions would show one of"
            f" {effect:.1%} of the control's HR@10"
        )
    return f"no difference shown; one of {effect:.1%} of the control's HR@10 would have been"


def _canary_view(said: ArmShare | None) -> dict[str, Any]:
    if said is None:
        return {"state": "not started", "reasons": ["no trainer of its channel has announced it"]}
    return {
        "state": said.state,
        "started_at": said.started_at,
        "changed_at": said.changed_at,
        "after_generation": said.after_generation,
        "reasons": said.reasons,
    }


async def move_canary(
    settings: Settings, name: str, state: Literal["growing", "stopped"]
) -> ArmShare:
    """Restart a canary with its first share, or stop it; workers follow at once.

    After a restart, only results of bundles newer than its channel's newest count.
    Raises ExperimentError, AdminError, KafkaError.
    """
    _require_arms(settings)
    known = {arm.name: arm for arm in settings.experiments.arms if arm.is_canary}
    arm = known.get(name)
    if arm is None:
        raise ExperimentError(
            f"there is no canary {name!r}; there are: {', '.join(known) or 'none'}"
        )
    records = await read_from(settings.kafka, settings.topics.models)
    newest = newest_announcements(records, arm.channel).get("dynamic")
    held = newest_shares(records, settings.experiments.salt).get(name)
    now = now_ms()
    if state == "growing":
        after = newest.generation if newest else 0
        said = _said(settings, arm, arm.canary.first, state, now, now, after, "restarted")
    else:
        started, after = (held.started_at, held.after_generation) if held else (now, 0)
        said = _said(settings, arm, 0.0, state, now, started, after, "stopped")
    async with ProducerOutputs(settings.kafka) as outputs:
        await outputs.send(settings.topics.models, said.key, encode(said))
        await outputs.flush()
    return said


def _said(
    settings: Settings,
    arm: ArmSettings,
    share: float,
    state: Literal["growing", "stopped"],
    now: int,
    started: int,
    after: int,
    what: str,
) -> ArmShare:
    return ArmShare(
        arm=arm.name, salt=settings.experiments.salt, share=share, state=state, started_at=started,
        changed_at=now, after_generation=after, reasons=[f"{what} by a person"],
    )  # fmt: skip


def _require_arms(settings: Settings) -> None:
    if not settings.experiments.arms:
        raise ExperimentError("the settings have no arms: see docs/experiments.md")
