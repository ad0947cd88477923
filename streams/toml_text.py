"""Values as TOML text; the standard library only reads it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["toml_value"]


def toml_value(value: Any) -> str:
    """Return a value on one line: texts, numbers, booleans, sequences, mappings, dataclasses.

    Members that are None are left out, for TOML has no null.

    >>> toml_value({"most": 2, "names": ["a", 'b"'], "none": None})
    '{"most" = 2, "names" = ["a", "b\\\\""]}'
    """
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(part) for part in value) + "]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        parts = (
            f"{toml_value(name)} = {toml_value(part)}"
            for name, part in value.items()
            if part is not None
        )
        return "{" + ", ".join(parts) + "}"
    # JSON's strings, numbers and booleans are TOML's, but for one character.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
