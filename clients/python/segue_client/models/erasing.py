from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.place import Place


T = TypeVar("T", bound="Erasing")


@_attrs_define
class Erasing:
    """The records of an erasure. It is done when there is a receipt.

    Attributes:
        events (Place): The place of a record in the log.
        users (Place): The place of a record in the log.
        receipt (str): Path of the receipt.
    """

    events: Place
    users: Place
    receipt: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        events = self.events.to_dict()

        users = self.users.to_dict()

        receipt = self.receipt

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "events": events,
                "users": users,
                "receipt": receipt,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.place import Place

        d = dict(src_dict)
        events = Place.from_dict(d.pop("events"))

        users = Place.from_dict(d.pop("users"))

        receipt = d.pop("receipt")

        erasing = cls(
            events=events,
            users=users,
            receipt=receipt,
        )

        erasing.additional_properties = d
        return erasing

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
