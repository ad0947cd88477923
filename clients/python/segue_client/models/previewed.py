from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.preview_of_user import PreviewOfUser
    from ..models.previewed_lists import PreviewedLists


T = TypeVar("T", bound="Previewed")


@_attrs_define
class Previewed:
    """Lists before and after a policy.

    Attributes:
        users (list[PreviewOfUser]):
        lists (PreviewedLists):
    """

    users: list[PreviewOfUser]
    lists: PreviewedLists
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        users = []
        for users_item_data in self.users:
            users_item = users_item_data.to_dict()
            users.append(users_item)

        lists = self.lists.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "users": users,
                "lists": lists,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.preview_of_user import PreviewOfUser
        from ..models.previewed_lists import PreviewedLists

        d = dict(src_dict)
        users = []
        _users = d.pop("users")
        for users_item_data in _users:
            users_item = PreviewOfUser.from_dict(users_item_data)

            users.append(users_item)

        lists = PreviewedLists.from_dict(d.pop("lists"))

        previewed = cls(
            users=users,
            lists=lists,
        )

        previewed.additional_properties = d
        return previewed

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
