from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..models.session_repeats import SessionRepeats
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.item_ref import ItemRef
    from ..models.list_context import ListContext
    from ..models.seen import Seen
    from ..models.session_attributes import SessionAttributes


T = TypeVar("T", bound="Session")


@_attrs_define
class Session:
    """Items of a session without a user id, newest first, and the wanted list.

    Attributes:
        items (list[Seen]):
        types (list[int | str] | Unset): None: all.
        exclude (list[ItemRef] | Unset): Items to leave out.
        repeats (SessionRepeats | Unset):  Default: SessionRepeats.EXCLUDE.
        k (int | Unset):  Default: 10.
        titles (bool | Unset):  Default: False.
        explain (bool | Unset): With `why`: the parts of each score, and the items of the history that are nearest.
            Default: False.
        list_ (str | Unset): Name of the list whose policy applies; none: that of *. Default: ''.
        context (ListContext | None | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        country (str | Unset):  Default: ''.
        birth_year (int | Unset):  Default: 0.
        page (None | str | Unset): `next_page` of the page before.
        attributes (SessionAttributes | Unset): For policies: user.NAME.
    """

    items: list[Seen]
    types: list[int | str] | Unset = UNSET
    exclude: list[ItemRef] | Unset = UNSET
    repeats: SessionRepeats | Unset = SessionRepeats.EXCLUDE
    k: int | Unset = 10
    titles: bool | Unset = False
    explain: bool | Unset = False
    list_: str | Unset = ""
    context: ListContext | None | Unset = UNSET
    country: str | Unset = ""
    birth_year: int | Unset = 0
    page: None | str | Unset = UNSET
    attributes: SessionAttributes | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        from ..models.list_context import ListContext

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        types: list[int | str] | Unset = UNSET
        if not isinstance(self.types, Unset):
            types = []
            for types_item_data in self.types:
                types_item: int | str
                types_item = types_item_data
                types.append(types_item)

        exclude: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.exclude, Unset):
            exclude = []
            for exclude_item_data in self.exclude:
                exclude_item = exclude_item_data.to_dict()
                exclude.append(exclude_item)

        repeats: str | Unset = UNSET
        if not isinstance(self.repeats, Unset):
            repeats = self.repeats.value

        k = self.k

        titles = self.titles

        explain = self.explain

        list_ = self.list_

        context: dict[str, Any] | None | Unset
        if isinstance(self.context, Unset):
            context = UNSET
        elif isinstance(self.context, ListContext):
            context = self.context.to_dict()
        else:
            context = self.context

        country = self.country

        birth_year = self.birth_year

        page: None | str | Unset
        if isinstance(self.page, Unset):
            page = UNSET
        else:
            page = self.page

        attributes: dict[str, Any] | Unset = UNSET
        if not isinstance(self.attributes, Unset):
            attributes = self.attributes.to_dict()

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "items": items,
            }
        )
        if types is not UNSET:
            field_dict["types"] = types
        if exclude is not UNSET:
            field_dict["exclude"] = exclude
        if repeats is not UNSET:
            field_dict["repeats"] = repeats
        if k is not UNSET:
            field_dict["k"] = k
        if titles is not UNSET:
            field_dict["titles"] = titles
        if explain is not UNSET:
            field_dict["explain"] = explain
        if list_ is not UNSET:
            field_dict["list"] = list_
        if context is not UNSET:
            field_dict["context"] = context
        if country is not UNSET:
            field_dict["country"] = country
        if birth_year is not UNSET:
            field_dict["birth_year"] = birth_year
        if page is not UNSET:
            field_dict["page"] = page
        if attributes is not UNSET:
            field_dict["attributes"] = attributes

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.item_ref import ItemRef
        from ..models.list_context import ListContext
        from ..models.seen import Seen
        from ..models.session_attributes import SessionAttributes

        d = dict(src_dict)
        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = Seen.from_dict(items_item_data)

            items.append(items_item)

        _types = d.pop("types", UNSET)
        types: list[int | str] | Unset = UNSET
        if _types is not UNSET:
            types = []
            for types_item_data in _types:

                def _parse_types_item(data: object) -> int | str:
                    return cast(int | str, data)

                types_item = _parse_types_item(types_item_data)

                types.append(types_item)

        _exclude = d.pop("exclude", UNSET)
        exclude: list[ItemRef] | Unset = UNSET
        if _exclude is not UNSET:
            exclude = []
            for exclude_item_data in _exclude:
                exclude_item = ItemRef.from_dict(exclude_item_data)

                exclude.append(exclude_item)

        _repeats = d.pop("repeats", UNSET)
        repeats: SessionRepeats | Unset
        if isinstance(_repeats, Unset):
            repeats = UNSET
        else:
            repeats = SessionRepeats(_repeats)

        k = d.pop("k", UNSET)

        titles = d.pop("titles", UNSET)

        explain = d.pop("explain", UNSET)

        list_ = d.pop("list", UNSET)

        def _parse_context(data: object) -> ListContext | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                context_type_0 = ListContext.from_dict(data)

                return context_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ListContext | None | Unset, data)

        context = _parse_context(d.pop("context", UNSET))

        country = d.pop("country", UNSET)

        birth_year = d.pop("birth_year", UNSET)

        def _parse_page(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        page = _parse_page(d.pop("page", UNSET))

        _attributes = d.pop("attributes", UNSET)
        attributes: SessionAttributes | Unset
        if isinstance(_attributes, Unset):
            attributes = UNSET
        else:
            attributes = SessionAttributes.from_dict(_attributes)

        session = cls(
            items=items,
            types=types,
            exclude=exclude,
            repeats=repeats,
            k=k,
            titles=titles,
            explain=explain,
            list_=list_,
            context=context,
            country=country,
            birth_year=birth_year,
            page=page,
            attributes=attributes,
        )

        return session
