from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define

T = TypeVar("T", bound="ItemRef")


@_attrs_define
class ItemRef:
    """An item by type and id: ids are unique within a type only.

    Attributes:
        item_type (int | str):
        item_id (int | str):
    """

    item_type: int | str
    item_id: int | str

    def to_dict(self) -> dict[str, Any]:
        item_type: int | str
        item_type = self.item_type

        item_id: int | str
        item_id = self.item_id

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

        def _parse_item_type(data: object) -> int | str:
            return cast(int | str, data)

        item_type = _parse_item_type(d.pop("item_type"))

        def _parse_item_id(data: object) -> int | str:
            return cast(int | str, data)

        item_id = _parse_item_id(d.pop("item_id"))

        item_ref = cls(
            item_type=item_type,
            item_id=item_id,
        )

        return item_ref
