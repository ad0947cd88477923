from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="NearBody")


@_attrs_define
class NearBody:
    """An item of the history that is close to a recommended one.

    Attributes:
        item_type (str):
        item_id (str):
        cosine (float): Of the vectors of both, at most 1.
    """

    item_type: str
    item_id: str
    cosine: float
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        item_type = self.item_type

        item_id = self.item_id

        cosine = self.cosine

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
                "cosine": cosine,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        item_type = d.pop("item_type")

        item_id = d.pop("item_id")

        cosine = d.pop("cosine")

        near_body = cls(
            item_type=item_type,
            item_id=item_id,
            cosine=cosine,
        )

        near_body.additional_properties = d
        return near_body

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
