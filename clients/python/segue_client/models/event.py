from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="Event")


@_attrs_define
class Event:
    """A user did something with an item. Key: user_id. A null value erases the user.

    Attributes:
        user_id (int | str): At most 256 bytes, no NUL.
        item_id (int | str): At most 256 bytes, no NUL.
        item_type (int | str): At most 256 bytes, no NUL.
        kind (str): At most 256 bytes, no NUL.
        timestamp (int): Milliseconds since 1970, UTC.
    """

    user_id: int | str
    item_id: int | str
    item_type: int | str
    kind: str
    timestamp: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        user_id: int | str
        user_id = self.user_id

        item_id: int | str
        item_id = self.item_id

        item_type: int | str
        item_type = self.item_type

        kind = self.kind

        timestamp = self.timestamp

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "user_id": user_id,
                "item_id": item_id,
                "item_type": item_type,
                "kind": kind,
                "timestamp": timestamp,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

        def _parse_user_id(data: object) -> int | str:
            return cast(int | str, data)

        user_id = _parse_user_id(d.pop("user_id"))

        def _parse_item_id(data: object) -> int | str:
            return cast(int | str, data)

        item_id = _parse_item_id(d.pop("item_id"))

        def _parse_item_type(data: object) -> int | str:
            return cast(int | str, data)

        item_type = _parse_item_type(d.pop("item_type"))

        kind = d.pop("kind")

        timestamp = d.pop("timestamp")

        event = cls(
            user_id=user_id,
            item_id=item_id,
            item_type=item_type,
            kind=kind,
            timestamp=timestamp,
        )

        event.additional_properties = d
        return event

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
