from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.preview_effect import PreviewEffect


T = TypeVar("T", bound="PreviewOfList")


@_attrs_define
class PreviewOfList:
    """What a policy does to a list of all users of a preview.

    Attributes:
        short_before (int): Lists with fewer items than they may have.
        short_after (int):
        changed (float): Share of the items that changed.
        effect (None | PreviewEffect): null: no user took an item of the list's types recently.
    """

    short_before: int
    short_after: int
    changed: float
    effect: None | PreviewEffect
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.preview_effect import PreviewEffect

        short_before = self.short_before

        short_after = self.short_after

        changed = self.changed

        effect: dict[str, Any] | None
        if isinstance(self.effect, PreviewEffect):
            effect = self.effect.to_dict()
        else:
            effect = self.effect

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "short_before": short_before,
                "short_after": short_after,
                "changed": changed,
                "effect": effect,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.preview_effect import PreviewEffect

        d = dict(src_dict)
        short_before = d.pop("short_before")

        short_after = d.pop("short_after")

        changed = d.pop("changed")

        def _parse_effect(data: object) -> None | PreviewEffect:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                effect_type_0 = PreviewEffect.from_dict(data)

                return effect_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PreviewEffect, data)

        effect = _parse_effect(d.pop("effect"))

        preview_of_list = cls(
            short_before=short_before,
            short_after=short_after,
            changed=changed,
            effect=effect,
        )

        preview_of_list.additional_properties = d
        return preview_of_list

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
