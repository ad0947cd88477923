"""Records of what was shown to users, as rows of a batch: one for each item of a record."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import xxhash

from streams.codec import checked_rows
from streams.dead_letters import Fault, dead_letter
from streams.event_batch import EventBatch, EventRules
from streams.json_rows import read_each, with_text_ids
from streams.log_record import LogRecord
from streams.records import AssumedImpression, DeadLetter, Event

__all__ = ["ASSUMED_KIND", "SHOWN_KIND", "are_impressions", "decode_impressions", "list_code"]

#: Kinds of the rows of impressions, as states know them; no event can have them. Assumed are those
#: of lists that workers wrote.
SHOWN_KIND, ASSUMED_KIND = "segue:shown", "segue:assumed"

#: Bits of a list's number.
_CODE_BITS = 31

_read = with_text_ids(msgspec.json.Decoder(AssumedImpression).decode, AssumedImpression)


def list_code(list_id: str | None) -> int:
    """Return the number that stands for a list in states; 0 where it is not known.

    The list is named by what comes before the first slash: behind it is the request, if anything.

    >>> list_code("mix/81") == list_code("mix") != list_code("home")
    True
    >>> list_code(None)
    0
    """
    name = (list_id or "").partition("/")[0]
    return (xxhash.xxh3_64_intdigest(name.encode()) % (1 << _CODE_BITS) or 1) if name else 0


def are_impressions(batch: EventBatch) -> bool:
    """Return whether the rows of a batch are of impressions; then all are."""
    return batch.kind[:1] in ([SHOWN_KIND], [ASSUMED_KIND])


def decode_impressions(
    records: Sequence[LogRecord], rules: EventRules
) -> tuple[EventBatch, list[DeadLetter]]:
    """Return the items of one partition's impressions as rows, and dead letters for bad records.

    The rows of a record have its offset. A record with one bad item is a dead letter as a whole: a
    list of which a part counts would be another list. A record that erases a user is none here.
    Never raises.
    """
    impressions, kept, letters = read_each(records, _read, rules.max_bytes)
    rows = [
        Event(
            user_id=impression.user_id, item_id=item.item_id, item_type=item.item_type,
            kind=SHOWN_KIND if impression.made_at is None else ASSUMED_KIND,
            timestamp=impression.timestamp,
        )
        for impression in impressions
        for item in impression.items
    ]  # fmt: skip
    sources = [
        record
        for impression, record in zip(impressions, kept, strict=True)
        for _ in impression.items
    ]
    positions = np.array([one.position for i in impressions for one in i.items], np.int64)
    codes = np.array([list_code(i.list_id) for i in impressions for _ in i.items], np.int64)
    batch, faults = checked_rows(rows, sources, rules)
    bad: dict[int, tuple[LogRecord, Fault]] = {}
    for row, fault in faults.items():
        bad.setdefault(sources[row].offset, (sources[row], fault))
    if bad:
        good = [row for row, record in enumerate(sources) if record.offset not in bad]
        batch, _ = checked_rows([rows[n] for n in good], [sources[n] for n in good], rules)
        positions, codes = positions[good], codes[good]
        letters += [dead_letter(record, *fault) for record, fault in bad.values()]
        letters.sort(key=lambda letter: letter.source.offset)
    return replace(batch, position=positions, list_code=codes), letters
