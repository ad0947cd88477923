from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.item_body_catalogue_type_0 import ItemBodyCatalogueType0
    from ..models.neighbour_body import NeighbourBody


T = TypeVar("T", bound="ItemBody")


@_attrs_define
class ItemBody:
    """What is known of an item.

    Attributes:
        item_type (str):
        item_id (str):
        catalogue (ItemBodyCatalogueType0 | None):
        recommendable (bool): Whether lists can hold it: it is not deleted, and the bundle has its vector.
        users (int): Number of users who had it inside the window.
        neighbours (list[NeighbourBody]):
    """

    item_type: str
    item_id: str
    catalogue: ItemBodyCatalogueType0 | None
    recommendable: bool
    users: int
    neighbours: list[NeighbourBody]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.item_body_catalogue_type_0 import ItemBodyCatalogueType0

        item_type = self.item_type

        item_id = self.item_id

        catalogue: dict[str, Any] | None
        if isinstance(self.catalogue, ItemBodyCatalogueType0):
            catalogue = self.catalogue.to_dict()
        else:
            catalogue = self.catalogue

        recommendable = self.recommendable

        users = self.users

        neighbours = []
        for neighbours_item_data in self.neighbours:
            neighbours_item = neighbours_item_data.to_dict()
            neighbours.append(neighbours_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "item_type": item_type,
                "item_id": item_id,
                "catalogue": catalogue,
                "recommendable": recommendable,
                "users": users,
                "neighbours": neighbours,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.item_body_catalogue_type_0 import ItemBodyCatalogueType0
        from ..models.neighbour_body import NeighbourBody

        d = dict(src_dict)
        item_type = d.pop("item_type")

        item_id = d.pop("item_id")

        def _parse_catalogue(data: object) -> ItemBodyCatalogueType0 | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                catalogue_type_0 = ItemBodyCatalogueType0.from_dict(data)

                return catalogue_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ItemBodyCatalogueType0 | None, data)

        catalogue = _parse_catalogue(d.pop("catalogue"))

        recommendable = d.pop("recommendable")

        users = d.pop("users")

        neighbours = []
        _neighbours = d.pop("neighbours")
        for neighbours_item_data in _neighbours:
            neighbours_item = NeighbourBody.from_dict(neighbours_item_data)

            neighbours.append(neighbours_item)

        item_body = cls(
            item_type=item_type,
            item_id=item_id,
            catalogue=catalogue,
            recommendable=recommendable,
            users=users,
            neighbours=neighbours,
        )

        item_body.additional_properties = d
        return item_body

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
