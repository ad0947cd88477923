"""Generates the page of all settings: `python -m segue.settings_page [FILE]`."""

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from segue.settings import Settings

__all__ = ["page"]

FILE = Path("docs") / "settings.md"

_HEAD = """# Settings

Generated from the code's docstrings by `python -m segue.settings_page`; a test checks that the page
is current.

A setting is named by its path. In a TOML file (`--config`, `SEGUE_CONFIG_FILE`) that is `[worker]`
and `batch = 1000`; in the environment `SEGUE_WORKER__BATCH=1000`; as a flag `--set
worker.batch=1000`. Flags override the environment, and the environment overrides the file.
`KAFKA_BOOTSTRAP_SERVERS` sets `kafka.bootstrap_servers`. Lists of groups are arrays of tables in
TOML (`[[sources]]`), and JSON elsewhere. Secrets (`kafka.sasl_password`, `kafka.ssl_password`)
belong in the environment. No number can be negative. A number out of its range ends the command
with a message that names the range.
"""
_FIELD = re.compile(r"^(\w[\w, ]*?):\s+(.*)$")


def page() -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(_group("", Settings))


def _group(path: str, kind: type[Any], listed: bool = False) -> Iterator[str]:
    told, about = _told(kind)
    hints = typing.get_type_hints(kind)
    own: list[tuple[dataclasses.Field[Any], Any]] = []
    nested: list[tuple[str, Any, bool]] = []
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        inner = _listed_group(hint)
        if dataclasses.is_dataclass(hint):
            nested.append((f"{path}.{item.name}".lstrip("."), hint, False))
        elif inner is not None:
            nested.append((f"{path}.{item.name}".lstrip("."), inner, True))
        else:
            own.append((item, hint))
    title = path or "The system"
    yield f"\n## {title}{' (a list)' if listed else ''}\n{about}\n"
    if own:
        yield "\n| setting | type | default | |\n|---|---|---|---|\n"
    for item, hint in own:
        text = told.get(item.name, "").replace("|", "\\|")
        yield f"| `{item.name}` | {_named(hint)} | {_default(item)} | {text} |\n"
    for name, inner_kind, inner_listed in nested:
        yield from _group(name, inner_kind, inner_listed)


def _told(kind: type[Any]) -> tuple[dict[str, str], str]:
    """Return the description of each field, and the first sentence of a docstring."""
    told: dict[str, str] = {}
    names: list[str] = []
    about, *lines = inspect.getdoc(kind).splitlines()  # type: ignore[union-attr]
    fields = {item.name for item in dataclasses.fields(kind)}
    for line in lines:
        found = _FIELD.match(line.strip())
        if found and {name.strip() for name in found[1].split(",")} <= fields:
            names = [name.strip() for name in found[1].split(",")]
            told |= dict.fromkeys(names, found[2])
        elif line.startswith(" ") and names:
            told |= {name: f"{told[name]} {line.strip()}" for name in names}
        else:
            names = []
    return told, about


def _listed_group(hint: Any) -> type[Any] | None:
    """Return the element class of a list of groups."""
    if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
        inner: type[Any] = typing.get_args(hint)[0]
        return inner
    return None


def _named(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"list of {_named(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(hint))
    return getattr(hint, "__name__", str(hint)).replace("|", "\\|")


def _default(item: "dataclasses.Field[Any]") -> str:
    if item.default is not dataclasses.MISSING:
        value = item.default
    elif item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
    else:
        return "-"
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return f"`{text}`"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    target.write_text(page())
    sys.stdout.write(f"{target}\n")
