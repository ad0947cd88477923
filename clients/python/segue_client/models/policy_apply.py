from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="PolicyApply")


@_attrs_define
class PolicyApply:
    """A policy to put in force.

    Attributes:
        after (int): The newest version that you know, 0 for none; 409 if there is a newer one.
        text (str):
        author (str | Unset): Beside the token's name. Default: ''.
        comment (str | Unset):  Default: ''.
    """

    after: int
    text: str
    author: str | Unset = ""
    comment: str | Unset = ""

    def to_dict(self) -> dict[str, Any]:
        after = self.after

        text = self.text

        author = self.author

        comment = self.comment

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "after": after,
                "text": text,
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

        text = d.pop("text")

        author = d.pop("author", UNSET)

        comment = d.pop("comment", UNSET)

        policy_apply = cls(
            after=after,
            text=text,
            author=author,
            comment=comment,
        )

        return policy_apply
