"""Maps columns of a file to Segue fields: guesses from names and values, and shows each guess.

A column is guessed if its name is usual for the field and its values fit the field. The user id,
the item id, the time and the title are required. If one is missing, the error names the option that
sets the column, and suggests one by its values (`column_hint`).
"""

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from streams.sources import SECONDS_BELOW

__all__ = [
    "EVENT_FIELDS",
    "ITEM_FIELDS",
    "Column",
    "ColumnError",
    "column_hint",
    "guess_columns",
    "named_columns",
    "shared_values",
]

Rows = Sequence[Mapping[str, Any]]
#: Seconds since 1970 of the years 2000 and 2100.
_CENTURY = (946_684_800, 4_102_444_800)
#: Share of a column's values that must fit its field; the other rows are bad, and named as such.
FITS = 0.5


class ColumnError(ValueError):
    """A field has no column; the message names the file's columns and what to do."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A Segue field and its column.

    column: its name in the file; example: its first value, as text. given: the user named it.
    """

    field: str
    column: str
    example: str = ""
    given: bool = False


def _names(nouns: str, endings: str = " id key uuid nr no code") -> tuple[str, ...]:
    """Return each noun alone and with each ending, in order."""
    return tuple(noun + end for noun, end in product(nouns.split(), endings.split(" ")))


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 35


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 60


def _is_list_or_text(value: Any) -> bool:
    return isinstance(value, (list, str))


def _is_time(value: Any) -> bool:
    if isinstance(value, datetime.date):
        return True
    if isinstance(value, str):
        if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
            return _is_time(float(value))
        try:
            datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return False
        return True
    # Years and counts are numbers too: a number below this is no time, in whatever unit.
    return isinstance(value, (int, float)) and value >= 1e8


def _is_clear_time(value: Any) -> bool:
    """Whether a value is a time whatever its column is called: a year of this century, with a day.

    >>> _is_clear_time("2026-03-01 07:30"), _is_clear_time(1_767_225_600.25), _is_clear_time(2026)
    (True, True, False)
    """
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return _is_time(value)
    if isinstance(value, datetime.date):
        return True
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return any(_CENTURY[0] <= number / unit < _CENTURY[1] for unit in (1, 1e3, 1e6, 1e9))


