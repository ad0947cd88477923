"""Replays the log between two points into a new state next to the live one."""

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.apps.replay import Replay
from agents.erased import ErasedUsers
from agents.working.partitions import check_made_from
from segue.settings import Settings
from segue.state_folders import found_state, replays
from segue.times import LogPoint
from state import MadeFrom, PartitionState
from streams import (
    EmbeddedLog,
    KafkaSettings,
    held_offsets,
    offsets_at,
    read_in_place,
    topic_identities,
)
from streams.positions import Held
from streams.spans import Span, SpanReader, open_reader

__all__ = ["ReplayExists", "replay", "spans_of"]

Log = KafkaSettings | EmbeddedLog
Place = tuple[str, int]
Progress = Callable[[int, int, int], None]
"""(partition, records read, records in all its spans)"""


class ReplayExists(Exception):
    """A replay of this name exists."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Result of the replay of one partition.

    missing: topic -> deleted offsets of the log that this state lacks.
    """

    spans: dict[str, Span]
    records: int
    events: int
    dead_letters: Counter[str]
    missing: dict[str, list[tuple[int, int]]]


async def replay(
    settings: Settings,
    log: Log,
    name: str,
    *,
    begin: LogPoint,
    end: LogPoint,
    replace: bool,
    now_ms: int,
    progress: Progress,
    catalogue_to_its_end: bool = False,
) -> dict[str, Any]:
    """Read every partition's spans into `<data>/replays/<name>`; returns a summary.

    catalogue_to_its_end: `end` applies only to events; catalogue and users are read to their
                          current end.

    Nothing else is written. `replay.json`, written last, holds the returned summary.
    Raises ReplayExists, ValueError for an invalid name or points, AdminError, PositionError, and
    the errors of `found_state` for `end`.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"a replay's name is that of a folder, without a path; got {name!r}")
    folder = replays(settings) / name
    if folder.exists() and not replace:
        raise ReplayExists(f"{folder} exists; choose another name, or use --replace")
    spans = await asyncio.to_thread(
        spans_of, settings, log, begin, end, catalogue_to_its_end=catalogue_to_its_end
    )
    topics = {topic for theirs in spans.values() for topic in theirs}
    made_from = {
        name: MadeFrom(id=its.id, partitions=its.partitions)
        for name, its in (await asyncio.to_thread(topic_identities, log, topics)).items()
    }
    # The plan is good: only now may what was there before go.
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    started = time.monotonic()
    done: dict[int, Replayed] = {}
    erased = ErasedUsers(settings.topics, log, settings.personal_sources)
    await erased.read()
    ends = {
        (topic, partition): span.end
        for partition, theirs in spans.items()
        for topic, span in theirs.items()
    }
    # Those of the part of the log that is replayed, known from the beginning on.
    erased = erased.before(ends)
    async with open_reader(log) as reader:
        for partition, theirs in spans.items():
            done[partition] = await _replay_partition(
                settings, reader, folder / f"{partition:05d}", partition, theirs, made_from,
                progress, erased,
            )  # fmt: skip
    summary = _summary(name, folder, begin, end, done, time.monotonic() - started, now_ms)
    aside = folder / "replay.json.new"
    aside.write_text(json.dumps(summary, indent=1))
    aside.replace(folder / "replay.json")
    return summary


def spans_of(
    settings: Settings,
    log: Log,
    begin: LogPoint,
    end: LogPoint,
    *,
    catalogue_to_its_end: bool = False,
) -> dict[int, dict[str, Span]]:
    """Return the offsets to read: partition -> topic -> span.

    Catalogue and users are always read from their beginning, because they hold the latest value per
    key. Raises AdminError, PositionError if the log does not hold the positions of a state,
    ValueError if the end is before the beginning everywhere.
    """
    names = settings.topics
    of_events = [names.events, *(source.topic for source in read_in_place(settings.sources))]
    keyed = (names.users, names.catalogue, *of_events)
    held = held_offsets(log, keyed)
    firsts = {place: part.first for place, part in held.items()}
    if begin.time_ms is not None:
        at = offsets_at(log, of_events, begin.time_ms)
        firsts |= {
            (topic, partition): offset
            for topic in of_events
            for partition, offset in at[topic].items()
        }
    ends = _ends(settings, log, end, held)
    if catalogue_to_its_end:
        ends |= {place: part.end for place, part in held.items() if place[0] not in of_events}
    spans: dict[int, dict[str, Span]] = {}
    for topic, partition in sorted(held, key=lambda place: (place[1], keyed.index(place[0]))):
        first, last = firsts[topic, partition], ends[topic, partition]
        spans.setdefault(partition, {})[topic] = Span(
            topic=topic, partition=partition, first=min(first, last), end=last
        )
    events = [place for place in held if place[0] in of_events]
    if all(firsts[place] >= ends[place] for place in events) and any(
        firsts[place] > ends[place] for place in events
    ):
        raise ValueError(f"there is no event between {begin.text} and {end.text}")
    return spans


def _ends(
    settings: Settings, log: Log, end: LogPoint, held: Mapping[Place, Held]
) -> dict[Place, int]:
    if end.time_ms is not None:
        at = offsets_at(log, {topic for topic, _ in held}, end.time_ms)
        return {(topic, partition): at[topic][partition] for topic, partition in held}
    if not end.state:
        return {place: part.end for place, part in held.items()}
    ends = {place: part.first for place, part in held.items()}
    topics = topic_identities(log, {topic for topic, _ in held})
    with found_state(settings, end.state) as found:
        for partition, folder in found.folders.items():
            state = PartitionState(folder, partition, settings.state, read_only=True)
            positions = state.committed
            try:
                check_made_from(state, topics.values())
            finally:
                state.close()
            for topic, position in positions.items():
                if (topic, partition) not in held:
                    raise ValueError(
                        f"state {end.state} has read {topic}/{partition}, which is none of "
                        f"{', '.join(sorted({name for name, _ in held}))}"
                    )
                held[topic, partition].check(position)
                ends[topic, partition] = position
    return ends


async def _replay_partition(
    settings: Settings,
    reader: SpanReader,
    folder: Path,
    partition: int,
    spans: Mapping[str, Span],
    made_from: Mapping[str, MadeFrom],
    progress: Progress,
    erased: ErasedUsers,
) -> Replayed:
    total, read = sum(len(span) for span in spans.values()), 0
    progress(partition, 0, total)
    made = Replay(
        folder,
        partition,
        settings=settings.worker,
        state=settings.state,
        topics=settings.topics,
        rules=settings.events,
        sources=settings.personal_sources,
        erased=erased,
    )
    records = 0
    try:
        for topic, span in spans.items():
            made.state.set_made_from(topic, made_from[topic])
            made.state.pass_over(topic, span.first)
            async for batch in reader.read(span, settings.worker.batch):
                await made.handle(batch)
                records += len(batch)
                progress(partition, read + batch[-1].offset + 1 - span.first, total)
            made.reached(topic, span.end)
            read += len(span)
        made.finish()
        progress(partition, total, total)
        missing: dict[str, list[tuple[int, int]]] = {}
        for gap in made.state.missing:
            missing.setdefault(gap.topic, []).append((gap.first, gap.end))
        return Replayed(
            spans=dict(spans),
            records=records,
            events=made.tally.records,
            dead_letters=made.dead_letters,
            missing=missing,
        )
    finally:
        made.close()


def _summary(
    name: str,
    folder: Path,
    begin: LogPoint,
    end: LogPoint,
    done: Mapping[int, Replayed],
    seconds: float,
    now_ms: int,
) -> dict[str, Any]:
    events = sum(part.events for part in done.values())
    dead_letters: Counter[str] = Counter()
    for part in done.values():
        dead_letters += part.dead_letters
    return {
        "name": name,
        "folder": str(folder),
        "from": begin.text,
        "to": end.text,
        "created_at": now_ms,
        "records": sum(part.records for part in done.values()),
        "events": events,
        "dead_letters": dict(dead_letters),
        "seconds": round(seconds, 3),
        "events_per_second": round(events / seconds) if seconds else 0,
        # A state of all that was ever written, or of a later part of it?
        "whole": not any(part.missing for part in done.values()),
        "partitions": {
            str(partition): {
                "offsets": {topic: [span.first, span.end] for topic, span in part.spans.items()},
                "records": part.records,
                "missing": part.missing,
            }
            for partition, part in done.items()
        },
    }
