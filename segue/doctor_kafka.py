"""The checks of `segue doctor` that query the broker: rights, topics, sources, clocks, roles."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents.bundles.announcements import announcement_of
from agents.bundles.catalogue_frame import catalogue_frame
from segue.doctor import Finding, Verdict, fact
from segue.item_source_check import ItemSourceCheck, MappedItem, MappedUser, check_item_sources_now
from segue.options import NO_BROKER
from segue.rights import RIGHTS
from segue.settings import Settings
from segue.source_check import MappedRecord, SourceCheck, check_sources_now
from segue.system_status import system_status
from segue.text_language import language_finding
from state import CorruptArtifact, StoreUnavailable
from streams import (
    AdminError,
    LogRecord,
    TopicReport,
    compare_topics,
    end_offsets,
    offsets_at,
    read_catalogue,
    read_from,
    require_broker,
    topics,
)
from streams.admin import partition_counts
from streams.log_record import now_ms
from streams.rights import missing_rights
from streams.security import SecurityError

__all__ = [
    "check_kafka",
    "clock_finding",
    "model_findings",
    "topic_findings",
    "worker_findings",
]

#: Clocks that differ by less do no harm: events may lie `events.future_ms` ahead, and ages are
#: shown to the second.
SKEW_MS = 5_000
#: Records that a worker may be behind without a warning: it applies more than that in a second.
LAG = 100_000
#: Records of each source that are mapped.
SAMPLE = 100

#: Settings of a topic without which Segue loses or misreads records.
_NEEDED = ("partitions", "cleanup.policy")


async def check_kafka(settings: Settings) -> list[Finding]:
    """Check the broker, topics and roles; checks whose preconditions fail are skipped."""
    address = settings.kafka.bootstrap_servers
    try:
        await asyncio.to_thread(require_broker, settings.kafka)
    except (AdminError, SecurityError) as error:
        return [
            Finding(
                check="broker", verdict="fail", found=str(error),
                fix=f"{NO_BROKER}. Topics, clocks, workers and models are not checked without a "
                "broker",
            )
        ]  # fmt: skip
    found = [fact("broker", f"Kafka answers at {address}")]
    try:
        found.append(await asyncio.to_thread(_rights, settings))
        report = await asyncio.to_thread(compare_topics, settings.kafka, topics(settings.topics))
        found += topic_findings(report, settings)
        found += await _sources(settings)
        if not report.missing:
            found += await _roles(settings)
    except Exception as error:  # a broker that dies meanwhile; the kinds of error are Kafka's own
        found.append(
            Finding(check="broker", verdict="fail", found=repr(error), fix="see the message")
        )
    return found


def topic_findings(report: TopicReport, settings: Settings) -> list[Finding]:
    """Check Segue's own topics: partitions, retention, compaction, timestamp type."""
    found = []
    if report.missing:
        found.append(
            Finding(
                check="topics", verdict="fail", found=f"there is no {', '.join(report.missing)}",
                fix="segue topics create",
            )
        )  # fmt: skip
    for name, differences in report.differing.items():
        for setting, difference in differences.items():
            verdict: Verdict = "fail" if setting in _NEEDED else "warn"
            found.append(
                Finding(
                    check="topics", verdict=verdict,
                    found=f"{name}: {setting} is {difference.found}, expected {difference.wanted}",
                    fix=_topic_fix(name, setting, difference.found, difference.wanted),
                )
            )  # fmt: skip
    window = settings.state.window
    days = window.bucket_ms * window.buckets / 86_400_000
    if settings.topics.events_days < days:
        found.append(
            Finding(
                check="retention", verdict="warn",
                found=f"events are kept {settings.topics.events_days} days, but the window of the "
                      f"state is {days:g} days",
                fix="set topics.events_days above the window, so that a state can be rebuilt from "
                    "the log",
            )
        )  # fmt: skip
    return found or [
        fact("topics", f"{len(report.unchanged)} topics {settings.topics.prefix}.* as expected")
    ]