def _is_date(value: Any) -> bool:
    """Whether the catalogue accepts a value as a time: whole numbers are milliseconds."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    return _is_time(value) and (not isinstance(value, (int, float)) or value >= SECONDS_BELOW)


@dataclass(frozen=True, kw_only=True)
class _Field:
    names: tuple[str, ...]
    fits: Callable[[Any], bool]
    needed: bool = False


_ITEM_NOUNS = (
    "item article product track song movie film book story post video episode show podcast content "
    "document doc news recipe page object asin isbn sku slug"
)
_KNOWN: dict[str, _Field] = {
    "user_id": _Field(
        names=(
            *_names(
                "user reader customer member visitor subscriber listener viewer account client "
                "person profile buyer author borrower patron shopper guest fan uid"
            ),
            "username", "session", "sessionid", "email",
        ),
        fits=_is_id,
        needed=True,
    ),
    "item_id": _Field(
        names=(*_names(_ITEM_NOUNS), "id", "key", "uuid", "url", "link"), fits=_is_id, needed=True
    ),
    "item_type": _Field(names=("itemtype", "type", "class", "itemclass", "kind"), fits=_is_type),
    "title": _Field(
        names=("title", "name", "headline", *(f"{noun}{end}" for noun in _ITEM_NOUNS.split()
                                               for end in ("title", "name")), "label", "heading"),
        fits=_is_text,
        needed=True,
    ),
    "description": _Field(
        names=("description", "summary", "abstract", "teaser", "excerpt", "lead", "subtitle",
               "overview", "plot", "blurb", "synopsis", "details", "about", "desc", "text", "body",
               "content"),
        fits=_is_text,
    ),
    "language": _Field(names=("language", "lang", "locale", "languagecode"), fits=_is_word),
    "genres": _Field(
        names=("genres", "genre", "categories", "category", "tags", "topics", "keywords"),
        fits=_is_list_or_text,
    ),
    "published_at": _Field(
        names=("publishedat", "published", "publishdate", "publicationdate", "pubdate",
               "releasedate", "releasedat", "released", "createdat", "date"),
        fits=_is_date,
    ),
    "timestamp": _Field(
        names=("timestamp", "timestampms", "ts", "time", "datetime", "eventtime", "date", "when",
               "at", *(f"{verb}{end}" for verb in
                       ("created", "read", "viewed", "clicked", "played", "watched", "listened",
                        "bought", "purchased", "ordered", "rated", "seen", "occurred", "happened",
                        "visited", "event", "order", "purchase", "click", "view", "visit")
                       for end in ("at", "date", "time", "on")), "unixreviewtime", "created"),
        fits=_is_time,
        needed=True,
    ),
    "kind": _Field(
        names=("kind", "event", "eventtype", "eventkind", "eventname", "action", "type"),
        fits=_is_word,
    ),
}  # fmt: skip

_TIMES = " (a time in ISO 8601 such as 2026-03-01T07:30:00Z, or a number since 1970)"

ITEM_FIELDS = (
    "item_id", "item_type", "title", "description", "language", "genres", "published_at"
)  # fmt: skip
EVENT_FIELDS = ("user_id", "item_id", "timestamp", "item_type", "kind")


def named_columns(file: str, fields: Iterable[str], options: Iterable[str]) -> dict[str, str]:
    """Return field -> column of options `FIELD=COLUMN`.

    file: items or events; an option may begin with it and a dot (`events.item_id=article`), and
          then applies only to that file. Raises ColumnError for a field that neither file has.
    """
    known = set(fields)
    found = {}
    for text in options:
        name, separator, column = text.partition("=")
        place, dot, field = name.rpartition(".")
        if (
            not separator
            or not column
            or place not in ("", "items", "events")
            or (field not in {*ITEM_FIELDS, *EVENT_FIELDS})
        ):
            raise ColumnError(
                f"--field {text}: expected FIELD=COLUMN, where FIELD is one of "
                f"{', '.join(dict.fromkeys((*EVENT_FIELDS, *ITEM_FIELDS)))}"
            )
        if field in known and (not dot or place == file):
            found[field] = column
    return found


def guess_columns(
    rows: Rows,
    fields: Sequence[str],
    named: Mapping[str, str],
    *,
    needed: bool = True,
    where: str = "the file",
) -> dict[str, Column]:
    """Return the columns of fields, in the order of `fields`; fields without one are omitted.

    rows: a sample of the file. named: field -> column, as given by the user; others are guessed.
    where: the file, for messages.
    Raises ColumnError where a named column does not exist, or, if `needed`, where a needed field
    has no column.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        raise ColumnError(f"{where} has no rows that can be read")
    found: dict[str, Column] = {}
    for field, column in named.items():
        if column not in columns:
            raise ColumnError(
                f"{where} has no column {column!r} for {field}; it has {', '.join(columns)}"
            )
        found[field] = Column(
            field=field, column=column, example=_example(rows, column), given=True
        )
    for field in fields:
        taken = {column.column for column in found.values()}
        guess = None
        if field not in found:
            free = [column for column in columns if column not in taken]
            guess = _guess(rows, free, field)
        if guess is not None:
            found[field] = Column(field=field, column=guess, example=_example(rows, guess))
    missing = [name for name in fields if _KNOWN[name].needed and name not in found]
    if missing and needed:
        taken = {column.column for column in found.values()}
        free = [name for name in columns if name not in taken]
        free = [name for name in free if not _fits(rows, name, _is_clear_time)]
        hints = {name: column_hint(name, rows, free) for name in missing}
        wanted = " ".join(f"--field {name}={hints[name] or 'COLUMN'}" for name in missing)
        raise ColumnError(
            f"{where}: no column looks like {' or '.join(missing)}"
            f"{_TIMES if 'timestamp' in missing else ''}; it has {', '.join(columns)}. "
            f"Name {'them' if len(missing) > 1 else 'it'}"
            f"{', for example' if any(hints.values()) else ''}: {wanted}"
        )
    return {field: found[field] for field in fields if field in found}


def shared_values(rows: Rows, column: str, values: Iterable[Any]) -> float:
    """Return the share of a column's values that are among `values`, all as text; 0 without any."""
    own = [str(row[column]) for row in rows if row.get(column) is not None]
    among = {str(value) for value in values}
    return sum(value in among for value in own) / len(own) if own else 0.0


def _guess(rows: Rows, columns: Sequence[str], field: str) -> str | None:
    known = _KNOWN[field]
    by_name = {_plain(column): column for column in reversed(columns)}
    for name in (_plain(field), *known.names):
        column = by_name.get(name)
        if column is not None and _fits(rows, column, known.fits):
            return column
    if field == "timestamp":
        times = [column for column in columns if _fits(rows, column, _is_clear_time)]
        # Two times need a decision: an order has a delivery, too.
        return times[0] if len(times) == 1 else None
    return None


def _fits(rows: Rows, column: str, fits: Callable[[Any], bool]) -> bool:
    values = [row[column] for row in rows if row.get(column) is not None]
    return bool(values) and sum(map(fits, values)) >= FITS * len(values)


def _plain(name: str) -> str:
    """Return a name without differences of case and separators.

    >>> _plain("Article_ID"), _plain("articleId")
    ('articleid', 'articleid')
    """
    return re.sub(r"[\W_]+", "", name.lower())


def _example(rows: Rows, column: str) -> str:
    return next((str(row[column]) for row in rows if row.get(column) is not None), "")


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
