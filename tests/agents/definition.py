"""The definition of a state over topics of events: those that no erasure of their user covers."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from state import ASSUMED_KIND, PartitionState, StateSettings
from streams import (
    AssumedImpression,
    Event,
    EventRules,
    LogRecord,
    SourceSettings,
    decode,
    event_decoders,
)
from streams.codec import decode_events
from streams.event_batch import Erasure
from tests.state.dumps import Dump, dump
from tests.state.streams_of_events import Columns


class ShownAt(Event, frozen=True, kw_only=True):
    """An item that was shown, at a position of the list with the number `of`."""

    position: int
    of: int


def counting_events(
    records: Mapping[str, Sequence[LogRecord]],
    own: str,
    partition: int,
    rules: EventRules,
    sources: Sequence[SourceSettings] = (),
    ids: Mapping[str, str] | None = None,
) -> list[Event]:
    """Return the good events of a partition's topics that count.

    own: Segue's own topic, which holds the erasures too; they cover what lies before them there. Of
    another topic they cover what lies below the offset that they name, or what the log took no
    later than they were logged. ids: of the topics as they are now, where one was created again
    since: offsets that an erasure names are of the topic with the id that it names. sources: those
    that are not read as our own topic is; each item of an impression is an event of its own kind
    (`ShownAt`).
    """
    decoders = event_decoders(own, sources, rules)
    erasures = decode_events(records[own], rules)[0].erasures
    found = []

    def named(erasure: Erasure, topic: str) -> bool:
        """Whether an erasure says for this topic, and for none before it, what it covers."""
        same = not ids or erasure.topic_ids.get(topic, ids[topic]) == ids[topic]
        return same and f"{topic}/{partition}" in erasure.count_from

    for topic, those in records.items():
        batch, _ = decoders.get(topic, decoders[own])(those)
        logged = {record.offset: record.timestamp for record in those}
        values = {record.offset: record.value for record in those}
        for n, offset in enumerate(batch.offset.tolist()):
            gone = False
            for erasure in erasures:
                if erasure.user_id != batch.user_id[n]:
                    continue
                if topic == own:
                    gone |= offset < erasure.offset
                elif named(erasure, topic):
                    gone |= offset < erasure.count_from[f"{topic}/{partition}"]
                else:
                    gone |= logged[offset] <= erasure.logged_at
                if batch.kind[n] == ASSUMED_KIND:
                    value = values[offset]
                    gone |= erasure.offset >= decode(AssumedImpression, value).made_at
            if not gone:
                event = {
                    "user_id": batch.user_id[n], "item_type": batch.item_type[n],
                    "item_id": batch.item_id[n], "kind": batch.kind[n],
                    "timestamp": int(batch.timestamp[n]),
                }  # fmt: skip
                places, lists = batch.position, batch.list_code
                if places is None or lists is None:
                    found.append(Event(**event))
                else:
                    found.append(ShownAt(**event, position=int(places[n]), of=int(lists[n])))
    return found


def defined_dump(folder: Path, events: Sequence[Event], settings: StateSettings) -> Dump:
    """Return the state of these events and of no others, without live popularity."""
    shutil.rmtree(folder, ignore_errors=True)
    state = PartitionState(folder, 0, settings)
    for topic, shown in (("all", False), ("shown", True)):
        own = [event for event in events if isinstance(event, ShownAt) is shown]
        columns = Columns([])
        columns.user_id = [e.user_id for e in own]
        columns.item_type = [e.item_type for e in own]
        columns.item_id = [e.item_id for e in own]
        columns.kind = [e.kind for e in own]
        columns.timestamp = np.array([e.timestamp for e in own], np.int64)
        columns.offset = np.arange(len(own), dtype=np.int64)
        if shown:
            columns.position = np.array([e.position for e in own], np.int64)
            columns.list_code = np.array([e.of for e in own], np.int64)
        state.apply_events(topic, columns, len(own))
    found = dump(state)
    state.close()
    shutil.rmtree(folder)
    return replace(found, demand={})


def files_with(folder: Path, user: str) -> list[str]:
    """Files with a user's id. The log's retention is Kafka's, and LOG is RocksDB's for people."""
    return files_with_each(folder, [user])[user]


def files_with_each(folder: Path, users: Sequence[str]) -> dict[str, list[str]]:
    """User -> files with the user's id, as of `files_with`; each file is read once."""
    found: dict[str, list[str]] = {user: [] for user in users}
    any_of_them = re.compile(b"|".join(re.escape(user.encode()) for user in users))
    for place, folders, names in os.walk(folder):
        if place == str(folder) and "log" in folders:
            folders.remove("log")
        folders.sort()
        for path in (Path(place, name) for name in sorted(names) if not name.startswith("LOG")):
            content = path.read_bytes()
            if any_of_them.search(content) is None:
                continue
            for user, files in found.items():
                if user.encode() in content:
                    files.append(str(path.relative_to(folder)))
    return found
