"""The rules of a policy, as written in a file and stored on the topic."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "Cap",
    "Cooling",
    "Explore",
    "Fresh",
    "PolicyError",
    "PolicyRules",
    "Quota",
    "Slot",
    "Weighted",
    "rules_of",
]

AttributeType = Literal["text", "number", "boolean", "time", "list"]
_Text = Annotated[str, Meta(max_length=10_000)]
_Count = Annotated[int, Meta(ge=1, le=1_000)]
_Attribute = Annotated[str, Meta(min_length=1, max_length=64)]


class PolicyError(ValueError):
    """A policy cannot be in force; the message says where and why."""


class Weighted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items for which `when` holds count `factor` times as much."""

    when: _Text
    factor: Annotated[float, Meta(gt=0, le=1_000_000)]


class Cap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most so many items of one list have the same value of an attribute.

    Of an attribute that is a list, each of its values counts.
    """

    attribute: _Attribute
    most: _Count


class Quota(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At least and at most so many items of one list for which `when` holds."""

    when: _Text
    least: Annotated[int, Meta(ge=0, le=1_000)] = 0
    most: Annotated[int, Meta(ge=0, le=1_000)] | None = None


class Fresh(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item of age 0 counts `factor` times as much; the effect halves with each half-life."""

    attribute: _Attribute = "published_at"
    factor: Annotated[float, Meta(gt=0, le=1_000_000)] = 2.0
    half_life_days: Annotated[float, Meta(gt=0, le=100_000)] = 30.0


class Cooling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items that are not to be seen again yet.

    taken_days: for so many days after a strong event of the user on the item; 0 for no rule.
    showings:   after it was shown to the user so often within the last `shown_days` days; 0 for no
                rule. Days of impressions are counted by whole buckets of the state's window.
    """

    taken_days: Annotated[float, Meta(ge=0, le=100_000)] = 0.0
    showings: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    shown_days: Annotated[float, Meta(gt=0, le=100_000)] = 7.0


class Explore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New items get a small part of the places, and those who are likely to want them.

    share:     of the first `position` places of all lists, on average.
    slots:     places of one list, at most.
    position:  of the first of them (1 is the first place); further ones are before it. In a shorter
               list it is the last place.
    attribute: time since when an item is there. days: an item is new for so long. An item that has
               no such time is new until a bundle has it.
    graduate:  after so many impressions an item is no longer new.
    showings:  to one user, an item is explored until it was shown so often.
    """

    share: Annotated[float, Meta(gt=0, le=0.5)] = 0.01
    slots: _Count = 1
    position: _Count = 10
    attribute: _Attribute = "published_at"
    days: Annotated[float, Meta(gt=0, le=100_000)] = 3.0
    graduate: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 100
    showings: _Count = 1


class Slot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item that stands at a place of the list (1 is the first), from a time until a time."""

    position: _Count
    item_type: str
    item_id: str
    start: str = ""
    until: str = ""


class PolicyRules(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """All rules of a list. Without any, the list is as without a policy.

    same:  groups of attributes: items that have the same values of a whole group are the same.
    types: of attributes, by `item.NAME` or `user.NAME`.
    """

    filter: _Text = ""
    boost: Annotated[tuple[Weighted, ...], Meta(max_length=50)] = ()
    bury: Annotated[tuple[Weighted, ...], Meta(max_length=50)] = ()
    cap: Annotated[tuple[Cap, ...], Meta(max_length=20)] = ()
    same: Annotated[tuple[tuple[_Attribute, ...], ...], Meta(max_length=20)] = ()
    quota: Annotated[tuple[Quota, ...], Meta(max_length=20)] = ()
    diversity: Annotated[float, Meta(ge=0, le=1)] = 0.0
    fresh: Fresh | None = None
    cooling: Cooling | None = None
    explore: Explore | None = None
    slots: Annotated[tuple[Slot, ...], Meta(max_length=100)] = ()
    types: Annotated[dict[str, AttributeType], Meta(max_length=1_000)] = {}


def rules_of(value: Any) -> PolicyRules:
    """Return rules from JSON or TOML values. Raises PolicyError that names the place."""
    try:
        return msgspec.convert(value, PolicyRules)
    except msgspec.ValidationError as error:
        raise PolicyError(str(error)) from error
