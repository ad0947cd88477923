"""A commit record that is stored means what it meant when it was written."""

import msgspec
import pytest

from state import StateSettings, WrongState
from state.commit_record import CommitRecord, MadeFrom, check_meta
from state.runs import Run
from streams import TopicIdentity
from streams.positions import check_identity

SETTINGS = StateSettings()


def stored(**other: object) -> CommitRecord:
    """A record in the bytes that are on disks: no change of the code changes them."""
    fields = {
        "format": 3, "fingerprint": SETTINGS.fingerprint(), "partition": 1,
        "positions": {"events": 7}, "watermark": 21, "items": 2, "run": 3,
        "runs": [[3, 0, -1, 20, [4, 2]]], "made_from": {"events": {"id": "4f"}},
    }  # fmt: skip
    return msgspec.json.decode(msgspec.json.encode(fields | other), type=CommitRecord)


def test_a_stored_record_is_read():
    record = stored()
    check_meta(record, 1, SETTINGS, "here")
    [run] = record.runs
    assert run == Run(number=3, level=0, mantissa=-1, least=20, counts=(4, 2))
    assert (run.entries, run.last, run.live(21)) == (6, 21, 2)


@pytest.mark.parametrize(
    ("other", "message"),
    [({"format": 2}, "format 2"), ({"format": 4}, "format 4"), ({"partition": 0}, "partition 0")],
)
def test_a_record_of_another_format_or_partition_is_refused(other, message):
    with pytest.raises(WrongState, match=message):
        check_meta(stored(**other), 1, SETTINGS, "here")


def test_what_is_committed_is_not_changed_but_replaced():
    """The state, its checkpoints and its readers hold the same objects."""
    record = stored(taken={"within_ms": 5})
    for one in (record, record.runs[0], record.made_from["events"], record.taken):
        with pytest.raises(AttributeError):
            setattr(one, one.__struct_fields__[0], None)


def test_a_topic_whose_partitions_the_record_does_not_name_may_have_any_number():
    made = stored().made_from["events"]
    assert made == MadeFrom(id="4f")
    known = TopicIdentity(topic="events", id=made.id, partitions=made.partitions)
    check_identity(known, TopicIdentity(topic="events", id="4f", partitions=9), 1)
