from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.filtered_body import FilteredBody
    from ..models.list_body_positions import ListBodyPositions
    from ..models.recommended_body import RecommendedBody


T = TypeVar("T", bound="ListBody")


@_attrs_define
class ListBody:
    """A part of a list, best first.

    Attributes:
        generation (int): Generation of the bundle that made it.
        items (list[RecommendedBody]):
        filtered (FilteredBody | None | Unset): With `explain`, if the list's policy has a filter.
        next_page (None | str | Unset): For `page`; none at the end, after 500 places at most.
        continued (bool | Unset): False: the user or the model changed since the page before; items may repeat. Default:
            True.
        cold (bool | None | Unset): Whether the model knows no item of the history.
        partition (int | None | Unset): Partition of the user's events.
        position (int | None | Unset): Every event of the partition below this offset of `topic` is in the list.
        topic (None | str | Unset): Topic of `position`: of the events, or of a source in place.
        positions (ListBodyPositions | Unset): The same for every topic of events, by name.
    """

    generation: int
    items: list[RecommendedBody]
    filtered: FilteredBody | None | Unset = UNSET
    next_page: None | str | Unset = UNSET
    continued: bool | Unset = True
    cold: bool | None | Unset = UNSET
    partition: int | None | Unset = UNSET
    position: int | None | Unset = UNSET
    topic: None | str | Unset = UNSET
    positions: ListBodyPositions | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.filtered_body import FilteredBody

        generation = self.generation

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        filtered: dict[str, Any] | None | Unset
        if isinstance(self.filtered, Unset):
            filtered = UNSET
        elif isinstance(self.filtered, FilteredBody):
            filtered = self.filtered.to_dict()
        else:
            filtered = self.filtered

        next_page: None | str | Unset
        if isinstance(self.next_page, Unset):
            next_page = UNSET
        else:
            next_page = self.next_page

        continued = self.continued

        cold: bool | None | Unset
        if isinstance(self.cold, Unset):
            cold = UNSET
        else:
            cold = self.cold

        partition: int | None | Unset
        if isinstance(self.partition, Unset):
            partition = UNSET
        else:
            partition = self.partition

        position: int | None | Unset
        if isinstance(self.position, Unset):
            position = UNSET
        else:
            position = self.position

        topic: None | str | Unset
        if isinstance(self.topic, Unset):
            topic = UNSET
        else:
            topic = self.topic

        positions: dict[str, Any] | Unset = UNSET
        if not isinstance(self.positions, Unset):
            positions = self.positions.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "generation": generation,
                "items": items,
            }
        )
        if filtered is not UNSET:
            field_dict["filtered"] = filtered
        if next_page is not UNSET:
            field_dict["next_page"] = next_page
        if continued is not UNSET:
            field_dict["continued"] = continued
        if cold is not UNSET:
            field_dict["cold"] = cold
        if partition is not UNSET:
            field_dict["partition"] = partition
        if position is not UNSET:
            field_dict["position"] = position
        if topic is not UNSET:
            field_dict["topic"] = topic
        if positions is not UNSET:
            field_dict["positions"] = positions

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.filtered_body import FilteredBody
        from ..models.list_body_positions import ListBodyPositions
        from ..models.recommended_body import RecommendedBody

        d = dict(src_dict)
        generation = d.pop("generation")

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = RecommendedBody.from_dict(items_item_data)

            items.append(items_item)

        def _parse_filtered(data: object) -> FilteredBody | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                filtered_type_0 = FilteredBody.from_dict(data)

                return filtered_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(FilteredBody | None | Unset, data)

        filtered = _parse_filtered(d.pop("filtered", UNSET))

        def _parse_next_page(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        next_page = _parse_next_page(d.pop("next_page", UNSET))

        continued = d.pop("continued", UNSET)

        def _parse_cold(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        cold = _parse_cold(d.pop("cold", UNSET))

        def _parse_partition(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        partition = _parse_partition(d.pop("partition", UNSET))

        def _parse_position(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        position = _parse_position(d.pop("position", UNSET))

        def _parse_topic(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        topic = _parse_topic(d.pop("topic", UNSET))

        _positions = d.pop("positions", UNSET)
        positions: ListBodyPositions | Unset
        if isinstance(_positions, Unset):
            positions = UNSET
        else:
            positions = ListBodyPositions.from_dict(_positions)

        list_body = cls(
            generation=generation,
            items=items,
            filtered=filtered,
            next_page=next_page,
            continued=continued,
            cold=cold,
            partition=partition,
            position=position,
            topic=topic,
            positions=positions,
        )

        list_body.additional_properties = d
        return list_body

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
