from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.policy_version import PolicyVersion


T = TypeVar("T", bound="PolicyOfList")


@_attrs_define
class PolicyOfList:
    """A list and the versions of its policy, the newest first.

    Attributes:
        list_ (str): * is the policy of all other lists.
        newest (int): 0: there is none.
        in_force (int | None):
        versions (list[PolicyVersion]):
    """

    list_: str
    newest: int
    in_force: int | None
    versions: list[PolicyVersion]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        list_ = self.list_

        newest = self.newest

        in_force: int | None
        in_force = self.in_force

        versions = []
        for versions_item_data in self.versions:
            versions_item = versions_item_data.to_dict()
            versions.append(versions_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "list": list_,
                "newest": newest,
                "in_force": in_force,
                "versions": versions,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.policy_version import PolicyVersion

        d = dict(src_dict)
        list_ = d.pop("list")

        newest = d.pop("newest")

        def _parse_in_force(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        in_force = _parse_in_force(d.pop("in_force"))

        versions = []
        _versions = d.pop("versions")
        for versions_item_data in _versions:
            versions_item = PolicyVersion.from_dict(versions_item_data)

            versions.append(versions_item)

        policy_of_list = cls(
            list_=list_,
            newest=newest,
            in_force=in_force,
            versions=versions,
        )

        policy_of_list.additional_properties = d
        return policy_of_list

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
