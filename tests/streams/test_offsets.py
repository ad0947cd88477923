"""What is said of groups of consumers and of times; the records of a span."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from aiokafka import TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import GroupAuthorizationFailedError

from streams import KafkaSettings, Record, librdkafka_log, offsets
from streams.spans import Span, _KafkaReader


class Place(NamedTuple):
    topic: str
    partition: int


class Committed(NamedTuple):
    offset: int


def test_a_group_lags_by_the_records_behind_its_commit(monkeypatch) -> None:
    first, end = {0: 0, 1: 4, 2: 3, 3: 5}, {0: 9, 1: 9, 2: 9, 3: 5}
    held = {OffsetSpec.EARLIEST: {"t": first}, OffsetSpec.LATEST: {"t": end}}
    committed = {
        Place("t", 0): Committed(9),
        Place("t", 1): Committed(2),
        Place("u", 2): Committed(8),
    }
    monkeypatch.setattr(offsets, "admin_client", lambda _: nullcontext())
    monkeypatch.setattr(offsets, "_offsets", lambda _client, _names, spec: held[spec])
    monkeypatch.setattr(offsets, "_committed", lambda *_: committed)
    # All read; the log has deleted some; nothing committed; nothing there.
    assert offsets.group_lag(KafkaSettings(), "g", ["t"]) == {"t": {0: 0, 1: 5, 2: 6, 3: 0}}


@pytest.mark.parametrize(
    ("said", "members"),
    [(None, ["a"]), ("", ["a"]), ("[Error 69] GroupIdNotFoundError", ["a"])],
)
def test_a_group_that_is_not_there_has_no_error(said: str | None, members: list[str]) -> None:
    client = SimpleNamespace(
        describe_groups=lambda groups: {groups[0]: {"error": said, "members": members}}
    )
    assert offsets._described(client, "g") == members


def test_any_other_error_of_a_group_is_raised() -> None:
    error = "[Error 30] GroupAuthorizationFailedError"
    client = SimpleNamespace(describe_groups=lambda groups: {groups[0]: {"error": error}})
    with pytest.raises(GroupAuthorizationFailedError):
        offsets._described(client, "g")


def test_a_span_has_the_records_from_its_first_to_before_its_end() -> None:
    lengths = [len(Span(topic="t", partition=0, first=3, end=end)) for end in (7, 4, 3, 2)]
    assert lengths == [4, 1, 0, 0]


@pytest.mark.parametrize("last", [1, 2, 3, 4])
async def test_a_span_ends_before_its_end_wherever_a_fetch_ends(last: int) -> None:
    place, read = TopicPartition("t", 0), [Record("t", 0, at, 0, b"k", b"v") for at in range(9)]
    at = [0]

    async def position(_: TopicPartition) -> int:
        return at[0]

    async def getmany(*_: object, **__: object) -> dict[TopicPartition, list[Record]]:
        fetched = read[at[0] : max(last, at[0]) + 1]
        at[0] = fetched[-1].offset + 1
        return {place: fetched}

    reader = _KafkaReader(KafkaSettings())
    reader._started = SimpleNamespace(  # type: ignore[assignment]
        assign=lambda _: None, seek=lambda *_: None, position=position, getmany=getmany
    )
    span = Span(topic="t", partition=0, first=0, end=3)
    found = [part async for part in reader.read(span, 9)]
    assert [record.offset for part in found for record in part] == [0, 1, 2]
    assert all(found)


def test_a_time_behind_all_records_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    at = {OffsetSpec.LATEST: {"t": {0: 7, 1: 9, 2: 0}}, 100: {"t": {0: -1, 1: 0, 2: -1}}}
    monkeypatch.setattr(offsets, "admin_client", lambda _: nullcontext())
    monkeypatch.setattr(offsets, "_offsets", lambda _client, _names, spec: at[spec])
    assert offsets.offsets_at(KafkaSettings(), ["t"], 100) == {"t": {0: 7, 1: 0, 2: 0}}


@pytest.mark.parametrize(("transport", "members"), [("librdkafka", ["b"]), ("faust", ["a", "c"])])
def test_members_are_asked_for_as_their_protocol_needs(
    monkeypatch: pytest.MonkeyPatch, transport: str, members: list[str]
) -> None:
    monkeypatch.setattr(librdkafka_log, "members_of", lambda *_: ["b"])
    monkeypatch.setattr(offsets, "admin_client", lambda _: nullcontext())
    described = [{"client_id": "c"}, {"client_id": "a"}]
    monkeypatch.setattr(offsets, "_described", lambda *_: described)
    assert offsets.group_members(KafkaSettings(transport=transport), "g") == members
