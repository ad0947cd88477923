"""Policies in files and on their topic: reading, checking, writing versions."""

import asyncio
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agents.policies import attributes_of
from dynamic_layer import EVERY_LIST, Policy, PolicyError, PolicyRules, rules_of
from dynamic_layer.policies.columns import BUILT_IN, common_type, kind_of
from dynamic_layer.policies.expressions import USER
from segue.settings import Settings
from streams import (
    AdminError,
    ListPolicy,
    LogRecord,
    bulk_write,
    decode_items,
    decode_users,
    encode,
    read_from,
    readable,
)
from streams.admin import partition_counts

__all__ = [
    "AttributeTypes",
    "PolicyFile",
    "attribute_types",
    "before",
    "checked",
    "difference",
    "in_force",
    "read_file",
    "versions",
    "write_version",
]


@dataclass(frozen=True, kw_only=True)
class PolicyFile:
    """A policy as a file holds it: the list and its rules."""

    list_name: str
    rules: PolicyRules


@dataclass(kw_only=True)
class AttributeTypes:
    """Types of the attributes that records have, by `item.NAME` and `user.NAME`."""

    found: dict[str, set[str]] = field(default_factory=dict)

    def add(self, owner: str, attributes: Mapping[str, Any]) -> None:
        """Note the attributes of one item or user."""
        for name, value in attributes.items():
            if value is not None:
                self.found.setdefault(f"{owner}.{name}", set()).add(kind_of(value))

    @property
    def types(self) -> dict[str, Any]:
        """Types of the attributes whose values all have one; times beside other texts are texts."""
        types = {name: common_type(kinds) for name, kinds in self.found.items()}
        return {name: of for name, of in types.items() if of is not None}

    @property
    def mixed(self) -> dict[str, list[str]]:
        """Attributes whose values have several types."""
        return {name: sorted(kinds) for name, kinds in self.found.items() if name not in self.types}


def read_file(file: Path) -> PolicyFile:
    """Read a policy from TOML. Raises PolicyError that names the file and the place in it."""
    try:
        values = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError(f"{file}: {error}") from error
    name = values.pop("list", EVERY_LIST)
    if not isinstance(name, str) or not 1 <= len(name) <= 256:
        raise PolicyError(f"{file}: list: expected the name of a list or *, got {name!r}")
    try:
        return PolicyFile(list_name=name, rules=rules_of(values))
    except PolicyError as error:
        raise PolicyError(f"{file}: {error}") from error


async def attribute_types(settings: Settings) -> AttributeTypes:
    """Return the types of the attributes in the topics of items and users. Raises AdminError."""
    found = AttributeTypes()
    for item in decode_items(await read_from(settings.kafka, settings.topics.catalogue))[0].records:
        found.add("item", {n: v for n, v in attributes_of(item).items() if n not in BUILT_IN})
    for user in decode_users(await read_from(settings.kafka, settings.topics.users))[0].records:
        found.add("user", {n: v for n, v in (user.attributes or {}).items() if n not in USER})
    return found


def checked(policy: PolicyFile, found: AttributeTypes) -> PolicyFile:
    """Return the policy with the types of the attributes that it uses. Raises PolicyError.

    Types in the policy take precedence over types that are found.
    """
    types = {**found.types, **policy.rules.types}
    rules = msgspec.structs.replace(policy.rules, types=types)
    try:
        compiled = Policy.of(rules)
    except PolicyError as error:
        several = "; ".join(f"{n} has {' and '.join(kinds)}" for n, kinds in found.mixed.items())
        hint = f" (values of several types, to be named in [types]: {several})" if several else ""
        raise PolicyError(f"{error}{hint}") from error
    # Only what is used: a policy says no more of the catalogue than it needs.
    used = {name: of for name, of in types.items() if name in compiled.reads}
    return PolicyFile(
        list_name=policy.list_name,
        rules=msgspec.structs.replace(rules, types={**used, **policy.rules.types}),
    )


async def versions(settings: Settings, list_name: str | None = None) -> list[ListPolicy]:
    """Return the versions on the topic, by list and version; of one list only where it is named.

    Raises AdminError, also where there is no such topic.
    """
    topic = settings.topics.policies
    if not await asyncio.to_thread(partition_counts, settings.kafka, (topic,)):
        raise AdminError(f"there is no topic {topic}: run segue topics create")
    return newest_of(await read_from(settings.kafka, topic), list_name)


def newest_of(records: Sequence[LogRecord], list_name: str | None = None) -> list[ListPolicy]:
    """Return the versions in records, the last record of each, by list and version."""
    found = {
        (said.list, said.version): said
        for _, said in readable(ListPolicy, records)
        if list_name in (None, said.list)
    }
    return [found[key] for key in sorted(found)]


def in_force(found: Sequence[ListPolicy]) -> ListPolicy | None:
    """Return the greatest version that can be compiled, as workers take it."""
    for said in reversed(found):
        if fault_of(said) is None:
            return said
    return None


def before(found: Sequence[ListPolicy]) -> ListPolicy | None:
    """Return what an undo goes back to: the version before the one in force with other rules."""
    current = in_force(found)
    if current is None:
        return None
    return in_force(
        [one for one in found if one.version < current.version and one.rules != current.rules]
    )


def fault_of(said: ListPolicy) -> str | None:
    """Return why workers refuse a version; None where they take it."""
    try:
        Policy.of(rules_of(said.rules))
    except PolicyError as error:
        return str(error)
    return None


async def write_version(
    settings: Settings,
    policy: PolicyFile,
    *,
    author: str,
    comment: str,
    now_ms: int,
    known: Sequence[ListPolicy],
) -> ListPolicy:
    """Write a policy as the next version of its list. Raises BulkWriteError, AdminError."""
    said = ListPolicy(
        list=policy.list_name,
        version=max((one.version for one in known), default=0) + 1,
        author=author,
        comment=comment,
        created_at=now_ms,
        rules=msgspec.to_builtins(policy.rules),
    )
    await bulk_write(settings.kafka, settings.topics.policies, 1, [(said.key, encode(said))])
    return said


def difference(before: PolicyRules, after: PolicyRules, names: tuple[str, str]) -> list[str]:
    """Return a unified diff of two policies, line by line; empty where they are the same."""
    return list(difflib.unified_diff(_lines(before), _lines(after), *names, lineterm="", n=2))


def _lines(rules: PolicyRules) -> list[str]:
    text = msgspec.json.format(msgspec.json.encode(rules, order="sorted"), indent=2).decode()
    return text.splitlines()
