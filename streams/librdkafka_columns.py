"""Messages of confluent-kafka as columns: key and value of each record are its only objects kept.

librdkafka hands out records, not record batches, and confluent-kafka makes an object of each. All
fields are read by calls of C functions over the whole list; nothing is done per record in Python.
"""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import cast

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from streams.batches import Place
from streams.record_columns import (
    ABSENT,
    FIELDS,
    HEADERS,
    KEY,
    KEY_BYTES,
    OFFSET,
    TIME,
    TIME_TYPE,
    VALUE,
    VALUE_BYTES,
    RecordColumns,
    packed_headers,
)

__all__ = ["by_partition", "message_columns"]


def by_partition(messages: Sequence[Message]) -> dict[Place, list[Message]]:
    """Return messages by topic and partition, each list in the order in which they came."""
    if not messages:
        return {}
    topics = list(map(Message.topic, messages))
    numbers = np.fromiter(map(Message.partition, messages), np.int64, len(messages))
    named = {topic: number for number, topic in enumerate(dict.fromkeys(topics))}
    of = np.fromiter(map(named.__getitem__, topics), np.int64, len(messages))
    # They come in runs of one partition.
    changes = np.flatnonzero((numbers[1:] != numbers[:-1]) | (of[1:] != of[:-1])) + 1
    begins = [0, *changes.tolist()]
    found: dict[Place, list[Message]] = {}
    for begin, end in zip(begins, [*begins[1:], len(messages)], strict=True):
        place = topics[begin], int(numbers[begin])
        found.setdefault(place, []).extend(messages[begin:end])
    return found


def message_columns(place: Place, messages: Sequence[Message]) -> RecordColumns:
    """Return the messages of one partition, none of them an error, as columns."""
    count = len(messages)
    table = np.empty((count, FIELDS), np.int64)
    table[:, OFFSET] = np.fromiter(map(Message.offset, messages), np.int64, count)
    times = chain.from_iterable(map(Message.timestamp, messages))
    # The types of librdkafka: 0 none, 1 of creation, 2 of the log.
    kinds, table[:, TIME] = np.fromiter(times, np.int64, 2 * count).reshape(count, 2).T
    table[:, TIME_TYPE] = kinds - 1
    keys, table[:, KEY_BYTES] = _parts(list(map(Message.key, messages)))
    values, table[:, VALUE_BYTES] = _parts(list(map(Message.value, messages)))
    ends = np.cumsum(np.maximum(table[:, [KEY_BYTES, VALUE_BYTES]].T.ravel(), 0))
    begins = np.concatenate(([0], ends[:-1])).reshape(2, count)
    table[:, KEY], table[:, VALUE] = begins
    named = list(map(Message.headers, messages))
    headers: list[bytes] = []
    table[:, HEADERS] = ABSENT
    if any(named):
        headers = [packed_headers(found or ()) for found in named]
        lengths = list(map(len, headers))
        has = np.fromiter(lengths, np.int64, count) > 0
        places = np.fromiter(accumulate(lengths, initial=int(ends[-1])), np.int64, count + 1)
        table[has, HEADERS] = places[:-1][has]
    data = b"".join(chain(keys, values, headers))
    return RecordColumns(*place, data, table)


def _parts(parts: list[bytes | None]) -> tuple[Sequence[bytes], NDArray[np.int64]]:
    """Return keys or values without nulls, and their lengths, ABSENT of nulls."""
    try:
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))  # type: ignore[arg-type]
    except TypeError:  # a null has no length
        lengths = np.array([ABSENT if part is None else len(part) for part in parts], np.int64)
        return [part or b"" for part in parts], lengths
    return cast("list[bytes]", parts), lengths
