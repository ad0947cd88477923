from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="Seen")


@_attrs_define
class Seen:
    """An item of a session.

    Attributes:
        item_type (int | str):
        item_id (int | str):
        timestamp (int | None | Unset): When, in ms UTC; none: now.
        strong (bool | Unset): True for a strong event, such as a stream. Default: True.
    """

    item_type: int | str
    item_id: int | str
    timestamp: int | None | Unset = UNSET
    strong: bool | Unset = True

    def to_dict(self) -> dict[str, Any]:
        item_type: int | str
        item_type = self.item_type

        item_id: int | str
        item_id = self.item_id

        timestamp: int | None | Unset
        if isinstance(self.timestamp, Unset):
            timestamp = UNSET
        else:
            timestamp = self.timestamp

        strong = self.strong

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
            }
        )
        if timestamp is not UNSET:
            field_dict["timestamp"] = timestamp
        if strong is not UNSET:
            field_dict["strong"] = strong

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

        def _parse_item_type(data: object) -> int | str:
            return cast(int | str, data)

        item_type = _parse_item_type(d.pop("item_type"))

        def _parse_item_id(data: object) -> int | str:
            return cast(int | str, data)

        item_id = _parse_item_id(d.pop("item_id"))

        def _parse_timestamp(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        timestamp = _parse_timestamp(d.pop("timestamp", UNSET))

        strong = d.pop("strong", UNSET)

        seen = cls(
            item_type=item_type,
            item_id=item_id,
            timestamp=timestamp,
            strong=strong,
        )

        return seen
