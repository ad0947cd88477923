"""Guesses the mapping of a foreign topic of items from a sample of its records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import msgspec

from segue.columns import ITEM_FIELDS, guess_columns
from streams import DeletedMapping, ItemSourceSettings, LogRecord, SourceError, ValueMapping
from streams.dead_letters import UNREADABLE
from streams.item_sources import NumberUnit
from streams.sources import SECONDS_BELOW, Path, path_of
from streams.toml_text import toml_value

__all__ = ["guessed_source", "source_toml"]

#: Nested objects deeper than this are not searched for fields.
DEEPEST = 6
#: Values of `op` in change streams of Debezium's form: created, read, updated, deleted, truncated.
_CHANGES = {"c", "r", "u", "d", "t"}
_MICROSECONDS_FROM = 100_000_000_000_000
#: Longer names are not accepted for attributes.
MAX_ATTRIBUTE_NAME = 64
#: In settings a colon ends an attribute's name, and = is refused.
_NOT_IN_NAMES = str.maketrans(":=", "__")


def guessed_source(topic: str, records: Sequence[LogRecord]) -> ItemSourceSettings:
    """Return a mapping of JSON records.

    Fields are found by the last name of their path, as columns of a file are; in a change stream
    the state after the change counts. Fields beside the id that are not used become attributes,
    with _ for a colon or = in their names.
    Raises SourceError where no record is a JSON object, or nothing can be the id.
    """
    rows = [leaves for row in _objects(records) if (leaves := dict(_leaves(row)))]
    if not rows:
        raise SourceError(
            f"none of the newest {len(records)} records of {topic} is a JSON object with fields: "
            "nothing to suggest (Avro needs its settings first)"
        )
    paths = _chosen_paths(rows)
    named = [{name: row[path] for name, path in paths.items() if path in row} for row in rows]
    columns = {
        field: column.column
        for field, column in guess_columns(named, ITEM_FIELDS, {}, needed=False).items()
    }
    keyed = bool(records) and all(record.key is not None for record in records)
    if "item_id" not in columns and not keyed:
        raise SourceError(f"no field of {topic} looks like an item id; it has {', '.join(paths)}")
    of = {field: paths[column] for field, column in columns.items()}
    deleted, said = _deleted(named, paths)
    beside = _above(of.get("item_id") or of.get("title", ""))
    used = {*of.values(), said}
    return ItemSourceSettings(
        topic=topic,
        keyed_by_item=keyed,
        item_id=of.get("item_id", ""),
        item_type=(
            ValueMapping(field=of["item_type"])
            if "item_type" in of
            else ValueMapping(default="item")
        ),
        title=of.get("title", ""),
        description=of.get("description", ""),
        language=of.get("language", ""),
        genres=of.get("genres", ""),
        published_at=of.get("published_at", ""),
        published_unit=_unit(named, columns.get("published_at")),
        attributes={
            name.translate(_NOT_IN_NAMES): path
            for name, path in paths.items()
            if path not in used
            and len(name) <= MAX_ATTRIBUTE_NAME
            and _above(path) == beside
            and any(_is_attribute(row.get(name)) for row in named)
        },
        attribute_object="",
        deleted=deleted,
    )


def source_toml(source: ItemSourceSettings) -> str:
    """Return the settings of a source as TOML that can be pasted into a file."""
    lines, tables = ["[[item_sources]]"], list[str]()
    for setting in fields(source):
        name, value = setting.name, getattr(source, setting.name)
        if name == "avro":
            continue
        if isinstance(value, ValueMapping | DeletedMapping):
            tables.append(f"\n[item_sources.{name}]")
            tables += [
                f"{k} = {toml_value(v)}" for k, v in vars(value).items() if v or k == "field"
            ]
        elif isinstance(value, dict):
            if value:
                tables.append(f"\n[item_sources.{name}]")
                tables += [f"{toml_value(k)} = {toml_value(v)}" for k, v in value.items()]
        elif value != setting.default:
            lines.append(f"{name} = {toml_value(value)}")
    return "\n".join([*lines, *tables])


def _objects(records: Sequence[LogRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        if record.value is not None:
            try:
                row = msgspec.json.decode(record.value)
            except UNREADABLE:
                continue
            if isinstance(row, dict):
                yield row


def _leaves(row: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each field that is no object, as settings write a path."""
    for name, value in row.items():
        if not name:
            continue
        path = before + name.replace(".", "\\.")
        if isinstance(value, dict) and depth < DEEPEST:
            yield from _leaves(value, f"{path}.", depth + 1)
        elif not isinstance(value, dict):
            yield path, value


def _chosen_paths(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return one path for each last name: of the state after a change, else the shortest one."""
    found: dict[str, str] = {}
    for path in dict.fromkeys(path for row in rows for path in row):
        name = path_of(path)[-1]
        if name not in found or _rank(path) < _rank(found[name]):
            found[name] = path
    return found


def _above(path: str) -> Path:
    """Return the names on the way to a field."""
    return path_of(path)[:-1] if path else ()


def _rank(path: str) -> tuple[bool, bool, int]:
    parts = path_of(path)
    return "before" in parts, "after" not in parts, len(parts)


def _deleted(
    rows: Sequence[Mapping[str, Any]], paths: Mapping[str, str]
) -> tuple[DeletedMapping, str]:
    """Return which records delete, and the path of the field that says so."""
    operations = {row["op"] for row in rows if isinstance(row.get("op"), str)}
    if operations and operations <= _CHANGES:
        return DeletedMapping(field=paths["op"], values=("d",)), paths["op"]
    for name in ("__deleted", "deleted", "is_deleted", "removed"):
        if name in paths:
            return DeletedMapping(field=paths[name], values=("true",)), paths[name]
    return DeletedMapping(field=""), ""


def _unit(rows: Sequence[Mapping[str, Any]], column: str | None) -> NumberUnit:
    values = [] if column is None else [row.get(column) for row in rows]
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return "ms"
    if max(numbers) >= _MICROSECONDS_FROM:
        return "us"
    return "s" if max(numbers) < SECONDS_BELOW else "ms"


def _is_attribute(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, str) for part in value)
    return isinstance(value, str | int | float | bool)
