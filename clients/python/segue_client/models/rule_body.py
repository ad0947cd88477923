from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="RuleBody")


@_attrs_define
class RuleBody:
    """A rule of the list's policy that applies to an item.

    Attributes:
        rule (str): Its place in the policy: boost[0], bury[1], fresh, slots[0].
        when (str): Its condition; of `fresh`, the attribute; empty for a slot.
        adds (float): To the score. A slot gives the place and adds nothing.
    """

    rule: str
    when: str
    adds: float
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        rule = self.rule

        when = self.when

        adds = self.adds

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "rule": rule,
                "when": when,
                "adds": adds,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        rule = d.pop("rule")

        when = d.pop("when")

        adds = d.pop("adds")

        rule_body = cls(
            rule=rule,
            when=when,
            adds=adds,
        )

        rule_body.additional_properties = d
        return rule_body

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
