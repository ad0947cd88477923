from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.edge_body import EdgeBody


T = TypeVar("T", bound="ItemEdges")


@_attrs_define
class ItemEdges:
    """Edges of an item by bucket of the window, oldest first.

    Attributes:
        item_type (str):
        item_id (str):
        bucket_ms (int):
        starts (list[int]): Of each bucket, ms UTC.
        neighbours (list[EdgeBody]):
    """

    item_type: str
    item_id: str
    bucket_ms: int
    starts: list[int]
    neighbours: list[EdgeBody]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        item_type = self.item_type

        item_id = self.item_id

        bucket_ms = self.bucket_ms

        starts = self.starts

        neighbours = []
        for neighbours_item_data in self.neighbours:
            neighbours_item = neighbours_item_data.to_dict()
            neighbours.append(neighbours_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
                "bucket_ms": bucket_ms,
                "starts": starts,
                "neighbours": neighbours,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.edge_body import EdgeBody

        d = dict(src_dict)
        item_type = d.pop("item_type")

        item_id = d.pop("item_id")

        bucket_ms = d.pop("bucket_ms")

        starts = cast(list[int], d.pop("starts"))

        neighbours = []
        _neighbours = d.pop("neighbours")
        for neighbours_item_data in _neighbours:
            neighbours_item = EdgeBody.from_dict(neighbours_item_data)

            neighbours.append(neighbours_item)

        item_edges = cls(
            item_type=item_type,
            item_id=item_id,
            bucket_ms=bucket_ms,
            starts=starts,
            neighbours=neighbours,
        )

        item_edges.additional_properties = d
        return item_edges

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
