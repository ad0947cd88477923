from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.near_body import NearBody
    from ..models.rule_body import RuleBody
    from ..models.why_body_parts import WhyBodyParts


T = TypeVar("T", bound="WhyBody")


@_attrs_define
class WhyBody:
    """The reasons for an item's place.

    Attributes:
        parts (WhyBodyParts): Parts of the score by name; they sum to it. docs/scores.md
        new (bool): The item had no events when the model was made.
        nearest (list[NearBody]):
        rules (list[RuleBody] | Unset): Rules that apply to the item.
    """

    parts: WhyBodyParts
    new: bool
    nearest: list[NearBody]
    rules: list[RuleBody] | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        parts = self.parts.to_dict()

        new = self.new

        nearest = []
        for nearest_item_data in self.nearest:
            nearest_item = nearest_item_data.to_dict()
            nearest.append(nearest_item)

        rules: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.rules, Unset):
            rules = []
            for rules_item_data in self.rules:
                rules_item = rules_item_data.to_dict()
                rules.append(rules_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "parts": parts,
                "new": new,
                "nearest": nearest,
            }
        )
        if rules is not UNSET:
            field_dict["rules"] = rules

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.near_body import NearBody
        from ..models.rule_body import RuleBody
        from ..models.why_body_parts import WhyBodyParts

        d = dict(src_dict)
        parts = WhyBodyParts.from_dict(d.pop("parts"))

        new = d.pop("new")

        nearest = []
        _nearest = d.pop("nearest")
        for nearest_item_data in _nearest:
            nearest_item = NearBody.from_dict(nearest_item_data)

            nearest.append(nearest_item)

        _rules = d.pop("rules", UNSET)
        rules: list[RuleBody] | Unset = UNSET
        if _rules is not UNSET:
            rules = []
            for rules_item_data in _rules:
                rules_item = RuleBody.from_dict(rules_item_data)

                rules.append(rules_item)

        why_body = cls(
            parts=parts,
            new=new,
            nearest=nearest,
            rules=rules,
        )

        why_body.additional_properties = d
        return why_body

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
