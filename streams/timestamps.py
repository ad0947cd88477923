"""Timestamps as other owners write them, in ms UTC."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.dead_letters import Fault
from streams.log_record import INT64_MAX
from streams.records import Reason
from streams.sources import SECONDS_BELOW, TimestampUnit

Faults = dict[int, Fault]
"""What is wrong with each bad row of a batch, by row number."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(column: Sequence[Any], unit: TimestampUnit, faults: Faults) -> NDArray[np.int64]:
    """Return timestamps in ms since 1970, int64 [n].

    A row without a usable one has 0, and its fault in `faults` unless it has one already.
    """
    convert = _CONVERT[unit]
    try:
        values = list(map(convert, column))
        if min(values, default=0) >= 0 and max(values, default=0) <= INT64_MAX:
            return np.array(values, np.int64)
    except (ValueError, OverflowError):
        pass  # one of them is bad: each by itself
    good = np.zeros(len(column), np.int64)
    for row, value in enumerate(column):
        fault, found = _timestamp(value, convert)
        if fault is None:
            good[row] = found
        else:
            faults.setdefault(row, fault)
    return good


def _timestamp(value: Any, convert: Callable[[Any], int]) -> tuple[Fault | None, int]:
    try:
        found = convert(value)
    except (ValueError, OverflowError) as error:
        return (Reason.WRONG_TYPE, f"expected a timestamp, got {value!r}: {error}"), 0
    if found < 0:
        return (Reason.BEFORE_EPOCH, f"expected a timestamp since 1970, got {value!r}"), 0
    if found > INT64_MAX:
        return (Reason.FUTURE, f"timestamp {value!r} is no time that can be stored"), 0
    return None, found


def _of_seconds(value: float) -> int:
    return round(value * 1000)


def time_text_ms(value: str) -> int:
    """Return ms UTC of a date or time in ISO 8601, UTC where it names no offset.

    Raises ValueError.
    """
    try:
        return time_ms(datetime.fromisoformat(value))
    except ValueError:
        raise ValueError("text must be in ISO 8601, such as 2026-03-01T07:30:00Z") from None


def time_ms(at: date) -> int:
    """Return ms UTC of a day or a time, UTC where it has no offset."""
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    elif at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // _MILLISECOND


def _of_any(value: float | str) -> int:
    if isinstance(value, str):
        return time_text_ms(value)
    return round(value * 1000) if value < SECONDS_BELOW else round(value)


_CONVERT: dict[TimestampUnit, Callable[[Any], int]] = {
    "ms": round,
    "s": _of_seconds,
    "us": lambda value: int(value // 1000),
    "iso": time_text_ms,
    "auto": _of_any,
}
