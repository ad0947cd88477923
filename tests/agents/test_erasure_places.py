"""What is known of an erasure covers that of an earlier one, unless it says less of some topic."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agents.erased import ErasedUsers, _implies, user_hash
from agents.forgetting import _counts_from
from streams import (
    EmbeddedLog,
    ErasurePlace,
    Record,
    ShownItem,
    Source,
    SourceSettings,
    TopicSettings,
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
