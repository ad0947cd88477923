"""A policy as people write it: TOML, and where in it a mistake is."""

import re
import tomllib
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec

from dynamic_layer import EVERY_LIST, PolicyError, PolicyRules, rules_of
from streams.toml_text import toml_value

__all__ = ["LONGEST", "Fault", "PolicyFile", "fault_in", "parse_policy", "policy_text"]

#: Characters of a policy's text.
LONGEST = 100_000
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_PLACE = re.compile(r"(?P<where>[\w.\[\]]+): (?:line (?P<line>\d+), column (?P<column>\d+): )?")
_FIELD = re.compile(r" - at `\$\.?(?P<where>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<where>[^`]*)`$")
_TABLE = re.compile(r"\s*\[{1,2}\s*(?P<name>[\w-]+)\s*\]{1,2}\s*(#.*)?$")
_LONG = ('"""', "'''")
_KEY = re.compile(r"""\s*["']?(?P<name>[\w.-]+)["']?\s*=\s*(?P<opens>"{3}|'{3}|["']?)""")


@dataclass(frozen=True, kw_only=True)
class PolicyFile:
    """A policy as a file holds it: the list and its rules."""

    list_name: str
    rules: PolicyRules


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a policy.

    where: part of the policy, as `boost[0].when`; empty where it is no TOML. line, column: in the
    text, from 1; 0 where that is not known.
    """

    where: str
    what: str
    line: int = 0
    column: int = 0


def parse_policy(text: str) -> PolicyFile:
    """Read a policy from TOML. Raises PolicyError that names the place."""
    if len(text) > LONGEST:
        raise PolicyError(f"expected at most {LONGEST} characters, got {len(text)}")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(str(error)) from error
    except RecursionError as error:
        raise PolicyError(f"nested too deeply{_deepest(text)}") from error
    name = values.pop("list", EVERY_LIST)
    if not isinstance(name, str) or not 1 <= len(name) <= 256:
        raise PolicyError(f"list: expected the name of a list or *, got {name!r}")
    return PolicyFile(list_name=name, rules=rules_of(values))


def _deepest(text: str) -> str:
    """Return the place of the innermost opening bracket, as `tomllib` writes places."""
    steps = [(one in "[{") - (one in "]}") for one in text]
    depths = list(accumulate(steps))
    before = text[: depths.index(max(depths))]
    return (
        f" (at line {before.count(chr(10)) + 1}, column {len(before.rpartition(chr(10))[2]) + 1})"
    )


def policy_text(policy: PolicyFile) -> str:
    """Return the TOML of a policy: what `parse_policy` reads as the same one."""
    values: dict[str, Any] = msgspec.to_builtins(policy.rules)
    lines, tables = [f"list = {toml_value(policy.list_name)}"], []
    for name, value in values.items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *_members(value)]
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            for part in value:
                tables += ["", f"[[{name}]]", *_members(part)]
        else:
            lines.append(f"{name} = {toml_value(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _members(values: dict[str, Any]) -> list[str]:
    return [
        f"{name if name.isidentifier() and name.isascii() else toml_value(name)} = {toml_value(v)}"
        for name, v in values.items()
        if v is not None
    ]


def fault_in(text: str, error: PolicyError) -> Fault:
    """Return an error with its place in the text of the policy."""
    message = str(error)
    if found := _TOML_PLACE.search(message):
        last = text.rpartition("\n")[2]
        line, column = found[1] or text.count("\n") + 1, found[2] or len(last) + 1
        return Fault(where="", what=message[: found.start()], line=int(line), column=int(column))
    where, what, inside = "", message, None
    if found := _FIELD.search(message):
        where, what = found["where"], message[: found.start()]
    elif found := _PLACE.match(message):
        where, what, inside = found["where"], message[found.end() :], found
    elif found := _UNKNOWN.search(message):
        where = found["where"]
    line, column = _start(text, where)
    if line and inside and inside["line"]:
        # The error also names the line and column inside a condition. Only the condition's first
        # line begins behind the key.
        below, at = int(inside["line"]) - 1, int(inside["column"])
        line, column = line + below, at if below else column + at - 1
    return Fault(where=where, what=what, line=line, column=column)


def _start(text: str, where: str) -> tuple[int, int]:
    """Return line and column of the value of a part; where the part is a table, of its header.

    Zeros where it is not found.
    """
    table, *more = re.findall(r"\w+", where) or [""]
    number = next((int(part) for part in more if part.isdigit()), 0)
    key = next((part for part in more if not part.isdigit()), "")
    here, count, header = "", -1, (0, 0)
    for line_number, line in enumerate(text.split("\n"), 1):
        if found := _TABLE.match(line):
            here = found["name"]
            count += here == table
            if here == table and count == number:
                header = (line_number, 1)
        elif found := _KEY.match(line):
            own = (here == table and count == number and found["name"] == key) if here else (
                found["name"] == table
            )  # fmt: skip
            if own:
                # A text of several lines begins on the line after its quotation marks.
                below = found["opens"] in _LONG and not line[found.end() :].strip()
                return (line_number + 1, 1) if below else (line_number, found.end() + 1)
    return header
