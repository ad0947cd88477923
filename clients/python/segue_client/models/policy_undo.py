from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="PolicyUndo")


@_attrs_define
class PolicyUndo:
    """A list whose policy goes back to the version before.

    Attributes:
        after (int): The newest version that you know, 0 for none; 409 if there is a newer one.
        list_ (str):
        author (str | Unset): Beside the token's name. Default: ''.
        comment (str | Unset):  Default: ''.
    """

    after: int
    list_: str
    author: str | Unset = ""
    comment: str | Unset = ""

    def to_dict(self) -> dict[str, Any]:
        after = self.after

        list_ = self.list_

        author = self.author

        comment = self.comment

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "after": after,
                "list": list_,
            }
        )
        if author is not UNSET:
            field_dict["author"] = author
        if comment is not UNSET:
            field_dict["comment"] = comment

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        after = d.pop("after")

        list_ = d.pop("list")

        author = d.pop("author", UNSET)

        comment = d.pop("comment", UNSET)

        policy_undo = cls(
            after=after,
            list_=list_,
            author=author,
            comment=comment,
        )

        return policy_undo
