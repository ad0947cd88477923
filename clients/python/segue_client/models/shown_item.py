from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="ShownItem")


@_attrs_define
class ShownItem:
    """An item that was shown, at a place of a list; 1 is the first.

    Attributes:
        item_id (int | str): At most 256 bytes, no NUL.
        item_type (int | str): At most 256 bytes, no NUL.
        position (int):
    """

    item_id: int | str
    item_type: int | str
    position: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        item_id: int | str
        item_id = self.item_id

        item_type: int | str
        item_type = self.item_type

        position = self.position

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_id": item_id,
                "item_type": item_type,
                "position": position,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

        def _parse_item_id(data: object) -> int | str:
            return cast(int | str, data)

        item_id = _parse_item_id(d.pop("item_id"))

        def _parse_item_type(data: object) -> int | str:
            return cast(int | str, data)

        item_type = _parse_item_type(d.pop("item_type"))

        position = d.pop("position")

        shown_item = cls(
            item_id=item_id,
            item_type=item_type,
            position=position,
        )

        shown_item.additional_properties = d
        return shown_item

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
