from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.place import Place
    from ..models.row_error import RowError


T = TypeVar("T", bound="Accepted")


@_attrs_define
class Accepted:
    """Records that the log has, and those that were refused.

    Attributes:
        accepted (int): Records that are in the log.
        ignored (int): Events of an ignored kind; they are not written.
        rejected (int): Records that were refused.
        errors (list[RowError]):
        positions (list[Place]): The last record in each partition.
        at_least (list[str]): The same, for `at_least` of a list that must include the records.
    """

    accepted: int
    ignored: int
    rejected: int
    errors: list[RowError]
    positions: list[Place]
    at_least: list[str]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        accepted = self.accepted

        ignored = self.ignored

        rejected = self.rejected

        errors = []
        for errors_item_data in self.errors:
            errors_item = errors_item_data.to_dict()
            errors.append(errors_item)

        positions = []
        for positions_item_data in self.positions:
            positions_item = positions_item_data.to_dict()
            positions.append(positions_item)

        at_least = self.at_least

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "accepted": accepted,
                "ignored": ignored,
                "rejected": rejected,
                "errors": errors,
                "positions": positions,
                "at_least": at_least,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.place import Place
        from ..models.row_error import RowError

        d = dict(src_dict)
        accepted = d.pop("accepted")

        ignored = d.pop("ignored")

        rejected = d.pop("rejected")

        errors = []
        _errors = d.pop("errors")
        for errors_item_data in _errors:
            errors_item = RowError.from_dict(errors_item_data)

            errors.append(errors_item)

        positions = []
        _positions = d.pop("positions")
        for positions_item_data in _positions:
            positions_item = Place.from_dict(positions_item_data)

            positions.append(positions_item)

        at_least = cast(list[str], d.pop("at_least"))

        accepted = cls(
            accepted=accepted,
            ignored=ignored,
            rejected=rejected,
            errors=errors,
            positions=positions,
            at_least=at_least,
        )

        accepted.additional_properties = d
        return accepted

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
