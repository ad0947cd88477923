from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.why_body import WhyBody


T = TypeVar("T", bound="RecommendedBody")


@_attrs_define
class RecommendedBody:
    """A place in a list.

    Attributes:
        item_type (str):
        item_id (str):
        score (float): Greater is better; comparable within one list.
        title (None | str | Unset):
        why (None | Unset | WhyBody): With `explain`.
    """

    item_type: str
    item_id: str
    score: float
    title: None | str | Unset = UNSET
    why: None | Unset | WhyBody = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.why_body import WhyBody

        item_type = self.item_type

        item_id = self.item_id

        score = self.score

        title: None | str | Unset
        if isinstance(self.title, Unset):
            title = UNSET
        else:
            title = self.title

        why: dict[str, Any] | None | Unset
        if isinstance(self.why, Unset):
            why = UNSET
        elif isinstance(self.why, WhyBody):
            why = self.why.to_dict()
        else:
            why = self.why

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
                "score": score,
            }
        )
        if title is not UNSET:
            field_dict["title"] = title
        if why is not UNSET:
            field_dict["why"] = why

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.why_body import WhyBody

        d = dict(src_dict)
        item_type = d.pop("item_type")

        item_id = d.pop("item_id")

        score = d.pop("score")

        def _parse_title(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        title = _parse_title(d.pop("title", UNSET))

        def _parse_why(data: object) -> None | Unset | WhyBody:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                why_type_0 = WhyBody.from_dict(data)

                return why_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Unset | WhyBody, data)

        why = _parse_why(d.pop("why", UNSET))

        recommended_body = cls(
            item_type=item_type,
            item_id=item_id,
            score=score,
            title=title,
            why=why,
        )

        recommended_body.additional_properties = d
        return recommended_body

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
