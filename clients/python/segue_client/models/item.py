from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.item_attributes_type_0 import ItemAttributesType0


T = TypeVar("T", bound="Item")


@_attrs_define
class Item:
    """An entry of the catalogue. Key: item_type, NUL, item_id. A null value or deleted removes it.

    published_at is in ms UTC and negative before 1970; genres and language are plain names.
    attributes are the owner's own, for policies.

        Attributes:
            item_id (int | str): At most 256 bytes, no NUL.
            item_type (int | str): At most 256 bytes, no NUL.
            title (None | str | Unset):
            description (None | str | Unset):
            language (None | str | Unset):
            genres (list[str] | None | Unset):
            published_at (int | None | Unset):
            attributes (ItemAttributesType0 | None | Unset):
            deleted (bool | Unset):  Default: False.
    """

    item_id: int | str
    item_type: int | str
    title: None | str | Unset = UNSET
    description: None | str | Unset = UNSET
    language: None | str | Unset = UNSET
    genres: list[str] | None | Unset = UNSET
    published_at: int | None | Unset = UNSET
    attributes: ItemAttributesType0 | None | Unset = UNSET
    deleted: bool | Unset = False
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.item_attributes_type_0 import ItemAttributesType0

        item_id: int | str
        item_id = self.item_id

        item_type: int | str
        item_type = self.item_type

        title: None | str | Unset
        if isinstance(self.title, Unset):
            title = UNSET
        else:
            title = self.title

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        language: None | str | Unset
        if isinstance(self.language, Unset):
            language = UNSET
        else:
            language = self.language

        genres: list[str] | None | Unset
        if isinstance(self.genres, Unset):
            genres = UNSET
        elif isinstance(self.genres, list):
            genres = self.genres

        else:
            genres = self.genres

        published_at: int | None | Unset
        if isinstance(self.published_at, Unset):
            published_at = UNSET
        else:
            published_at = self.published_at

        attributes: dict[str, Any] | None | Unset
        if isinstance(self.attributes, Unset):
            attributes = UNSET
        elif isinstance(self.attributes, ItemAttributesType0):
            attributes = self.attributes.to_dict()
        else:
            attributes = self.attributes

        deleted = self.deleted

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_id": item_id,
                "item_type": item_type,
            }
        )
        if title is not UNSET:
            field_dict["title"] = title
        if description is not UNSET:
            field_dict["description"] = description
        if language is not UNSET:
            field_dict["language"] = language
        if genres is not UNSET:
            field_dict["genres"] = genres
        if published_at is not UNSET:
            field_dict["published_at"] = published_at
        if attributes is not UNSET:
            field_dict["attributes"] = attributes
        if deleted is not UNSET:
            field_dict["deleted"] = deleted

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.item_attributes_type_0 import ItemAttributesType0

        d = dict(src_dict)

        def _parse_item_id(data: object) -> int | str:
            return cast(int | str, data)

        item_id = _parse_item_id(d.pop("item_id"))

        def _parse_item_type(data: object) -> int | str:
            return cast(int | str, data)

        item_type = _parse_item_type(d.pop("item_type"))

        def _parse_title(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        title = _parse_title(d.pop("title", UNSET))

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        def _parse_language(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        language = _parse_language(d.pop("language", UNSET))

        def _parse_genres(data: object) -> list[str] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                genres_type_0 = cast(list[str], data)

                return genres_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None | Unset, data)

        genres = _parse_genres(d.pop("genres", UNSET))

        def _parse_published_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        published_at = _parse_published_at(d.pop("published_at", UNSET))

        def _parse_attributes(data: object) -> ItemAttributesType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                attributes_type_0 = ItemAttributesType0.from_dict(data)

                return attributes_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ItemAttributesType0 | None | Unset, data)

        attributes = _parse_attributes(d.pop("attributes", UNSET))

        deleted = d.pop("deleted", UNSET)

        item = cls(
            item_id=item_id,
            item_type=item_type,
            title=title,
            description=description,
            language=language,
            genres=genres,
            published_at=published_at,
            attributes=attributes,
            deleted=deleted,
        )

        item.additional_properties = d
        return item

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
