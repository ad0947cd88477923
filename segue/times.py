"""Points in the log, as people write them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import typer

__all__ = ["LogPoint", "day_ms", "log_point", "seconds_of", "today_ms"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class LogPoint:
    """A point in the log: a log time, the positions of a state, or one of its ends.

    time_ms: ms UTC, None if the point is not a time.
    state:   name of a state whose positions are the point, empty if it is none.
    Neither: the earliest record there is for a beginning, the latest for an end.
    """

    text: str
    time_ms: int | None = None
    state: str = ""


def seconds_of(text: str) -> int:
    """Seconds in a length of time such as 90s, 30m, 6h, 1d.

    >>> seconds_of("6h")
    21600
    """
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if not match or not int(match[1]):
        raise typer.BadParameter(f"expected a number and s, m, h or d, such as 6h; got {text!r}")
    return int(match[1]) * _UNITS[match[2]]


def day_ms(day: str) -> int:
    """Milliseconds since 1970 of the start of a day, UTC.

    >>> day_ms("2014-05-04")
    1399161600000
    """
    try:
        return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise typer.BadParameter(f"expected a day such as 2014-05-04, got {day!r}") from error


def today_ms(now_ms: int) -> int:
    """Milliseconds since 1970 of the start of the day of a moment, UTC.

    >>> today_ms(1_399_161_600_000 + 5) == today_ms(1_399_161_600_000 + 80_000_000)
    True
    """
    return now_ms // 86_400_000 * 86_400_000


def log_point(text: str, now_ms: int, *, end: str) -> LogPoint:
    """Read `last=7d`, an ISO time (UTC unless it says otherwise), or `end`; `state=NAME` too.

    end: the word for the end of the log that is meant: earliest for a beginning, latest for an
    end, which may also be where a state is.

    >>> log_point("2026-01-01T00:00Z", 0, end="earliest").time_ms
    1767225600000
    """
    name, _, value = text.partition("=")
    if text == end:
        return LogPoint(text=text)
    if name == "last" and value:
        return LogPoint(text=text, time_ms=now_ms - 1000 * seconds_of(value))
    if name == "state" and value and end == "latest":
        return LogPoint(text=text, state=value)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        also = ", state=NAME" if end == "latest" else ""
        raise typer.BadParameter(
            f"expected {end}, last=7d{also} or a time such as 2026-01-01T00:00Z; got {text!r}"
        ) from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return LogPoint(text=text, time_ms=int(time.timestamp() * 1000))
