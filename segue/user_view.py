"""A user's history and current lists, read from Kafka and the artifact store."""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.bundles.announcements import newest_announcements
from agents.erased import ErasedUsers
from agents.forgetting import apply_records, drop_unread
from agents.working.ahead import refuse_ahead
from agents.working.partitions import check_made_from
from segue.settings import Settings
from segue.showing import history_rows, scored_rows, titles_of
from state import Checkpoints, PartitionState, open_or_restore
from streams import (
    Recommendation,
    Request,
    Source,
    encode,
    end_offsets,
    event_decoders,
    following,
    murmur2_partition,
    read_catalogue,
    read_from,
    readable,
    topic_identities,
)
from streams.log_record import now_ms

__all__ = ["user_view"]

SHOWN_HISTORY = 20
TOLD_EVERY_S = 15.0


async def user_view(
    settings: Settings, user: str, timeout: float, waiting: Callable[[str], None]
) -> dict[str, Any]:
    """Return a user's history and current lists with titles, as JSON values.

    timeout: seconds to wait for the lists; waiting: called every 15 s with what they wait for.
    """
    titles, history = await _history(settings, user)
    lists, generation = await _ask(settings, user, timeout, waiting)
    return {
        "user_id": user,
        "history": history,
        "generation": generation,
        "lists": {name: scored_rows(found.items, titles) for name, found in lists.items()},
    }


async def _history(
    settings: Settings, user: str
) -> tuple[dict[tuple[str, str], str], list[dict[str, Any]]]:
    """Titles of the catalogue, and the user's entries, from the checkpoint and the log after it."""
    topics = settings.topics
    titles = titles_of((await read_catalogue(settings.kafka, topics, settings.item_sources))[0])
    partition = murmur2_partition(user.encode(), topics.partitions)
    with tempfile.TemporaryDirectory(prefix="segue-look-") as scratch:
        folder = Path(scratch) / "state"
        state = await asyncio.to_thread(
            open_or_restore, Checkpoints(settings.store()), folder, partition, settings.state
        )
        try:
            found = await asyncio.to_thread(topic_identities, settings.kafka, state.positions)
            check_made_from(state, found.values())
            await _catch_up(settings, state, partition, user)
            entries = history_rows(state, user, lambda *name: titles.get(name), SHOWN_HISTORY)
        finally:
            state.close()
    return titles, entries


async def _catch_up(settings: Settings, state: PartitionState, partition: int, user: str) -> None:
    """Apply a user's events after the checkpoint to a restored state, as a worker does."""
    decoders = event_decoders(settings.topics.events, settings.sources, settings.events)
    erased = ErasedUsers(settings.topics, settings.kafka, settings.personal_sources)
    await erased.read()
    await drop_unread(erased, state, decoders)
    ends = await asyncio.to_thread(end_offsets, settings.kafka, decoders)
    for topic, decode_events in decoders.items():
        position = state.position(topic) or 0
        first = {p: (position if p == partition else end) for p, end in ends[topic].items()}
        records = await read_from(settings.kafka, topic, first)
        mine = [r for r in records if r.partition == partition and r.key == user.encode()]
        if mine:
            events, _ = decode_events(mine)
            events, _ = refuse_ahead(
                events, mine, watermark=state.watermark, window=settings.state.window,
                rules=settings.events, now_ms=now_ms(),
            )  # fmt: skip
            await apply_records(erased, state, decoders, mine, events)


async def _ask(
    settings: Settings, user: str, timeout: float, waiting: Callable[[str], None]
) -> tuple[dict[str, Recommendation], int | None]:
    """Send a request and collect its lists; empty if no worker answers in time.

    The request stays in the log until a worker can answer it.
    """
    topic = settings.topics.recommendations
    answers = (await asyncio.to_thread(end_offsets, settings.kafka, [topic]))[topic]
    request = Request(user_id=user)
    lists: dict[str, Recommendation] = {}
    async with AIOKafkaProducer(**settings.kafka.for_aiokafka()) as producer:
        sent = await producer.send_and_wait(
            settings.topics.requests, key=request.key, value=encode(request)
        )
    place = Source(topic=settings.topics.requests, partition=sent.partition, offset=sent.offset)
    started = time.monotonic()
    told = 0.0
    async with following(settings.kafka, topic, answers) as poll:
        while not lists and (waited := time.monotonic() - started) < timeout:
            if waited - told >= TOLD_EVERY_S:
                told = waited
                reason = await _why_none(settings)
                waiting(f"no lists after {waited:,.0f} of at most {timeout:,.0f} s: {reason}")
            for _, found in readable(Recommendation, await poll()):
                if found.source == place:
                    lists[found.list] = found
    generation = next((found.generation for found in lists.values()), None)
    return lists, generation


async def _why_none(settings: Settings) -> str:
    """What a worker needs before it can answer, and does not have."""
    announced = newest_announcements(await read_from(settings.kafka, settings.topics.models))
    if announced.get("static") is None:
        return "no static bundle is published; run segue static build"
    if announced.get("dynamic") is None:
        return "the trainer has not published a bundle yet"
    return "no worker has answered; check that one runs and has loaded the bundle"
