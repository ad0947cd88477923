"""A policy, checked and compiled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dynamic_layer.policies.columns import BUILT_IN, time_ms
from dynamic_layer.policies.expressions import Expression, compile_expression
from dynamic_layer.policies.moment import request_values
from dynamic_layer.policies.rules import PolicyError, PolicyRules, Slot

__all__ = ["EVERY_LIST", "Binding", "Policies", "Policy", "Weight"]

#: Name of the policy of all lists that have none of their own.
EVERY_LIST = "*"

Binding = tuple[tuple[str, Any], ...]
"""Values of a user and a request that a policy reads, by `user.NAME` and `request.NAME`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weight:
    """Items for which `when` holds have `log_factor` added to their scores.

    where: in the policy, as `boost[0]`; text: the condition as written there.
    """

    when: Expression
    log_factor: float
    where: str
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """Rules of a list, compiled.

    weights: boosts and buries; at_most, at_least: conditions of quotas and numbers of items.
    user: what is read of users and requests, with types; reads: all attributes that are read,
    `item.` and `user.` in front. version: on the topic; 0 for one that is not.
    without_value: constant parts that are NULL, such as `1 / 0`, with their places. New policies
    with such parts are refused (`checked` of agents.policy_versions); versions that an earlier
    release accepted stay in force.
    """

    rules: PolicyRules
    version: int
    filter: Expression | None
    weights: tuple[Weight, ...]
    at_most: tuple[tuple[Expression, int], ...]
    at_least: tuple[tuple[Expression, int], ...]
    slots: tuple[tuple[Slot, float, float], ...]
    user: Mapping[str, str]
    reads: frozenset[str]
    without_value: tuple[str, ...]

    @classmethod
    def of(cls, rules: PolicyRules, version: int = 0) -> Self:
        """Compile rules. Raises PolicyError that says where and why."""
        expressions: list[Expression] = []

        def compiled(text: str, where: str) -> Expression:
            expressions.append(compile_expression(text, rules.types, where))
            return expressions[-1]

        def weights(name: str, sign: float) -> list[Weight]:
            return [
                Weight(
                    when=compiled(one.when, f"{name}[{n}].when"),
                    log_factor=sign * float(np.log(one.factor)),
                    where=f"{name}[{n}]",
                    text=one.when,
                )
                for n, one in enumerate(getattr(rules, name))
            ]

        for name in rules.types:
            owner, _, attribute = name.partition(".")
            if owner not in ("item", "user") or not attribute:
                raise PolicyError(f"types: expected item.NAME or user.NAME, got {name!r}")
        conditions = [
            (compiled(one.when, f"quota[{n}].when"), one) for n, one in enumerate(rules.quota)
        ]
        for n, one in enumerate(rules.quota):
            if one.most is not None and one.most < one.least:
                raise PolicyError(f"quota[{n}]: expected most of at least {one.least}")
        keep = compiled(rules.filter, "filter") if rules.filter else None
        weighted = (*weights("boost", 1), *weights("bury", -1))
        _check_attributes(rules)
        if rules.explore is not None and rules.explore.slots > rules.explore.position:
            raise PolicyError(
                f"explore.slots: expected at most position, {rules.explore.position}, "
                f"got {rules.explore.slots}"
            )
        return cls(
            rules=rules,
            version=version,
            filter=keep,
            weights=weighted,
            at_most=tuple((when, one.most) for when, one in conditions if one.most is not None),
            at_least=tuple((when, one.least) for when, one in conditions if one.least),
            slots=tuple(_timed(n, slot) for n, slot in enumerate(rules.slots)),
            user={name: of for one in expressions for name, of in one.user.items()},
            reads=frozenset(
                [n for one in expressions for n in one.user if n.startswith("user.")]
                + [f"item.{name}" for one in expressions for name in one.items]
                + [f"item.{name}" for name in _plain_attributes(rules)]
            ),
            without_value=tuple(part for one in expressions for part in one.without_value),
        )

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        empty = PolicyRules(types=self.rules.types)
        return self.rules != empty

    def binding(
        self, country: str, birth_year: int, attributes: Mapping[str, Any],
        context: Mapping[str, Any], now_ms: int,
    ) -> Binding:  # fmt: skip
        """Return what the policy reads of a user and a request.

        Values that do not fit their type are None. context: see `request_values`.
        """
        if not self.user:
            return ()
        known = {
            "user": {**attributes, "country": country or None, "birth_year": birth_year or None}
        }
        if any(name.startswith("request.") for name in self.user):
            known["request"] = request_values(context, attributes, now_ms)
        found = []
        for name, of in self.user.items():
            owner, _, attribute = name.partition(".")
            found.append((name, _bound(known[owner].get(attribute), of)))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The policies in force, by list; `EVERY_LIST` is that of lists without one of their own."""

    by_list: Mapping[str, Policy]

    def of(self, name: str) -> Policy | None:
        """Return the policy of a list; None where it has no rule."""
        found = self.by_list.get(name) or self.by_list.get(EVERY_LIST)
        return found if found else None


def _plain_attributes(rules: PolicyRules) -> list[str]:
    names = [one.attribute for one in rules.cap] + [one for group in rules.same for one in group]
    return names + [one.attribute for one in (rules.fresh, rules.explore) if one is not None]


def _check_attributes(rules: PolicyRules) -> None:
    """Raise PolicyError for attributes of unknown type."""
    types: dict[str, str] = {**rules.types, **{f"item.{n}": of for n, of in BUILT_IN.items()}}
    named: list[tuple[str, tuple[str, ...]]]
    named = [(f"cap[{n}].attribute", (one.attribute,)) for n, one in enumerate(rules.cap)]
    named += [(f"same[{n}]", group) for n, group in enumerate(rules.same)]
    if rules.fresh is not None:
        named.append(("fresh.attribute", (rules.fresh.attribute,)))
    if rules.explore is not None:
        named.append(("explore.attribute", (rules.explore.attribute,)))
    for where, names in named:
        if not names:
            raise PolicyError(f"{where}: expected the name of an attribute")
        for name in names:
            of = types.get(f"item.{name}")
            if of is None:
                known = ", ".join(sorted(one.removeprefix("item.") for one in types))
                raise PolicyError(f"{where}: there is no attribute {name!r}; known: {known[:300]}")
            if where in ("fresh.attribute", "explore.attribute") and of != "time":
                raise PolicyError(f"{where}: expected a time, {name} is {of}")
            if where.startswith("cap") and of == "title":
                raise PolicyError(f"{where}: {name} can only stand in `same`")


def _timed(number: int, slot: Slot) -> tuple[Slot, float, float]:
    ends = []
    for name, text, none in (("start", slot.start, -np.inf), ("until", slot.until, np.inf)):
        at = time_ms(text) if text else none
        if np.isnan(at):
            raise PolicyError(f"slots[{number}].{name}: expected a time in ISO 8601, got {text!r}")
        ends.append(float(at))
    return slot, ends[0], ends[1]


def _bound(value: Any, of: str) -> Any:
    """Return a user's value as an expression reads it; None where it does not fit the type."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if of == "number" or (of == "time" and number):
        try:
            return float(value) if number else None
        except OverflowError:
            return None
    if of == "time":
        at = time_ms(value) if isinstance(value, str) else np.nan
        return None if np.isnan(at) else at
    if of == "boolean":
        return value if isinstance(value, bool) else None
    if of == "list":
        return frozenset(value) if isinstance(value, list | tuple) else None
    return value if isinstance(value, str) else None
