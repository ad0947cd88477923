from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.place import Place


T = TypeVar("T", bound="RolledBack")


@_attrs_define
class RolledBack:
    """The result of a rollback.

    Attributes:
        record (Place): The place of a record in the log.
        instead_of (str): The bundle that was served.
        pinned (str): The one before it.
    """

    record: Place
    instead_of: str
    pinned: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        record = self.record.to_dict()

        instead_of = self.instead_of

        pinned = self.pinned

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "record": record,
                "instead_of": instead_of,
                "pinned": pinned,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.place import Place

        d = dict(src_dict)
        record = Place.from_dict(d.pop("record"))

        instead_of = d.pop("instead_of")

        pinned = d.pop("pinned")

        rolled_back = cls(
            record=record,
            instead_of=instead_of,
            pinned=pinned,
        )

        rolled_back.additional_properties = d
        return rolled_back

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
