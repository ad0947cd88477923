from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.market_demand import MarketDemand


T = TypeVar("T", bound="ItemDemand")


@_attrs_define
class ItemDemand:
    """Demand for an item by bucket of the window, oldest first.

    Attributes:
        item_type (str):
        item_id (str):
        bucket_ms (int):
        starts (list[int]): Of each bucket, ms UTC.
        events (list[int]): In each bucket, of all markets.
        markets (list[MarketDemand]): Those with the most events first.
    """

    item_type: str
    item_id: str
    bucket_ms: int
    starts: list[int]
    events: list[int]
    markets: list[MarketDemand]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        item_type = self.item_type

        item_id = self.item_id

        bucket_ms = self.bucket_ms

        starts = self.starts

        events = self.events

        markets = []
        for markets_item_data in self.markets:
            markets_item = markets_item_data.to_dict()
            markets.append(markets_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
                "bucket_ms": bucket_ms,
                "starts": starts,
                "events": events,
                "markets": markets,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.market_demand import MarketDemand

        d = dict(src_dict)
        item_type = d.pop("item_type")

        item_id = d.pop("item_id")

        bucket_ms = d.pop("bucket_ms")

        starts = cast(list[int], d.pop("starts"))

        events = cast(list[int], d.pop("events"))

        markets = []
        _markets = d.pop("markets")
        for markets_item_data in _markets:
            markets_item = MarketDemand.from_dict(markets_item_data)

            markets.append(markets_item)

        item_demand = cls(
            item_type=item_type,
            item_id=item_id,
            bucket_ms=bucket_ms,
            starts=starts,
            events=events,
            markets=markets,
        )

        item_demand.additional_properties = d
        return item_demand

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
