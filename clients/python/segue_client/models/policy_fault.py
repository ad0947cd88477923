from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="PolicyFault")


@_attrs_define
class PolicyFault:
    """Why workers would refuse a policy.

    Attributes:
        where (str): For example boost[0].when; empty if the text is not TOML.
        what (str):
        line (int): In the text, from 1; 0: not known.
        column (int):
    """

    where: str
    what: str
    line: int
    column: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        where = self.where

        what = self.what

        line = self.line

        column = self.column

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "where": where,
                "what": what,
                "line": line,
                "column": column,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        where = d.pop("where")

        what = d.pop("what")

        line = d.pop("line")

        column = d.pop("column")

        policy_fault = cls(
            where=where,
            what=what,
            line=line,
            column=column,
        )

        policy_fault.additional_properties = d
        return policy_fault

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
