"""What is known of an erasure covers that of an earlier one, unless it says less of some topic."""

import asyncio
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agents.erased import ErasedUsers, _implies, _uninterrupted, user_hash
from agents.forgetting import _counts_from
from streams import (
    EmbeddedLog,
    ErasedUser,
    ErasurePlace,
    Record,
    ShownItem,
    Source,
    SourceSettings,
    TopicSettings,
    UnreachableError,
    create_topics,
    encode,
    topics,
)
from streams.records import AssumedImpression

ONE = ErasurePlace(
    source=Source(topic="events", partition=1, offset=5),
    logged_at=100,
    count_from={"player/1": 7},
    topic_ids={"events": "a", "player": "b"},
)


@pytest.mark.parametrize(
    ("change", "implied"),
    [
        ({}, True),
        ({"source": replace(ONE.source, offset=4)}, True),
        ({"source": replace(ONE.source, offset=6)}, False),
        ({"source": replace(ONE.source, partition=0)}, False),
        ({"source": replace(ONE.source, topic="player")}, False),
        ({"logged_at": 99}, True),
        ({"logged_at": 101}, False),
        ({"count_from": {"player/1": 6}}, True),
        ({"count_from": {"player/1": 8}}, False),
        ({"count_from": {}}, False),
        ({"count_from": {"shown/1": 7}}, False),
        ({"topic_ids": {"events": "c", "player": "b"}}, False),
    ],
)
def test_an_erasure_implies_one_that_covers_no_more(change: dict[str, Any], implied: bool) -> None:
    assert _implies(ONE, replace(ONE, **change)) is implied


TOPICS = TopicSettings(partitions=2)


@pytest.mark.parametrize(
    ("topic", "of", "made_at", "covered"),
    [
        (TOPICS.impressions, {}, 5, True),
        (TOPICS.impressions, {}, 6, False),  # the worker had read the erasure
        (TOPICS.impressions, {}, None, False),  # seen, not assumed
        (TOPICS.impressions, {"partition": 0}, 5, False),
        (TOPICS.impressions, {"topic": "player"}, 5, False),
        (TOPICS.events, {}, 5, False),
    ],
)
def test_an_erasure_covers_what_was_assumed_of_a_list_from_before(
    tmp_path: Path, topic: str, of: dict[str, Any], made_at: int | None, covered: bool
) -> None:
    log = EmbeddedLog(tmp_path)
    create_topics(log, topics(TOPICS))
    shown = ShownItem(item_id="i", item_type="song", position=1)
    assumed = AssumedImpression(user_id="u", items=[shown], timestamp=1, made_at=made_at)
    partition, offset = log.append(topic, b"user-1", encode(assumed))
    [record] = log.read(topic, partition, offset, 1)
    source = Source(topic=TOPICS.events, partition=partition, offset=5)
    if "partition" in of:
        of = {"partition": 1 - partition}
    erasure = replace(ONE, source=replace(source, **of), topic_ids={})
    assert ErasedUsers(TOPICS, log)._covers_assumed(erasure, record) is covered
    log.close()


@pytest.mark.parametrize(
    ("topic", "of", "covered"),
    [
        (TOPICS.events, {}, True),
        (TOPICS.events, {"offset": 7}, False),
        (TOPICS.events, {"partition": 0}, False),
        (TOPICS.events, {"topic": "another"}, False),
        # What an owner's record calls a source is not one of ours.
        ("an-owners-topic", {}, False),
        ("the-topic-of-an-owner", {}, False),
    ],
)
def test_an_erasure_covers_the_rekeyed_events_of_records_that_it_covers(
    topic: str, of: dict[str, Any], covered: bool
) -> None:
    player = SourceSettings(topic="player", keyed_by_user=False)
    erased = ErasedUsers(TOPICS, sources=[player])
    erased._add(user_hash(b"ann"), ONE)
    source = {"topic": "player", "partition": 1, "offset": 6} | of
    record = Record(topic, 1, 900, 900, b"ann", json.dumps({"source": source}).encode())
    assert erased._covers_source(ONE, record) is covered
    assert erased.covered(record, "ann") is covered


async def test_records_count_from_behind_the_last_erasure_that_may_cover_them(
    tmp_path: Path,
) -> None:
    log = EmbeddedLog(tmp_path)
    create_topics(log, topics(TOPICS))
    erased = ErasedUsers(TOPICS, log)
    erasure = replace(ONE, source=replace(ONE.source, topic=TOPICS.events), topic_ids={})
    for offset in (3, 5):
        source = replace(erasure.source, offset=offset)
        erased._add(user_hash(b"ann"), replace(erasure, source=source))
    places = [(TOPICS.events, 1), ("player", 1)]
    found = [await _counts_from(log, erased, place, "ann", 100) for place in places]
    assert found == [6, 7]
    assert [await _counts_from(log, erased, place, "bob", 100) for place in places] == [0, 0]
    log.close()


PLAYER = SourceSettings(topic="player", keyed_by_user=False)


def erased_users() -> ErasedUsers:
    """One user is erased at offset 5 of partition 1, and at 7 of the same one of a source."""
    erased = ErasedUsers(TOPICS, sources=[PLAYER])
    place = replace(ONE, source=replace(ONE.source, topic=TOPICS.events))
    user = ErasedUser(user_sha256=user_hash(b"ann").hex(), erasures=[place])
    assert [erased.take(user) for _ in range(2)] == [True, False]
    return erased


def test_records_are_passed_over_together_only_if_none_is_covered() -> None:
    erased, found = erased_users(), []
    rekeyed = [
        json.dumps({"source": {"topic": "player", "partition": 1, "offset": at}}).encode()
        for at in (6, 7)
    ]
    names = (TOPICS.events, TOPICS.users, TOPICS.impressions, "player", "another")
    places = product(names, (0, 1), range(3, 9), (99, 100, 101), (b"{}", *rekeyed))
    for topic, partition, offset, at, value in places:
        record = Record(topic, partition, offset, at, b"ann", value)
        if erased.covered(record, "ann"):
            found.append(record)
            assert erased._may_cover([record])
            assert not erased.covered(record, "bob")
    assert {(record.topic, record.partition) for record in found} == {*product(names, (0, 1))}
    assert not erased._may_cover([Record("another", 1, 3, 101, b"ann", b"{}")])
    assert not ErasedUsers(TOPICS)._may_cover(found)


@pytest.mark.parametrize("topic", [TOPICS.events, TOPICS.impressions, TOPICS.users])
@pytest.mark.parametrize("value", [b"{", b"", b'{"source_time"', b'{"made_at":"x"}', None])
def test_what_cannot_be_read_is_covered_by_its_place_alone(topic: str, value: bytes | None) -> None:
    erased = erased_users()
    before, behind = (Record(topic, 1, at, at, b"ann", value) for at in (4, 900))
    assert erased.covered(before, "ann")
    assert not erased.covered(behind, "ann")


async def test_a_stop_is_a_stop_and_a_lost_connection_an_error() -> None:
    async def lost() -> None:
        raise asyncio.CancelledError

    with pytest.raises(UnreachableError):
        await _uninterrupted(lost)
    waiting = asyncio.create_task(_uninterrupted(asyncio.Event().wait))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
