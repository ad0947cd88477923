"""What is said of groups of consumers, and how many records a span has."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from kafka.admin import OffsetSpec
from kafka.errors import GroupAuthorizationFailedError

from streams import KafkaSettings, offsets
from streams.spans import Span


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
