"""The state of the system in one sentence, with the section of the runbook that helps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

__all__ = ["Finding", "findings"]

#: Limits of the alerts in deploy/prometheus/alerts.yml; a test compares them.
LAG_RECORDS = 50_000
LATE_MS = 1_000
REFUSED_SHARE = 0.01
STATIC_AGE_S = 64_800
BUNDLE_AGE_S = 7_200
#: Fewer records or answers than these say nothing about a limit.
ENOUGH_ANSWERS = 20
ENOUGH_REFUSED = 10
#: The lag must not fall for so long, and be at least so great, before workers count as stuck:
#: in a quiet partition, markers of transactions keep a lag of a few records.
STUCK_S = 60
STUCK_RECORDS = 10

View = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong, in one sentence.

    level: bad means act now, warn means act today. runbook: section of docs/runbook.md, empty where
    waiting is enough.
    """

    level: Literal["bad", "warn"]
    text: str
    runbook: str = ""


def findings(view: View) -> list[Finding]:
    """What is wrong in a view of `Pages.now`, worst first; empty: all is well."""
    found = [*_log(view), *_workers(view), *_records(view), *_models(view)]
    return sorted(found, key=lambda one: one.level != "bad")


def _log(view: View) -> Iterator[Finding]:
    if not view["log_answers"]:
        yield Finding(
            level="bad", runbook="SegueNothingApplied",
            text="Kafka does not answer, or refuses. Lists use the data that was read before.",
        )  # fmt: skip
    if view["behind"]:
        yield Finding(
            level="warn", text=f"This console still reads the log: {view['behind']:,} records left."
        )


def _workers(view: View) -> Iterator[Finding]:
    lags = {p["partition"]: p["workers_lag"] or 0 for p in view["partitions"]}
    worst = max(lags, key=lags.__getitem__, default=None)
    seconds: Sequence[View] = view["seconds"][-STUCK_S:]
    if worst is not None and lags[worst] > LAG_RECORDS:
        yield Finding(
            level="bad", runbook="SegueWorkersBehind",
            text=f"Workers are behind: {lags[worst]:,} records wait in partition {worst}.",
        )  # fmt: skip
    elif _stuck(seconds):
        lag = f"{seconds[-1]['lag']:,} records wait"
        nothing = not any(second["answers"] for second in seconds)
        yield Finding(
            level="bad", runbook="SegueNothingApplied" if nothing else "SegueWorkersBehind",
            text=f"Workers apply nothing: {lag}, and no recommendation came for {STUCK_S} s."
            if nothing
            else f"Workers fall behind: {lag}, and the lag has not fallen for {STUCK_S} s.",
        )  # fmt: skip
    p99 = view["latency_ms"]["p99"]
    if p99 is not None and p99 > LATE_MS and view["latency_ms"]["answers"] >= ENOUGH_ANSWERS:
        yield Finding(
            level="bad", runbook="SegueAnswersLate",
            text=f"Recommendations are late: {p99 / 1000:.1f} s after the event at p99.",
        )  # fmt: skip


def _stuck(seconds: Sequence[View]) -> bool:
    lags = [second["lag"] for second in seconds]
    if len(lags) < STUCK_S or None in lags or lags[0] < STUCK_RECORDS:
        return False
    return all(before <= after for before, after in pairwise(lags))


def _records(view: View) -> Iterator[Finding]:
    refused = sum(second["refused"] for second in view["seconds"])
    records = sum(second["events"] for second in view["seconds"])
    if refused >= ENOUGH_REFUSED and refused > REFUSED_SHARE * records:
        yield Finding(
            level="warn", runbook="SegueManyDeadLetters",
            text=f"{100 * refused / records:.1f} % of the records of the last five minutes were"
            " refused.",
        )  # fmt: skip


def _models(view: View) -> Iterator[Finding]:
    unserved = [c["channel"] for c in view["channels"] if c["served"] is None]
    if unserved:
        yield Finding(
            level="bad",
            runbook="SegueBundleOld",
            text="No bundle is served yet: no lists are made.",
        )
    for channel in view["channels"]:
        name = f" on channel {channel['channel']}" if len(view["channels"]) > 1 else ""
        if channel["lacks_bundle"] and channel["served"]:
            yield Finding(
                level="warn", runbook="SegueChannelLacksBundle",
                text=f"Channel {channel['channel']} has no bundle of its own.",
            )  # fmt: skip
        if channel["pinned"] and channel["served"] not in (None, channel["pinned"]):
            yield Finding(
                level="bad", runbook="SeguePinned",
                text=f"{channel['pinned']} is pinned{name}, but {channel['served']} is served.",
            )  # fmt: skip
        elif channel["pinned"]:
            yield Finding(
                level="warn", runbook="SeguePinned",
                text=f"{channel['pinned']} is pinned{name}: what the trainer learns is not served.",
            )  # fmt: skip
    yield from _ages(view)


def _ages(view: View) -> Iterator[Finding]:
    ages = {k: (view["time"] - m["created_at"]) / 1000 for k, m in view["models"].items()}
    if ages.get("static", 0) > STATIC_AGE_S:
        yield Finding(
            level="warn", runbook="SegueStaticBuildFails",
            text=f"The static bundle is {ages['static'] / 3600:.0f} h old: builds fail, or do not"
            " run.",
        )  # fmt: skip
    events = sum(second["events"] for second in view["seconds"])
    if events and ages.get("dynamic", 0) > BUNDLE_AGE_S:
        yield Finding(
            level="warn", runbook="SegueBundleOld",
            text=f"The trainer’s newest bundle is {ages['dynamic'] / 3600:.0f} h old, but events"
            " arrive.",
        )  # fmt: skip