def _topic_fix(name: str, setting: str, found: str, wanted: str) -> str:
    if setting == "partitions":
        more = found.isdecimal() and int(found) < int(wanted)
        return (
            f"segue topics grow --partitions {wanted}" if more
            else f"set topics.partitions to {found}"
        )  # fmt: skip
    if setting == "replication":
        return f"reassign {name} with {wanted} replicas, or set topics.replication to {found}"
    return (
        f"kafka-configs.sh --alter --entity-type topics --entity-name {name} "
        f"--add-config {setting}={wanted}"
    )


def clock_finding(ahead: Iterable[str], records: Sequence[LogRecord]) -> Finding:
    """Check that the clocks of this machine, the brokers and the trainer agree.

    ahead: topics with records whose log time is later than this machine's clock. records: of the
           models topic; an announcement holds its trainer's time, its record the broker's.
    """
    names = sorted(ahead)
    fix = "synchronise the clocks of brokers and machines (NTP)"
    if names:
        return Finding(
            check="clocks", verdict="fail", fix=fix,
            found=f"records of {', '.join(names)} are more than {SKEW_MS / 1000:g} s ahead of "
                  f"this machine's clock",
        )  # fmt: skip
    said = [(record, announcement_of(record)) for record in records]
    skews = [record.timestamp - found.created_at for record, found in said if found is not None]
    if skews and abs(skews[-1]) > SKEW_MS:
        return Finding(
            check="clocks", verdict="warn", fix=fix,
            found=f"the broker's clock and the one of the process that announced the newest bundle "
            f"differ by {skews[-1] / 1000:,.1f} s",
        )  # fmt: skip
    return fact("clocks", "no record is ahead of this machine's clock")


def worker_findings(status: Mapping[str, Any]) -> list[Finding]:
    """Check the lag of workers and of `segue rekey`, and that there are checkpoints.

    status: as `system_status` returns it. A source has the group that reads it and its lag.
    """
    partitions = status["partitions"]
    own = sum(row["lag"] for row in partitions)
    applied = sum(row["end_offset"] for row in partitions) - own
    lag = own + sum(row["lag"] or 0 for row in status["sources"])
    started = applied or any(row["checkpoint_age_s"] is not None for row in partitions)
    found = [
        fact("workers", f"{applied:,} records of Segue's own topic applied, {lag:,} to apply")
        if lag <= LAG and (started or not lag)
        else Finding(
            check="workers", verdict="warn", found=f"{lag:,} records are not applied yet",
            fix="start a worker, or more workers (at most one per partition): segue worker; for "
                "sources that are not keyed by user also: segue rekey",
        )
    ]  # fmt: skip
    without = [row["partition"] for row in partitions if row["checkpoint_age_s"] is None]
    if applied and without:
        found.append(
            Finding(
                check="checkpoints", verdict="warn",
                found=f"partitions {', '.join(map(str, without))} have no checkpoint in the store",
                fix="the static job reads checkpoints; a worker writes one every "
                    "worker.checkpoint_every_s seconds and when it stops",
            )
        )  # fmt: skip
    return found


def model_findings(models: Mapping[str, Any], corrupt: Mapping[str, str]) -> list[Finding]:
    """Check that there are a static and a dynamic model, and that their bundles are complete.

    models: by kind, as `system_status` has them. corrupt: kind -> fault of its bundle.
    """
    found = []
    make = {"static": "segue static build", "dynamic": "segue trainer"}
    for kind, command in make.items():
        model = models.get(kind)
        if model is None:
            found.append(
                Finding(
                    check=f"{kind} model", verdict="warn", found="no bundle is announced",
                    fix=f"{command}; without it users get popular items",
                )
            )  # fmt: skip
        elif kind in corrupt:
            found.append(
                Finding(
                    check=f"{kind} model", verdict="fail", found=corrupt[kind],
                    fix=f"segue models rollback, or {command}",
                )
            )  # fmt: skip
        else:
            age = f"{model['age_s'] / 3600:,.1f} h old"
            found.append(fact(f"{kind} model", f"generation {model['generation']}, {age}"))
    return found


