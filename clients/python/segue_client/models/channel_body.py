from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.arm_body import ArmBody


T = TypeVar("T", bound="ChannelBody")


@_attrs_define
class ChannelBody:
    """What a channel serves, and to which users.

    Attributes:
        channel (str):
        arms (list[ArmBody]): None: all users have the default channel.
        served (None | str): Name of the bundle.
        generation (int | None):
        lacks_bundle (bool): It has no bundle that can be served, and serves that of the default channel.
        pinned (None | str): Name of the pinned bundle.
        newest (None | str): Newest bundle of the channel's trainer.
        before (None | str): Target of a rollback, if it is complete.
    """

    channel: str
    arms: list[ArmBody]
    served: None | str
    generation: int | None
    lacks_bundle: bool
    pinned: None | str
    newest: None | str
    before: None | str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        channel = self.channel

        arms = []
        for arms_item_data in self.arms:
            arms_item = arms_item_data.to_dict()
            arms.append(arms_item)

        served: None | str
        served = self.served

        generation: int | None
        generation = self.generation

        lacks_bundle = self.lacks_bundle

        pinned: None | str
        pinned = self.pinned

        newest: None | str
        newest = self.newest

        before: None | str
        before = self.before

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "channel": channel,
                "arms": arms,
                "served": served,
                "generation": generation,
                "lacks_bundle": lacks_bundle,
                "pinned": pinned,
                "newest": newest,
                "before": before,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.arm_body import ArmBody

        d = dict(src_dict)
        channel = d.pop("channel")

        arms = []
        _arms = d.pop("arms")
        for arms_item_data in _arms:
            arms_item = ArmBody.from_dict(arms_item_data)

            arms.append(arms_item)

        def _parse_served(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        served = _parse_served(d.pop("served"))

        def _parse_generation(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        generation = _parse_generation(d.pop("generation"))

        lacks_bundle = d.pop("lacks_bundle")

        def _parse_pinned(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        pinned = _parse_pinned(d.pop("pinned"))

        def _parse_newest(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        newest = _parse_newest(d.pop("newest"))

        def _parse_before(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        before = _parse_before(d.pop("before"))

        channel_body = cls(
            channel=channel,
            arms=arms,
            served=served,
            generation=generation,
            lacks_bundle=lacks_bundle,
            pinned=pinned,
            newest=newest,
            before=before,
        )

        channel_body.additional_properties = d
        return channel_body

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
