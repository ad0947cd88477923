"""Dead letters: a record that cannot be applied is kept with its reason and stops nothing.

What can be wrong with one record is a `Fault`: a reason and a sentence.
"""

import base64
import re
from datetime import UTC, datetime

import msgspec

from streams.erasure_records import EraseUser
from streams.log_record import MAX_ID_BYTES, LogRecord, Source
from streams.records import DeadLetter, Event, Item, Reason, Request, User

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


Fault = tuple[Reason, str]

LIKELY_SECONDS = range(100_000_000, 4_200_000_000)
"""Numbers that mean a time in seconds: March 1973 to February 2103. As milliseconds they would be
2 January to 18 February 1970."""
DAY_MS = 86_400_000

# Everything a JSON decoder may raise for bytes from outside: bad JSON, bad UTF-8, a null value,
# arrays nested deeper than the stack.
UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)

_VALIDATION_REASONS = (
    (re.compile(r"missing required field"), Reason.MISSING_FIELD),
    (re.compile(r"^Invalid enum value .* at `\$\.kind`$", re.DOTALL), Reason.UNKNOWN_KIND),
    (re.compile(r"of length [<>]= \d+ - at `\$\.\w+(_id|_type)`$"), Reason.BAD_ID),
    (re.compile(r"`int` >= 0 - at `\$\.timestamp`$"), Reason.BEFORE_EPOCH),
    (re.compile(r"`int` <= \d+ - at `\$\.timestamp`$"), Reason.FUTURE),
)


def id_fault(*ids: str) -> Fault | None:
    """Return what is wrong with the first unusable id, or None."""
    for name in ids:
        try:
            length = len(name.encode())
        except UnicodeEncodeError:
            return Reason.BAD_ID, f"expected an id that is Unicode text, got {name!r}"
        if not 0 < length <= MAX_ID_BYTES:
            return Reason.BAD_ID, f"expected an id of 1 to {MAX_ID_BYTES} bytes, got {length}"
        if "\0" in name:
            return Reason.BAD_ID, f"expected an id without NUL, got {name!r}"
    return None


def key_fault(row: Event | Item | User | Request | EraseUser, record: LogRecord) -> Fault | None:
    """Return what is wrong with the key a record came under, or None."""
    if record.key is None:
        return Reason.MISSING_KEY, f"expected the key {row.key!r}, got none"
    if record.key != row.key:
        # It may lie in the wrong partition, where its user's other records are not.
        return Reason.KEY_MISMATCH, f"expected the key {row.key!r}, got {record.key[:300]!r}"
    return None


def seconds_fault(timestamp: int, logged: int | None = None) -> Fault | None:
    """Return what is wrong with a time in seconds where milliseconds belong, or None.

    It is told by its magnitude: what is a time of the years 1973 to 2103 in seconds is one of
    January and February 1970 in ms.
    logged: when the log took the record, ms; a time that would lie after it in seconds is none.
    """
    if timestamp not in LIKELY_SECONDS:
        return None
    if logged is not None and timestamp * 1000 > logged + DAY_MS:
        return None
    when = datetime.fromtimestamp(timestamp, UTC)
    return Reason.WRONG_TYPE, (
        f"expected a time in milliseconds since 1970, got {timestamp}, which is one in seconds "
        f"({when:%Y-%m-%d}): multiply it by 1000"
    )


def future_fault(timestamp: int, logged: int, future_ms: int) -> Fault | None:
    """Return what is wrong with an event that lies too far after the log's own time, or None.

    All in ms. A negative `logged` means that the log has no time of the record, and judges nothing.
    """
    if logged < 0:
        return None
    ahead = timestamp - logged
    if ahead > future_ms:
        return Reason.FUTURE, (
            f"timestamp {timestamp} is {ahead} ms after the log's own {logged}; "
            f"at most {future_ms} ms are accepted"
        )
    return None


def too_large(record: LogRecord, max_bytes: int) -> DeadLetter:
    """Return the letter of a record whose value is longer than max_bytes."""
    length = len(record.value or b"")
    return dead_letter(
        record, Reason.TOO_LARGE, f"expected at most {max_bytes} bytes, got {length}"
    )


def unreadable(value: bytes | None, error: Exception) -> Fault:
    """Return the reason for what a decoder raised; msgspec tells it by message only."""
    detail = str(error)
    if value is None:
        return Reason.EMPTY, "expected a value, or the key of what is to be deleted; got neither"
    if not isinstance(error, msgspec.ValidationError):
        return Reason.MALFORMED, detail
    for pattern, reason in _VALIDATION_REASONS:
        if pattern.search(detail):
            return reason, detail
    return Reason.WRONG_TYPE, detail
