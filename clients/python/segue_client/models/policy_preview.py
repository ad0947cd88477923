from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="PolicyPreview")


@_attrs_define
class PolicyPreview:
    """A policy, and the users whose lists are compared.

    Attributes:
        text (str):
        users (list[int | str] | Unset):
        random (int | Unset): Further users, drawn by the seed. Default: 0.
        seed (int | Unset):  Default: 0.
    """

    text: str
    users: list[int | str] | Unset = UNSET
    random: int | Unset = 0
    seed: int | Unset = 0

    def to_dict(self) -> dict[str, Any]:
        text = self.text

        users: list[int | str] | Unset = UNSET
        if not isinstance(self.users, Unset):
            users = []
            for users_item_data in self.users:
                users_item: int | str
                users_item = users_item_data
                users.append(users_item)

        random = self.random

        seed = self.seed

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "text": text,
            }
        )
        if users is not UNSET:
            field_dict["users"] = users
        if random is not UNSET:
            field_dict["random"] = random
        if seed is not UNSET:
            field_dict["seed"] = seed

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        text = d.pop("text")

        _users = d.pop("users", UNSET)
        users: list[int | str] | Unset = UNSET
        if _users is not UNSET:
            users = []
            for users_item_data in _users:

                def _parse_users_item(data: object) -> int | str:
                    return cast(int | str, data)

                users_item = _parse_users_item(users_item_data)

                users.append(users_item)

        random = d.pop("random", UNSET)

        seed = d.pop("seed", UNSET)

        policy_preview = cls(
            text=text,
            users=users,
            random=random,
            seed=seed,
        )

        return policy_preview
