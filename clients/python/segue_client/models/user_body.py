from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.history_entry import HistoryEntry
    from ..models.user_body_attributes import UserBodyAttributes
    from ..models.user_body_positions import UserBodyPositions


T = TypeVar("T", bound="UserBody")


@_attrs_define
class UserBody:
    """What is known of a user.

    Attributes:
        user_id (str):
        partition (int):
        position (int): Next offset of `topic` that is not applied.
        topic (str): The topic of events, or of a source in place.
        positions (UserBodyPositions): The same for every topic of events, by name.
        attributes (UserBodyAttributes):
        entries (int):
        history (list[HistoryEntry]):
    """

    user_id: str
    partition: int
    position: int
    topic: str
    positions: UserBodyPositions
    attributes: UserBodyAttributes
    entries: int
    history: list[HistoryEntry]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        user_id = self.user_id

        partition = self.partition

        position = self.position

        topic = self.topic

        positions = self.positions.to_dict()

        attributes = self.attributes.to_dict()

        entries = self.entries

        history = []
        for history_item_data in self.history:
            history_item = history_item_data.to_dict()
            history.append(history_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "user_id": user_id,
                "partition": partition,
                "position": position,
                "topic": topic,
                "positions": positions,
                "attributes": attributes,
                "entries": entries,
                "history": history,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.history_entry import HistoryEntry
        from ..models.user_body_attributes import UserBodyAttributes
        from ..models.user_body_positions import UserBodyPositions

        d = dict(src_dict)
        user_id = d.pop("user_id")

        partition = d.pop("partition")

        position = d.pop("position")

        topic = d.pop("topic")

        positions = UserBodyPositions.from_dict(d.pop("positions"))

        attributes = UserBodyAttributes.from_dict(d.pop("attributes"))

        entries = d.pop("entries")

        history = []
        _history = d.pop("history")
        for history_item_data in _history:
            history_item = HistoryEntry.from_dict(history_item_data)

            history.append(history_item)

        user_body = cls(
            user_id=user_id,
            partition=partition,
            position=position,
            topic=topic,
            positions=positions,
            attributes=attributes,
            entries=entries,
            history=history,
        )

        user_body.additional_properties = d
        return user_body

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
