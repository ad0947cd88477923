from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.user_attributes_type_0 import UserAttributesType0


T = TypeVar("T", bound="User")


@_attrs_define
class User:
    """What is known about a user besides events. Key: user_id. A null value or deleted removes it.

    attributes are values by name, for example {"plan": "premium"}, for policies.

        Attributes:
            user_id (int | str): At most 256 bytes, no NUL.
            country (None | str | Unset):
            birth_year (int | None | Unset):
            attributes (None | Unset | UserAttributesType0):
            deleted (bool | Unset):  Default: False.
    """

    user_id: int | str
    country: None | str | Unset = UNSET
    birth_year: int | None | Unset = UNSET
    attributes: None | Unset | UserAttributesType0 = UNSET
    deleted: bool | Unset = False
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.user_attributes_type_0 import UserAttributesType0

        user_id: int | str
        user_id = self.user_id

        country: None | str | Unset
        if isinstance(self.country, Unset):
            country = UNSET
        else:
            country = self.country

        birth_year: int | None | Unset
        if isinstance(self.birth_year, Unset):
            birth_year = UNSET
        else:
            birth_year = self.birth_year

        attributes: dict[str, Any] | None | Unset
        if isinstance(self.attributes, Unset):
            attributes = UNSET
        elif isinstance(self.attributes, UserAttributesType0):
            attributes = self.attributes.to_dict()
        else:
            attributes = self.attributes

        deleted = self.deleted

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "user_id": user_id,
            }
        )
        if country is not UNSET:
            field_dict["country"] = country
        if birth_year is not UNSET:
            field_dict["birth_year"] = birth_year
        if attributes is not UNSET:
            field_dict["attributes"] = attributes
        if deleted is not UNSET:
            field_dict["deleted"] = deleted

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.user_attributes_type_0 import UserAttributesType0

        d = dict(src_dict)

        def _parse_user_id(data: object) -> int | str:
            return cast(int | str, data)

        user_id = _parse_user_id(d.pop("user_id"))

        def _parse_country(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        country = _parse_country(d.pop("country", UNSET))

        def _parse_birth_year(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        birth_year = _parse_birth_year(d.pop("birth_year", UNSET))

        def _parse_attributes(data: object) -> None | Unset | UserAttributesType0:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                attributes_type_0 = UserAttributesType0.from_dict(data)

                return attributes_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Unset | UserAttributesType0, data)

        attributes = _parse_attributes(d.pop("attributes", UNSET))

        deleted = d.pop("deleted", UNSET)

        user = cls(
            user_id=user_id,
            country=country,
            birth_year=birth_year,
            attributes=attributes,
            deleted=deleted,
        )

        user.additional_properties = d
        return user

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
