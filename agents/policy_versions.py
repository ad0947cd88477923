"""Versions of policies: checked against attributes, compared, and written one after the other."""

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.policy_text import PolicyFile
from dynamic_layer import ItemColumns, Policy, PolicyError, PolicyRules, rules_of
from dynamic_layer.policies.columns import BUILT_IN, common_type, kind_of
from dynamic_layer.policies.expressions import USER
from streams import ListPolicy, LogRecord, encode, readable

__all__ = [
    "AttributeTypes",
    "PolicyConflict",
    "before",
    "checked",
    "difference",
    "fault_of",
    "in_force",
    "newest_of",
    "undone",
    "write_version",
]

Read = Callable[[], Awaitable[Sequence[LogRecord]]]
"""Returns all records of the topic of policies."""
Append = Callable[[bytes, bytes], Awaitable[object]]
"""Writes a key and a value to the topic of policies."""


class PolicyConflict(Exception):
    """Another version was written meanwhile; nothing of this one is in force.

    newest: number of the list's newest version, 0 without any.
    """

    def __init__(self, list_name: str, newest: int, author: str = "") -> None:
        """Name what is there now."""
        by = f" by {author}" if author else ""
        super().__init__(f"the newest version of the policy of {list_name} is {newest}{by}")
        self.newest = newest


@dataclass(kw_only=True)
class AttributeTypes:
    """Types of the attributes that records have, by `item.NAME` and `user.NAME`."""

    found: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, items: ItemColumns) -> "AttributeTypes":
        """Return the types of the items' own attributes."""
        names = [name for name in items.names if name not in BUILT_IN]
        with items.lock:
            kinds = {f"item.{name}": items.column(name).kinds() for name in names}
        return cls(found={name: of for name, of in kinds.items() if of})

    def add_user(self, attributes: Mapping[str, Any]) -> None:
        """Note the attributes of one user."""
        for name, value in attributes.items():
            if value is not None and name not in USER:
                self.found.setdefault(f"user.{name}", set()).add(kind_of(value))

    @property
    def types(self) -> dict[str, Any]:
        """Types of the attributes whose values all have one; times beside other texts are texts."""
        types = {name: common_type(kinds) for name, kinds in self.found.items()}
        return {name: of for name, of in types.items() if of is not None}

    @property
    def mixed(self) -> dict[str, list[str]]:
        """Attributes whose values have several types."""
        return {name: sorted(kinds) for name, kinds in self.found.items() if name not in self.types}


def checked(policy: PolicyFile, found: AttributeTypes) -> PolicyFile:
    """Return the policy with the types of the attributes that it uses. Raises PolicyError.

    Types in the policy take precedence over types that are found. A constant part without a value,
    such as `1 / 0`, is refused here and not where versions are read: see `Policy.without_value`.
    """
    types = {**found.types, **policy.rules.types}
    rules = msgspec.structs.replace(policy.rules, types=types)
    try:
        compiled = Policy.of(rules)
    except PolicyError as error:
        several = "; ".join(f"{n} has {' and '.join(kinds)}" for n, kinds in found.mixed.items())
        hint = f" (values of several types, to be named in [types]: {several})" if several else ""
        raise PolicyError(f"{error}{hint}") from error
    if compiled.without_value:
        raise PolicyError(compiled.without_value[0])
    # Only what is used: a policy says no more of the catalogue than it needs.
    used = {name: of for name, of in types.items() if name in compiled.reads}
    return PolicyFile(
        list_name=policy.list_name,
        rules=msgspec.structs.replace(rules, types={**used, **policy.rules.types}),
    )


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


def undone(found: Sequence[ListPolicy], list_name: str) -> tuple[PolicyFile, str]:
    """Return what an undo puts in force, and a comment that says so.

    Raises PolicyError where the list has no version.
    """
    if not found:
        raise PolicyError(f"list {list_name} has no policy")
    earlier = before(found)
    rules = rules_of(earlier.rules if earlier else {})
    said = f"undo: as version {earlier.version}" if earlier else "undo: no policy"
    return PolicyFile(list_name=list_name, rules=rules), said


def fault_of(said: ListPolicy) -> str | None:
    """Return why workers refuse a version; None where they take it."""
    try:
        Policy.of(rules_of(said.rules))
    except PolicyError as error:
        return str(error)
    return None


async def write_version(
    read: Read,
    append: Append,
    policy: PolicyFile,
    *,
    author: str,
    comment: str,
    now_ms: int,
    after: int | None = None,
) -> ListPolicy:
    """Write a policy as the next version of its list, and return it.

    after: the newest version that the author knows of (0: none); None for any. Raises
    PolicyConflict if there is another, or if another writer wrote the same version first. Then that
    one holds: it is written once more, because the last record of a version counts.
    """
    known = newest_of(await read(), policy.list_name)
    newest = known[-1].version if known else 0
    if after not in (None, newest):
        raise PolicyConflict(policy.list_name, newest, known[-1].author if known else "")
    said = ListPolicy(
        list=policy.list_name,
        version=newest + 1,
        author=author,
        comment=comment,
        created_at=now_ms,
        rules=msgspec.to_builtins(policy.rules),
    )
    value = encode(said)
    await append(said.key, value)
    [first, *_] = [record for record in await read() if record.key == said.key]
    if first.value != value and first.value is not None:
        await append(said.key, first.value)
        [other] = [one for _, one in readable(ListPolicy, [first])]
        raise PolicyConflict(policy.list_name, other.version, other.author)
    return said


def difference(before: PolicyRules, after: PolicyRules, names: tuple[str, str]) -> list[str]:
    """Return a unified diff of two policies, line by line; empty where they are the same."""
    return list(difflib.unified_diff(_lines(before), _lines(after), *names, lineterm="", n=2))


def _lines(rules: PolicyRules) -> list[str]:
    text = msgspec.json.format(msgspec.json.encode(rules, order="sorted"), indent=2).decode()
    return text.splitlines()
