from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="HistoryEntry")


@_attrs_define
class HistoryEntry:
    """What a user had.

    Attributes:
        item_type (str):
        item_id (str):
        title (str):
        time (int): Of the latest event, ms UTC.
        strong_time (int | None): Of the latest strong one.
        visits (list[int]): Buckets with an event, counted back from the latest.
    """

    item_type: str
    item_id: str
    title: str
    time: int
    strong_time: int | None
    visits: list[int]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        item_type = self.item_type

        item_id = self.item_id

        title = self.title

        time = self.time

        strong_time: int | None
        strong_time = self.strong_time

        visits = self.visits

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
                "title": title,
                "time": time,
                "strong_time": strong_time,
                "visits": visits,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        item_type = d.pop("item_type")

        item_id = d.pop("item_id")

        title = d.pop("title")

        time = d.pop("time")

        def _parse_strong_time(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        strong_time = _parse_strong_time(d.pop("strong_time"))

        visits = cast(list[int], d.pop("visits"))

        history_entry = cls(
            item_type=item_type,
            item_id=item_id,
            title=title,
            time=time,
            strong_time=strong_time,
            visits=visits,
        )

        history_entry.additional_properties = d
        return history_entry

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
