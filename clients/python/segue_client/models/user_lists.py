from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..models.user_lists_repeats import UserListsRepeats
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.item_ref import ItemRef
    from ..models.list_context import ListContext


T = TypeVar("T", bound="UserLists")


@_attrs_define
class UserLists:
    """Users, and the wanted list of each.

    Attributes:
        users (list[int | str]):
        types (list[int | str] | Unset): None: all.
        exclude (list[ItemRef] | Unset): Items to leave out.
        repeats (UserListsRepeats | Unset):  Default: UserListsRepeats.EXCLUDE.
        k (int | Unset):  Default: 10.
        titles (bool | Unset):  Default: False.
        explain (bool | Unset): With `why`: the parts of each score, and the items of the history that are nearest.
            Default: False.
        list_ (str | Unset): Name of the list whose policy applies; none: that of *. Default: ''.
        context (ListContext | None | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer must include: it waits
            for them, and gets status 503 if that takes too long.
    """

    users: list[int | str]
    types: list[int | str] | Unset = UNSET
    exclude: list[ItemRef] | Unset = UNSET
    repeats: UserListsRepeats | Unset = UserListsRepeats.EXCLUDE
    k: int | Unset = 10
    titles: bool | Unset = False
    explain: bool | Unset = False
    list_: str | Unset = ""
    context: ListContext | None | Unset = UNSET
    at_least: list[str] | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        from ..models.list_context import ListContext

        users = []
        for users_item_data in self.users:
            users_item: int | str
            users_item = users_item_data
            users.append(users_item)

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

        at_least: list[str] | Unset = UNSET
        if not isinstance(self.at_least, Unset):
            at_least = self.at_least

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "users": users,
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
        if at_least is not UNSET:
            field_dict["at_least"] = at_least

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.item_ref import ItemRef
        from ..models.list_context import ListContext

        d = dict(src_dict)
        users = []
        _users = d.pop("users")
        for users_item_data in _users:

            def _parse_users_item(data: object) -> int | str:
                return cast(int | str, data)

            users_item = _parse_users_item(users_item_data)

            users.append(users_item)

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
        repeats: UserListsRepeats | Unset
        if isinstance(_repeats, Unset):
            repeats = UNSET
        else:
            repeats = UserListsRepeats(_repeats)

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

        at_least = cast(list[str], d.pop("at_least", UNSET))

        user_lists = cls(
            users=users,
            types=types,
            exclude=exclude,
            repeats=repeats,
            k=k,
            titles=titles,
            explain=explain,
            list_=list_,
            context=context,
            at_least=at_least,
        )

        return user_lists
