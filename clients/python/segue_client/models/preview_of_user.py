from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.preview_of_user_lists import PreviewOfUserLists


T = TypeVar("T", bound="PreviewOfUser")


@_attrs_define
class PreviewOfUser:
    """Lists of a user by name.

    Attributes:
        user_id (str):
        lists (PreviewOfUserLists):
    """

    user_id: str
    lists: PreviewOfUserLists
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        user_id = self.user_id

        lists = self.lists.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "user_id": user_id,
                "lists": lists,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.preview_of_user_lists import PreviewOfUserLists

        d = dict(src_dict)
        user_id = d.pop("user_id")

        lists = PreviewOfUserLists.from_dict(d.pop("lists"))

        preview_of_user = cls(
            user_id=user_id,
            lists=lists,
        )

        preview_of_user.additional_properties = d
        return preview_of_user

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
