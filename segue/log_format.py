"""Formats log lines as text or as JSON objects, without secrets."""

import dataclasses
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from segue.terminal_text import printable
from streams.log_source import source_of_log

__all__ = [
    "JsonLines",
    "LogAs",
    "LogFormat",
    "LogSettings",
    "TextLines",
    "format_log",
    "is_json",
    "log_crash",
    "secrets_of",
]

LogFormat = Literal["text", "json"]
HIDDEN = "***"
#: Shorter ones would make the log unreadable and are no secret.
LEAST_SECRET = 4
_PLACE = ("topic", "partition", "offset")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSettings:
    """Format of the log on standard error.

    format: `text`, or `json`: one object per line with time, level, role, name (of the process),
            logger and message; with topic, partition, offset and last_offset for lines about
            records; with error and stack for failures.
    """

    format: LogFormat = "text"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogAs:
    """Role and name of a process for its log lines, and the format from the command line."""

    role: str = ""
    name: str = ""
    format: str | None = None


class TextLines(logging.Formatter):
    """Lines for people.

    hidden: texts that are replaced by `***`.
    """

    def __init__(self, form: str, hidden: frozenset[str] = frozenset()) -> None:
        """Format according to `form`."""
        super().__init__(form)
        self.form = form
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or several lines with a stack."""
        return printable(_without(super().format(record), self._hidden), lines=True)


class JsonLines(logging.Formatter):
    """One JSON object a line.

    role, name: of this process. hidden: texts that are replaced by `***`.
    """

    def __init__(
        self, *, role: str = "", name: str = "", hidden: frozenset[str] = frozenset()
    ) -> None:
        """Add role and name to every line."""
        super().__init__()
        self._who = {key: text for key, text in (("role", role), ("name", name)) if text}
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            **self._who,
            "logger": record.name,
            "message": _without(record.getMessage(), self._hidden),
            **_place(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            stack = "".join(traceback.format_exception(*record.exc_info))
            line["stack"] = _without(stack, self._hidden)
        return msgspec.json.encode(line).decode()


def format_log(form: LogFormat, who: LogAs, *, hidden: frozenset[str]) -> None:
    """Configure the root logger to write to standard error in a format.

    With JSON it also writes Python's warnings. A text handler stays unchanged, but hides secrets.
    """
    logging.captureWarnings(form == "json")
    if form == "json":
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines(role=who.role, name=who.name, hidden=hidden))
        logging.basicConfig(level=logging.getLogger().level, handlers=[handler], force=True)
        return
    for known in logging.getLogger().handlers:
        if isinstance(known.formatter, TextLines):
            known.setFormatter(TextLines(known.formatter.form, hidden))


def secrets_of(settings: object) -> frozenset[str]:
    """Return the values of all settings that are excluded from their class's repr."""
    return frozenset(text for text in _secrets(settings) if len(text) >= LEAST_SECRET)


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        for part in value:
            yield from _secrets(part)
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            inner = getattr(value, item.name)
            if not item.repr:
                yield str(inner)
            yield from _secrets(inner)


def _place(record: logging.LogRecord) -> dict[str, Any]:
    """Place of the records that a line is about, from the line itself or its handler."""
    if hasattr(record, "topic"):
        return {name: getattr(record, name) for name in _PLACE if hasattr(record, name)}
    source = source_of_log()
    return {} if source is None else dataclasses.asdict(source)


def _without(text: str, hidden: frozenset[str]) -> str:
    # The longest first: one secret may be a part of another.
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def is_json() -> bool:
    """Tell whether the log is written as JSON."""
    return any(isinstance(h.formatter, JsonLines) for h in logging.getLogger().handlers)


def log_crash(error: BaseException) -> None:
    """Log why the process ends."""
    logging.getLogger("segue").critical("%s", error, exc_info=error)
    sys.stderr.flush()
