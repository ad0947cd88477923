"""Attributes of a foreign catalogue: which fields they are, and what type their text has."""

import datetime
import decimal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from streams.timestamps import time_text_ms

__all__ = ["ATTRIBUTES", "AttributeField", "attribute_fields"]

#: What the name of an attribute begins with in `--field`.
ATTRIBUTES = "attributes."
#: What separates the values of a list in a cell of text.
APART = "|"


@dataclass(frozen=True, kw_only=True)
class AttributeField:
    """One attribute: its name here, the field it comes from, and its type where one is given."""

    name: str
    theirs: str
    of: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `attributes.NAME[:TYPE]=THEIRS`. Raises ValueError."""
        ours, separator, theirs = text.partition("=")
        name, _, of = ours.removeprefix(ATTRIBUTES).partition(":")
        if not separator or not theirs or not name or of not in ("", *_CONVERT):
            raise ValueError(
                f"--field {text}: expected {ATTRIBUTES}NAME=THEIRS or {ATTRIBUTES}NAME:TYPE=THEIRS,"
                f" where TYPE is one of {', '.join(_CONVERT)}"
            )
        return cls(name=name, theirs=theirs, of=of)

    def __str__(self) -> str:
        of = f":{self.of}" if self.of else ""
        return f"{ATTRIBUTES}{self.name}{of}={self.theirs}"

    def value(self, row: Mapping[str, Any]) -> Any:
        """Return the attribute of a row; None where it has none. Raises ValueError."""
        return self.converted(row.get(self.theirs))

    def converted(self, value: Any) -> Any:
        """Return a value of the field as one of the attribute. Raises ValueError."""
        value = _plain(value)
        if value is None or not self.of:
            return value
        try:
            return _CONVERT[self.of](value)
        # OSError: the C library refuses a time. RecursionError: a list is too deep for `str`.
        except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
            got = "a nested value" if isinstance(value, list | dict) else repr(value)
            raise ValueError(
                f"{self.theirs}: expected a value of type {self.of} for {self.name}, got {got}"
            ) from error


def attribute_fields(fields: Iterable[str]) -> tuple[list[AttributeField], list[str]]:
    """Return the attributes among `--field` options, and the other options. Raises ValueError."""
    given = list(fields)
    found = [AttributeField.read(text) for text in given if text.startswith(ATTRIBUTES)]
    return found, [text for text in given if not text.startswith(ATTRIBUTES)]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: times as text in ISO 8601, decimals as numbers."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise ValueError
    return found


def _time(value: Any) -> str:
    """Return a time (ms UTC, or text in ISO 8601) as text, which tells readers that it is one."""
    if isinstance(value, bool):
        raise TypeError
    at = value if isinstance(value, int | float) else time_text_ms(str(value))
    found = datetime.datetime.fromtimestamp(at / 1_000, datetime.UTC)
    return found.isoformat(timespec="milliseconds")


def _list(value: Any) -> list[str]:
    parts = value if isinstance(value, list | tuple) else str(value).split(APART)
    return [str(part).strip() for part in parts if str(part).strip()]


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
    "list": _list,
}
