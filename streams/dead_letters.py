"""Dead letters: what cannot be applied is kept with its reason and never stops the stream."""

import base64

from streams.log_record import LogRecord, Source
from streams.records import DeadLetter, Reason

MAX_PAYLOAD_BYTES = 4096
MAX_DETAIL_CHARACTERS = 500


def dead_letter(record: LogRecord, reason: Reason, detail: str) -> DeadLetter:
    """Return the letter for a record: its place, why it was refused, the start of its value.

    The payload is the first 4,096 bytes of the value as text, cut between characters; as base64
    when they are not UTF-8. Never raises, whatever the bytes.
    """
    value = record.value or b""
    payload, encoding = _readable(value[:MAX_PAYLOAD_BYTES], cut=len(value) > MAX_PAYLOAD_BYTES)
    return DeadLetter(
        reason=reason,
        detail=detail[:MAX_DETAIL_CHARACTERS],
        source=Source(topic=record.topic, partition=record.partition, offset=record.offset),
        payload=payload,
        encoding="base64" if encoding else "utf-8",
        payload_bytes=len(value),
    )


def _readable(start: bytes, *, cut: bool) -> tuple[str, bool]:
    """Return the text of some bytes, and whether it had to be base64."""
    try:
        return start.decode(), False
    except UnicodeDecodeError as error:
        # The limit may have split a character of up to four bytes: that is not bad UTF-8.
        if cut and error.start >= len(start) - 3 and error.reason == "unexpected end of data":
            return start[: error.start].decode(), False
        return base64.b64encode(start).decode(), True
