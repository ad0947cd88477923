from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="EdgeBody")


@_attrs_define
class EdgeBody:
    """An edge to a neighbour, and where its weight comes from.

    Attributes:
        item_type (str):
        item_id (str):
        title (None | str):
        users (int): Users of both items inside the window.
        by_bucket (list[int]): The same users, by the bucket that counts them.
    """

    item_type: str
    item_id: str
    title: None | str
    users: int
    by_bucket: list[int]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        item_type = self.item_type

        item_id = self.item_id

        title: None | str
        title = self.title

        users = self.users

        by_bucket = self.by_bucket

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
                "title": title,
                "users": users,
                "by_bucket": by_bucket,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        item_type = d.pop("item_type")

        item_id = d.pop("item_id")

        def _parse_title(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        title = _parse_title(d.pop("title"))

        users = d.pop("users")

        by_bucket = cast(list[int], d.pop("by_bucket"))

        edge_body = cls(
            item_type=item_type,
            item_id=item_id,
            title=title,
            users=users,
            by_bucket=by_bucket,
        )

        edge_body.additional_properties = d
        return edge_body

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
