from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.shown_item import ShownItem


T = TypeVar("T", bound="Impression")


@_attrs_define
class Impression:
    """Items were shown to a user. Key: user_id.

    list_id names the list that was shown: as in the settings, and behind it, after a slash, an
    optional id of the request. Click-through is counted by the name of the list.

        Attributes:
            user_id (int | str): At most 256 bytes, no NUL.
            items (list[ShownItem]):
            timestamp (int): Milliseconds since 1970, UTC.
            list_id (None | str | Unset):
    """

    user_id: int | str
    items: list[ShownItem]
    timestamp: int
    list_id: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        user_id: int | str
        user_id = self.user_id

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        timestamp = self.timestamp

        list_id: None | str | Unset
        if isinstance(self.list_id, Unset):
            list_id = UNSET
        else:
            list_id = self.list_id

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "user_id": user_id,
                "items": items,
                "timestamp": timestamp,
            }
        )
        if list_id is not UNSET:
            field_dict["list_id"] = list_id

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.shown_item import ShownItem

        d = dict(src_dict)

        def _parse_user_id(data: object) -> int | str:
            return cast(int | str, data)

        user_id = _parse_user_id(d.pop("user_id"))

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = ShownItem.from_dict(items_item_data)

            items.append(items_item)

        timestamp = d.pop("timestamp")

        def _parse_list_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        list_id = _parse_list_id(d.pop("list_id", UNSET))

        impression = cls(
            user_id=user_id,
            items=items,
            timestamp=timestamp,
            list_id=list_id,
        )

        impression.additional_properties = d
        return impression

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
