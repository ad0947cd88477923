"""Suggests columns by their values where no name is usual, for messages."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["column_hint"]

Rows = Sequence[Mapping[str, Any]]
#: Fewer different values are states or kinds, not users.
USERS = 10


def column_hint(field: str, rows: Rows, columns: Sequence[str]) -> str | None:
    """Return the column that probably holds a field; None if none or several may.

    rows: a sample of the file. columns: those that no other field uses, without times.

    >>> rows = [{"sig": f"b{n}", "werk": f"The {n}", "leser": f"r{n // 2}"} for n in range(40)]
    >>> [column_hint(field, rows, list(rows[0])) for field in ("item_id", "title", "user_id")]
    ['sig', 'werk', 'leser']
    """
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in columns}
    found: list[str] = []
    if field == "item_id":
        found = [name for name in columns if _ids(values[name], len(rows))]
    elif field == "title":
        # A description has several words, too, but more of them.
        texts = [name for name in columns if _words(values[name])]
        found = sorted(texts, key=lambda name: sum(map(len, values[name])))[:1]
    elif field == "user_id":
        found = [name for name in columns if _repeated(values[name])]
    return found[0] if len(found) == 1 else None


def _single(value: Any) -> bool:
    """Whether a value can be an id: a whole number, or text without white space."""
    if isinstance(value, str):
        return len(value.split()) == 1
    return isinstance(value, int) and not isinstance(value, bool)


def _ids(values: Sequence[Any], rows: int) -> bool:
    return bool(values) and all(map(_single, values)) and len(set(values)) == len(values) == rows


def _words(values: Sequence[Any]) -> bool:
    texts = [value for value in values if isinstance(value, str)]
    several = sum(len(text.split()) > 1 for text in texts)
    return bool(texts) and 2 * several >= len(values) and 2 * len(set(texts)) >= len(values)


def _repeated(values: Sequence[Any]) -> bool:
    return all(map(_single, values)) and USERS <= len(set(values)) < len(values)
