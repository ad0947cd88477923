from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="RuleBody")


@_attrs_define
class RuleBody:
    """A rule of the list's policy that applies to an item.

    Attributes:
        rule (str): Its place in the policy: boost[0], bury[1], fresh, slots[0], explore.
        when (str): Its condition; of `fresh`, the attribute; empty for a slot.
        adds (float): To the score. A slot gives the place and adds nothing.
        propensity (float | None | Unset): Of `explore`: the probability that the item has this place.
    """

    rule: str
    when: str
    adds: float
    propensity: float | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        rule = self.rule

        when = self.when

        adds = self.adds

        propensity: float | None | Unset
        if isinstance(self.propensity, Unset):
            propensity = UNSET
        else:
            propensity = self.propensity

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "rule": rule,
                "when": when,
                "adds": adds,
            }
        )
        if propensity is not UNSET:
            field_dict["propensity"] = propensity

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        rule = d.pop("rule")

        when = d.pop("when")

        adds = d.pop("adds")

        def _parse_propensity(data: object) -> float | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(float | None | Unset, data)

        propensity = _parse_propensity(d.pop("propensity", UNSET))

        rule_body = cls(
            rule=rule,
            when=when,
            adds=adds,
            propensity=propensity,
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
