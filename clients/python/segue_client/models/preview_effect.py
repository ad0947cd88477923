from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.preview_change import PreviewChange


T = TypeVar("T", bound="PreviewEffect")


@_attrs_define
class PreviewEffect:
    """What a policy does to a list's quality, on held-out questions, one of each user.

    The answer is the item that the user took last; the list is made as of just before.

        Attributes:
            questions (int):
            hr_at_10 (PreviewChange): A figure before and after a policy, and an interval of 95 %, by user, of the
                difference.
            coverage (PreviewChange): A figure before and after a policy, and an interval of 95 %, by user, of the
                difference.
            diversity (None | PreviewChange): Mean distance, 1 - cosine, of the pairs of a list; null: no list has a pair.
    """

    questions: int
    hr_at_10: PreviewChange
    coverage: PreviewChange
    diversity: None | PreviewChange
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.preview_change import PreviewChange

        questions = self.questions

        hr_at_10 = self.hr_at_10.to_dict()

        coverage = self.coverage.to_dict()

        diversity: dict[str, Any] | None
        if isinstance(self.diversity, PreviewChange):
            diversity = self.diversity.to_dict()
        else:
            diversity = self.diversity

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "questions": questions,
                "hr_at_10": hr_at_10,
                "coverage": coverage,
                "diversity": diversity,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.preview_change import PreviewChange

        d = dict(src_dict)
        questions = d.pop("questions")

        hr_at_10 = PreviewChange.from_dict(d.pop("hr_at_10"))

        coverage = PreviewChange.from_dict(d.pop("coverage"))

        def _parse_diversity(data: object) -> None | PreviewChange:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                diversity_type_0 = PreviewChange.from_dict(data)

                return diversity_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PreviewChange, data)

        diversity = _parse_diversity(d.pop("diversity"))

        preview_effect = cls(
            questions=questions,
            hr_at_10=hr_at_10,
            coverage=coverage,
            diversity=diversity,
        )

        preview_effect.additional_properties = d
        return preview_effect

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