def _rights(settings: Settings) -> Finding:
    if settings.kafka.security_protocol == "PLAINTEXT":
        return fact("rights", "the broker does not authenticate users (PLAINTEXT)")
    missing = {
        role: lacking
        for role, rights in RIGHTS.items()
        if (lacking := missing_rights(settings.kafka, rights(settings)))
    }
    if not missing:
        return fact("rights", f"this user has the rights of {', '.join(RIGHTS)}")
    text = "; ".join(f"{role}: {', '.join(lacking)}" for role, lacking in missing.items())
    return Finding(
        check="rights", verdict="warn", found=f"this user lacks rights of the role {text}",
        fix="deploy/kafka/acls.sh grants each role its rights; a user of one role needs only those",
    )  # fmt: skip


async def _sources(settings: Settings) -> list[Finding]:
    found = []
    checked: list[SourceCheck | ItemSourceCheck] = []
    checked += await check_sources_now(settings, SAMPLE)
    checked += await check_item_sources_now(settings, SAMPLE)
    sections = {
        source.topic: section
        for section, sources in (
            ("sources", settings.sources),
            ("item_sources", settings.item_sources),
            ("user_sources", settings.user_sources),
        )
        for source in sources
    }
    for source in checked:
        name, section = f"source {source.topic}", sections[source.topic]
        records: list[MappedRecord | MappedItem | MappedUser] = [*source.records]
        bad = [record for record in records if record.reason]
        if source.fault:
            found.append(
                Finding(
                    check=name,
                    verdict="fail",
                    found=source.fault,
                    fix=f"correct the topic, or its entry in [[{section}]]",
                )
            )
        elif bad:
            found.append(
                Finding(
                    check=name, verdict="warn", fix="segue sources check shows each",
                    found=f"{len(bad)} of the newest {len(source.records)} records do not map: "
                    f"{bad[0].reason}: {bad[0].detail}",
                )
            )  # fmt: skip
        else:
            found.append(fact(name, f"the newest {len(source.records)} records map"))
        if source.create_time:
            what = (
                "events.jump_ms limits the effect of a wrong clock"
                if isinstance(source, SourceCheck)
                else "an erasure covers a user's record by this time"
            )
            found.append(
                Finding(
                    check=name, verdict="warn",
                    found="keeps producer timestamps (message.timestamp.type=CreateTime)",
                    fix=f"set the topic to LogAppendTime if possible; otherwise {what}",
                )
            )  # fmt: skip
    return found


async def _roles(settings: Settings) -> list[Finding]:
    """Check clocks, workers, models and languages. All of Segue's topics exist."""
    names = settings.topics
    own = [names.events, names.catalogue, names.models, names.demand]
    ends = await asyncio.to_thread(end_offsets, settings.kafka, own)
    later = await asyncio.to_thread(offsets_at, settings.kafka, own, now_ms() + SKEW_MS)
    ahead = [name for name in own if any(at < ends[name][part] for part, at in later[name].items())]
    announced = await read_from(settings.kafka, names.models)
    found = [clock_finding(ahead, announced)]
    try:
        status = await system_status(settings)
    except StoreUnavailable:
        return found  # the check of the store says so
    found += worker_findings(status)
    corrupt = await asyncio.to_thread(_corrupt, settings, status["models"])
    found += model_findings(status["models"], corrupt)
    theirs = [source.topic for source in settings.item_sources]
    there = await asyncio.to_thread(partition_counts, settings.kafka, theirs) if theirs else {}
    sources = [source for source in settings.item_sources if source.topic in there]
    items, _ = await read_catalogue(settings.kafka, names, sources)
    rows = [item for item in items if not item.deleted]
    found.append(await asyncio.to_thread(language_finding, settings, catalogue_frame(rows)))
    return found


def _corrupt(settings: Settings, models: Mapping[str, Any]) -> dict[str, str]:
    """Return the fault of the announced bundle in the store, by kind."""
    store, found = settings.store(), {}
    for kind in ("static", "dynamic"):
        if kind in models:
            try:
                store.manifest(kind, models[kind]["name"])
            except CorruptArtifact as error:
                found[kind] = str(error)
    return found
