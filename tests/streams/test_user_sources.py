"""Topics of users of other owners: what their records mean, and how they are re-keyed."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import (
    DeletedMapping,
    ItemSourceSettings,
    Reason,
    Record,
    SourceSettings,
    User,
    UserDecoder,
    UserSourceSettings,
    check_user_sources,
    decode_users,
)
from streams.dead_letters import dead_letter
from streams.partitioner import murmur2_partition
from streams.rekeying import Rekeyer
from tests.streams.test_codec import RULES
from tests.streams.test_item_sources import VALUES
from tests.streams.test_rekeying import TOPICS, Outputs

CRM = UserSourceSettings(
    topic="crm.customers",
    user_id="after.id",
    country="after.address.country",
    birth_year="after.born",
    attributes={"plan": "after.plan", "since:time": "after.since"},
    attribute_object="",
    deleted=DeletedMapping(field="op", values=("d",), id="before.id"),
)
BY_KEY = UserSourceSettings(topic="people", user_id="", attributes={"plan": "plan"})


def record(key: bytes | None, value: object, at: int = 0, topic: str = CRM.topic) -> Record:
    body = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Record(topic, 1, at, 1_000 + at, key, body)


def test_a_change_stream_becomes_users():
    after = {
        "id": 7,
        "address": {"country": "AT"},
        "born": 1980,
        "plan": "pro",
        "since": 86_400_000,
    }
    rows = [
        record(b'{"id": 7}', {"op": "u", "after": after}),
        record(b'{"id": 8}', {"op": "d", "before": {"id": 8}, "after": None}, at=1),
        record(b'{"id": 8}', None, at=2),
        record(b'{"id": 9}', {"op": "c", "after": {}}, at=3),
        record(b'{"id": 9}', {"op": "c", "after": {"id": 9, "born": "x"}}, at=4),
        record(None, b"{", at=5),
        record(None, {"op": "c", "after": {"id": "ten"}}, at=6),
    ]
    found, letters = UserDecoder(CRM)(rows)
    assert [(row.offset, user) for row, user in found] == [
        (0, User(user_id="7", country="AT", birth_year=1980,
                 attributes={"plan": "pro", "since": "1970-01-02T00:00:00.000+00:00"})),
        (1, User(user_id="8", deleted=True)),
        (6, User(user_id="ten")),
    ]  # fmt: skip
    assert [(one.source.offset, one.reason) for one in letters] == [
        (3, Reason.MISSING_FIELD), (4, Reason.WRONG_TYPE), (5, Reason.MALFORMED)
    ]  # fmt: skip


def test_where_the_key_is_the_id_a_null_value_deletes_the_user():
    rows = [
        record(b"ann", {"plan": "pro"}),
        record(b"ann", None, at=1),
        record(b"\xff", None, at=2),
    ]
    found, letters = UserDecoder(BY_KEY)(rows)
    assert [user for _, user in found] == [
        User(user_id="ann", attributes={"plan": "pro"}), User(user_id="ann", deleted=True)
    ]  # fmt: skip
    assert [one.reason for one in letters] == [Reason.BAD_ID]


ROWS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("op", "before", "after", "plan", "deleted", "birth_year"), VALUES)
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ROWS | VALUES | st.binary(), max_size=4), st.sampled_from([CRM, BY_KEY]))
def test_reading_never_raises_and_loses_nothing(values, source):
    rows = [
        record(b"k", value if isinstance(value, bytes) else json.dumps(value).encode(), at=at)
        for at, value in enumerate(values)
    ]
    found, letters = UserDecoder(source)(rows)
    offsets = [row.offset for row, _ in found] + [one.source.offset for one in letters]
    assert sorted(offsets) == [*range(len(rows))]


def test_settings_that_cannot_be_meant_are_refused_with_their_place():
    with pytest.raises(ValueError, match=r"attributes.plan:word: .*TYPE is one of"):
        replace(CRM, attributes={"plan:word": "plan"})
    with pytest.raises(ValueError, match="country: expected names joined by dots"):
        replace(CRM, country="a..b")
    with pytest.raises(ValueError, match=r"user_sources\[0\].topic: 'a' is the topic of two"):
        check_user_sources([UserSourceSettings(topic="a")], ["a"], TOPICS)
    with pytest.raises(ValueError, match="begins like Segue's own"):
        check_user_sources([UserSourceSettings(topic="segue.people")], [], TOPICS)


async def test_users_are_written_under_their_keys_with_their_places_beside_events():
    outputs = Outputs()
    sources = [SourceSettings(topic="clicks", keyed_by_user=False), CRM]
    rekeyer = Rekeyer(sources, RULES, TOPICS, outputs)
    assert rekeyer.source_topics == ("clicks", CRM.topic)
    bad = record(None, b"{", at=3)
    await rekeyer(
        [
            record(b"x", {"op": "c", "after": {"id": "ann", "plan": "pro"}}, at=1),
            record(b"x", {"op": "d", "before": {"id": "bob"}}, at=2),
            bad,
        ]
    )
    assert await rekeyer.settle() == {(CRM.topic, 1): 4}
    assert (rekeyer.users, rekeyer.events) == (2, 0)
    written = {
        (topic, key): (partition, json.loads(value))
        for (topic, partition), rows in outputs.records.items()
        for key, value in rows
    }
    place = {"topic": CRM.topic, "partition": 1}
    assert written[TOPICS.users, b"ann"] == (
        murmur2_partition(b"ann", TOPICS.partitions),
        {"user_id": "ann", "attributes": {"plan": "pro"}, "source": place | {"offset": 1},
         "source_time": 1_001},
    )  # fmt: skip
    _, bob = written[TOPICS.users, b"bob"]
    assert bob["deleted"]
    letter = dead_letter(bad, Reason.MALFORMED, "")
    assert (TOPICS.dead_letters, letter.key) in written
    assert len(written) == 3
    # Every reader of Segue's own topic reads them.
    rows = [
        Record(TOPICS.users, 0, 0, 0, b"ann", json.dumps(written[TOPICS.users, b"ann"][1]).encode())
    ]
    users, letters = decode_users(rows)
    assert users.records == [User(user_id="ann", attributes={"plan": "pro"})]
    assert letters == []


def test_an_item_topic_is_not_a_user_topic():
    from segue.settings import Settings  # noqa: PLC0415 of a higher layer

    with pytest.raises(ValueError, match="is the topic of two sources"):
        Settings(
            item_sources=(ItemSourceSettings(topic="t"),),
            user_sources=(UserSourceSettings(topic="t"),),
        )
