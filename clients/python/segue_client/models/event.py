from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.context import Context


T = TypeVar("T", bound="Event")


@_attrs_define
class Event:
    """A user did something with an item. Key: user_id. A null value erases the user.

    context: of the lists that are written because of the event.

        Attributes:
            user_id (int | str): At most 256 bytes, no NUL.
            item_id (int | str): At most 256 bytes, no NUL.
            item_type (int | str): At most 256 bytes, no NUL.
            kind (str): At most 256 bytes, no NUL.
            timestamp (int): Milliseconds since 1970, UTC.
            context (Context | None | Unset):
    """

    user_id: int | str
    item_id: int | str
    item_type: int | str
    kind: str
    timestamp: int
    context: Context | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.context import Context

        user_id: int | str
        user_id = self.user_id

        item_id: int | str
        item_id = self.item_id

        item_type: int | str
        item_type = self.item_type

        kind = self.kind

        timestamp = self.timestamp

        context: dict[str, Any] | None | Unset
        if isinstance(self.context, Unset):
            context = UNSET
        elif isinstance(self.context, Context):
            context = self.context.to_dict()
        else:
            context = self.context

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "user_id": user_id,
                "item_id": item_id,
                "item_type": item_type,
                "kind": kind,
                "timestamp": timestamp,
            }
        )
        if context is not UNSET:
            field_dict["context"] = context

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.context import Context

        d = dict(src_dict)

        def _parse_user_id(data: object) -> int | str:
            return cast(int | str, data)

        user_id = _parse_user_id(d.pop("user_id"))

        def _parse_item_id(data: object) -> int | str:
            return cast(int | str, data)

        item_id = _parse_item_id(d.pop("item_id"))

        def _parse_item_type(data: object) -> int | str:
            return cast(int | str, data)

        item_type = _parse_item_type(d.pop("item_type"))

        kind = d.pop("kind")

        timestamp = d.pop("timestamp")

        def _parse_context(data: object) -> Context | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                context_type_0 = Context.from_dict(data)

                return context_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(Context | None | Unset, data)

        context = _parse_context(d.pop("context", UNSET))

        event = cls(
            user_id=user_id,
            item_id=item_id,
            item_type=item_type,
            kind=kind,
            timestamp=timestamp,
            context=context,
        )

        event.additional_properties = d
        return event

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
