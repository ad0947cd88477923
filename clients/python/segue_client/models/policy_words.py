from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.policy_words_attributes import PolicyWordsAttributes


T = TypeVar("T", bound="PolicyWords")


@_attrs_define
class PolicyWords:
    """What conditions and policies are made of, for an editor.

    Attributes:
        attributes (PolicyWordsAttributes): Type by item.NAME, user.NAME, request.NAME.
        functions (list[str]):
        rules (list[str]):
    """

    attributes: PolicyWordsAttributes
    functions: list[str]
    rules: list[str]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        attributes = self.attributes.to_dict()

        functions = self.functions

        rules = self.rules

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "attributes": attributes,
                "functions": functions,
                "rules": rules,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.policy_words_attributes import PolicyWordsAttributes

        d = dict(src_dict)
        attributes = PolicyWordsAttributes.from_dict(d.pop("attributes"))

        functions = cast(list[str], d.pop("functions"))

        rules = cast(list[str], d.pop("rules"))

        policy_words = cls(
            attributes=attributes,
            functions=functions,
            rules=rules,
        )

        policy_words.additional_properties = d
        return policy_words

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
