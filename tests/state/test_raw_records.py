"""From bytes to state: good, bad, early and late records in one stream, cut anywhere."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from state import apply_in_order
from streams import Event as WireEvent
from streams import EventRules, Record, decode_events, encode
from tests.state.dumps import dump
from tests.state.streams_of_events import (
    BUCKET,
    KINDS,
    Erasure,
    Event,
    cuts,
    defined_state,
    records_with_erasures,
    settings_of_state,
    tried,
)

LOGGED_AT = 6 * BUCKET
RULES = EventRules(kinds=KINDS, future_ms=2 * BUCKET)
bad_records = st.sampled_from([(b"ann", b"{"), (None, None), (b"bob", b"{}"), (b"\xff", None)])


def raw(offset: int, record: Event | Erasure | tuple[bytes | None, bytes | None]) -> Record:
    if isinstance(record, Event):
        value = WireEvent(
            user_id=record.user, item_id=record.item, item_type=record.item_type,
            kind=record.kind, timestamp=record.time,
        )  # fmt: skip
        key, content = value.key, encode(value)
    elif isinstance(record, Erasure):
        key, content = record.user.encode(), None
    else:
        key, content = record
    return Record("events", 0, offset, LOGGED_AT, key, content)


@tried(1 / 4)
@given(st.lists(records_with_erasures | bad_records, max_size=60), settings_of_state, cuts)
def test_state_is_that_of_the_good_records_and_every_record_is_counted(
    fresh_state, stream, setting, at
):
    good = [
        r
        for r in stream
        if isinstance(r, Erasure) or (isinstance(r, Event) and r.time <= LOGGED_AT + 2 * BUCKET)
    ]
    with fresh_state(setting) as state:
        refused = 0
        edges = sorted({0, len(stream), *(a for a in at if a < len(stream))})
        for begin, end in itertools.pairwise(edges):
            records = [raw(offset, stream[offset]) for offset in range(begin, end)]
            events, letters = decode_events(records, RULES)
            erasures = [(one.offset, one.user_id, one.logged_at) for one in events.erasures]
            applied = apply_in_order(state, "events", events, erasures, end, refused=len(letters))
            refused += len(letters) + len(applied.too_old)
        assert dump(state).differences(defined_state(good, setting)) == []
        assert state.counts == {"applied": len(stream) - refused, "refused": refused}
