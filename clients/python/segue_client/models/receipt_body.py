from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.receipt_body_checkpoints_item import ReceiptBodyCheckpointsItem
    from ..models.receipt_body_copies_item import ReceiptBodyCopiesItem
    from ..models.receipt_body_count_from import ReceiptBodyCountFrom


T = TypeVar("T", bound="ReceiptBody")


@_attrs_define
class ReceiptBody:
    """The receipt of an erasure.

    Attributes:
        applied_here (bool): Whether the user is removed from this console's own states.
        done (bool): Whether a worker has written the receipt.
        held (bool | None | Unset): Whether there was a history.
        position (int | None | Unset): No state at this offset or later holds the user.
        user_sha256 (None | str | Unset):
        checkpoints (list[ReceiptBodyCheckpointsItem] | Unset):
        count_from (ReceiptBodyCountFrom | Unset): topic/partition of a source -> offset from which the user counts
            again.
        copies (list[ReceiptBodyCopiesItem] | Unset): Other places that may hold data of the user, with days.
    """

    applied_here: bool
    done: bool
    held: bool | None | Unset = UNSET
    position: int | None | Unset = UNSET
    user_sha256: None | str | Unset = UNSET
    checkpoints: list[ReceiptBodyCheckpointsItem] | Unset = UNSET
    count_from: ReceiptBodyCountFrom | Unset = UNSET
    copies: list[ReceiptBodyCopiesItem] | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        applied_here = self.applied_here

        done = self.done

        held: bool | None | Unset
        if isinstance(self.held, Unset):
            held = UNSET
        else:
            held = self.held

        position: int | None | Unset
        if isinstance(self.position, Unset):
            position = UNSET
        else:
            position = self.position

        user_sha256: None | str | Unset
        if isinstance(self.user_sha256, Unset):
            user_sha256 = UNSET
        else:
            user_sha256 = self.user_sha256

        checkpoints: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.checkpoints, Unset):
            checkpoints = []
            for checkpoints_item_data in self.checkpoints:
                checkpoints_item = checkpoints_item_data.to_dict()
                checkpoints.append(checkpoints_item)

        count_from: dict[str, Any] | Unset = UNSET
        if not isinstance(self.count_from, Unset):
            count_from = self.count_from.to_dict()

        copies: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.copies, Unset):
            copies = []
            for copies_item_data in self.copies:
                copies_item = copies_item_data.to_dict()
                copies.append(copies_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "applied_here": applied_here,
                "done": done,
            }
        )
        if held is not UNSET:
            field_dict["held"] = held
        if position is not UNSET:
            field_dict["position"] = position
        if user_sha256 is not UNSET:
            field_dict["user_sha256"] = user_sha256
        if checkpoints is not UNSET:
            field_dict["checkpoints"] = checkpoints
        if count_from is not UNSET:
            field_dict["count_from"] = count_from
        if copies is not UNSET:
            field_dict["copies"] = copies

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.receipt_body_checkpoints_item import ReceiptBodyCheckpointsItem
        from ..models.receipt_body_copies_item import ReceiptBodyCopiesItem
        from ..models.receipt_body_count_from import ReceiptBodyCountFrom

        d = dict(src_dict)
        applied_here = d.pop("applied_here")

        done = d.pop("done")

        def _parse_held(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        held = _parse_held(d.pop("held", UNSET))

        def _parse_position(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        position = _parse_position(d.pop("position", UNSET))

        def _parse_user_sha256(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        user_sha256 = _parse_user_sha256(d.pop("user_sha256", UNSET))

        _checkpoints = d.pop("checkpoints", UNSET)
        checkpoints: list[ReceiptBodyCheckpointsItem] | Unset = UNSET
        if _checkpoints is not UNSET:
            checkpoints = []
            for checkpoints_item_data in _checkpoints:
                checkpoints_item = ReceiptBodyCheckpointsItem.from_dict(
                    checkpoints_item_data
                )

                checkpoints.append(checkpoints_item)

        _count_from = d.pop("count_from", UNSET)
        count_from: ReceiptBodyCountFrom | Unset
        if isinstance(_count_from, Unset):
            count_from = UNSET
        else:
            count_from = ReceiptBodyCountFrom.from_dict(_count_from)

        _copies = d.pop("copies", UNSET)
        copies: list[ReceiptBodyCopiesItem] | Unset = UNSET
        if _copies is not UNSET:
            copies = []
            for copies_item_data in _copies:
                copies_item = ReceiptBodyCopiesItem.from_dict(copies_item_data)

                copies.append(copies_item)

        receipt_body = cls(
            applied_here=applied_here,
            done=done,
            held=held,
            position=position,
            user_sha256=user_sha256,
            checkpoints=checkpoints,
            count_from=count_from,
            copies=copies,
        )

        receipt_body.additional_properties = d
        return receipt_body

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
