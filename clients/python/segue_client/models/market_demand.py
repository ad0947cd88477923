from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="MarketDemand")


@_attrs_define
class MarketDemand:
    """Events of an item from one market.

    Attributes:
        market (int | None): Its number; 0: no country is known; null: all others.
        countries (list[str]): Countries in it that users are known to be from.
        events (list[int]): By bucket.
    """

    market: int | None
    countries: list[str]
    events: list[int]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        market: int | None
        market = self.market

        countries = self.countries

        events = self.events

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "market": market,
                "countries": countries,
                "events": events,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

        def _parse_market(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        market = _parse_market(d.pop("market"))

        countries = cast(list[str], d.pop("countries"))

        events = cast(list[int], d.pop("events"))

        market_demand = cls(
            market=market,
            countries=countries,
            events=events,
        )

        market_demand.additional_properties = d
        return market_demand

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
