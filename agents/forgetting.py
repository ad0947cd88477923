"""Removes erased users from a state, and reapplies their records that no erasure covers.

What a state has applied of a user is dropped when it reaches the erasure. Records of other topics
that it has read by then and that the erasure does not cover are read and applied again. So a state
is what the records below its positions say, whatever the order in which it read its topics.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from agents.erased import READ, ErasedUsers, user_hash
from state import Applied, PartitionState, apply_in_order
from state.batches import Bools
from state.kernel import I64
from streams import (
    ErasurePlace,
    EventBatch,
    EventDecoder,
    Log,
    LogRecord,
    UnreachableError,
    are_impressions,
    held_offsets,
    offsets_at,
    without_rows,
)
from streams.schema_wait import fetch_unknown
from streams.sources import SourceError
from streams.spans import Span, open_reader

__all__ = ["apply_records", "drop_unread"]


async def apply_records(
    erased: ErasedUsers,
    state: PartitionState,
    decoders: Mapping[str, EventDecoder],
    records: Sequence[LogRecord],
    events: EventBatch,
    *,
    refused: int = 0,
    wanted: Callable[[I64], Bools] | None = None,
    observe: int = 0,
) -> tuple[Applied, Bools | None]:
    """Apply records of one partition of a topic, and know the erasures among them.

    events: what the topic's decoder made of the records; the rest is as in
    `PartitionState.apply_events`.
    Returns what was applied, and which rows do not count (`ErasedUsers.gone`). Raises AdminError
    before the state changes.
    """
    topic, next_offset = records[0].topic, records[-1].offset + 1
    gone = erased.gone(records, events)
    if not events.erasures:
        return state.apply_events(
            topic, events, next_offset, refused=refused, wanted=wanted, observe=observe, gone=gone
        ), gone
    gone = erased.with_those_of(records, events, gone)
    others = {name: decoder for name, decoder in decoders.items() if name != topic}
    position = state.position(topic) or 0
    again = {
        user: await _counting(erased, state, user, others)
        for user in {one.user_id: 0 for one in events.erasures if one.offset >= position}
    }
    erasures = [(one.offset, one.user_id, one.logged_at) for one in events.erasures]
    applied = apply_in_order(
        state, topic, events, erasures, next_offset,
        refused=refused, wanted=wanted, observe=observe, gone=gone,
    )  # fmt: skip
    dropped = {one.user_id for one in applied.erased if one.held}
    for user, batches in again.items():
        if user in dropped:
            _apply_again(state, batches)
    return applied, gone


async def drop_unread(
    erased: ErasedUsers, state: PartitionState, decoders: Mapping[str, EventDecoder]
) -> None:
    """Erase from a state just opened the users whose erasure it can no longer read.

    The state has not reached it, and the log has deleted it. The state is committed if it
    changes. Raises AdminError before the state changes.
    """
    log = erased.log
    ahead = {
        user: [one for one in erasures if _is_ahead(erased, one, state, decoders)]
        for user, erasures in erased.items()
    }
    if log is None or not any(ahead.values()):
        return
    held = await erased.asked(
        lambda: asyncio.to_thread(held_offsets, log, tuple(decoders)), "asking for erasures"
    )
    unread = {
        user
        for user, erasures in ahead.items()
        if any(e.source.offset < held[e.source.topic, state.partition].first for e in erasures)
    }
    if not unread:
        return
    dropped = [user for user in state.user_ids() if user_hash(user.encode()) in unread]
    again = {user: await _counting(erased, state, user, decoders) for user in dropped}
    for user, batches in again.items():
        state.forget(user, max(one.logged_at for one in erased.of(user).erasures))
        _apply_again(state, batches)
    if dropped:
        state.commit()


def _is_ahead(
    erased: ErasedUsers,
    erasure: ErasurePlace,
    state: PartitionState,
    decoders: Mapping[str, EventDecoder],
) -> bool:
    """Whether a state has yet to reach an erasure."""
    source = erasure.source
    return (
        source.partition == state.partition
        and source.topic in decoders
        and source.offset >= (state.position(source.topic) or 0)
        and erased.is_of(erasure, source.topic)
    )


def _apply_again(state: PartitionState, batches: Sequence[EventBatch]) -> None:
    for events in batches:
        # What lies beyond the watermark was refused when it was read first; impressions move none.
        ahead = events.timestamp // state.settings.window.bucket_ms > state.watermark
        if are_impressions(events):
            ahead[:] = False
        state.apply_again(without_rows(events, set(np.flatnonzero(ahead).tolist())))


async def _counting(
    erased: ErasedUsers, state: PartitionState, user_id: str, decoders: Mapping[str, EventDecoder]
) -> list[EventBatch]:
    """Read those events of a user that a state has read and that no erasure covers.

    decoders: of the topics that are read for it, up to the state's position in each. Usually
    there is nothing to read: an erasure names the ends of the topics when it was written.
    """
    log = erased.log
    if log is None:
        return []
    return await erased.asked(
        lambda: _read_counting(log, erased, state, user_id, decoders),
        "reading the records behind an erasure",
    )


async def _read_counting(
    log: Log,
    erased: ErasedUsers,
    state: PartitionState,
    user_id: str,
    decoders: Mapping[str, EventDecoder],
) -> list[EventBatch]:
    found, partition = [], state.partition
    for topic, decoder in decoders.items():
        end = state.position(topic) or 0
        first = await _counts_from(log, erased, (topic, partition), user_id, end)
        if first >= end:
            continue
        held = await asyncio.to_thread(held_offsets, log, (topic,))
        first = max(first, held[topic, partition].first)
        span = Span(topic=topic, partition=partition, first=first, end=end)
        async with open_reader(log) as reader:
            async for records in reader.read(span, READ):
                mine = [record for record in records if record.key == user_id.encode()]
                if not mine:
                    continue
                await _schemas_read(decoder, mine)
                events, _ = decoder(mine)
                gone = erased.gone(mine, events)
                rows = () if gone is None else np.flatnonzero(gone).tolist()
                found.append(without_rows(events, set(rows)))
    return found


async def _schemas_read(decoder: EventDecoder, records: Sequence[LogRecord]) -> None:
    """Read the schemas that records need; raises AdminError if a registry does not answer."""
    try:
        await fetch_unknown(decoder, records)
    except SourceError as error:
        raise UnreachableError(str(error)) from error


async def _counts_from(
    log: Log, erased: ErasedUsers, place: tuple[str, int], user_id: str, end: int
) -> int:
    """First offset of a topic's partition that no erasure of a user may cover; `end` if beyond."""
    first, (topic, partition) = 0, place
    for erasure in erased.of(user_id).erasures:
        source = erasure.source
        same = erased.is_of(erasure, topic)
        named = erasure.count_from.get(f"{topic}/{partition}")
        if same and (source.topic, source.partition) == place:
            first = max(first, source.offset + 1)
        elif same and named is not None:
            first = max(first, named)
        elif first < end:
            at = await asyncio.to_thread(offsets_at, log, (topic,), erasure.logged_at + 1)
            first = max(first, at[topic][partition])
    return first
