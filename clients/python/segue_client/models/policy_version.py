from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="PolicyVersion")


@_attrs_define
class PolicyVersion:
    """A version of a list's policy.

    Attributes:
        version (int):
        author (str):
        comment (str):
        created_at (int):
        text (str): TOML; empty where this version cannot be read here.
        in_force (bool):
        fault (None | str): Why workers refuse it.
    """

    version: int
    author: str
    comment: str
    created_at: int
    text: str
    in_force: bool
    fault: None | str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        version = self.version

        author = self.author

        comment = self.comment

        created_at = self.created_at

        text = self.text

        in_force = self.in_force

        fault: None | str
        fault = self.fault

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "version": version,
                "author": author,
                "comment": comment,
                "created_at": created_at,
                "text": text,
                "in_force": in_force,
                "fault": fault,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        version = d.pop("version")

        author = d.pop("author")

        comment = d.pop("comment")

        created_at = d.pop("created_at")

        text = d.pop("text")

        in_force = d.pop("in_force")

        def _parse_fault(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        fault = _parse_fault(d.pop("fault"))

        policy_version = cls(
            version=version,
            author=author,
            comment=comment,
            created_at=created_at,
            text=text,
            in_force=in_force,
            fault=fault,
        )

        policy_version.additional_properties = d
        return policy_version

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
