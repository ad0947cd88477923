from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.policy_fault import PolicyFault


T = TypeVar("T", bound="PolicyChecked")


@_attrs_define
class PolicyChecked:
    """The result of a check of a policy.

    Attributes:
        good (bool):
        list_ (None | str | Unset):
        newest (int | None | Unset): Newest version of the list; 0: none.
        difference (list[str] | Unset): Lines that differ from the version in force, as a unified diff.
        fault (None | PolicyFault | Unset):
    """

    good: bool
    list_: None | str | Unset = UNSET
    newest: int | None | Unset = UNSET
    difference: list[str] | Unset = UNSET
    fault: None | PolicyFault | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.policy_fault import PolicyFault

        good = self.good

        list_: None | str | Unset
        if isinstance(self.list_, Unset):
            list_ = UNSET
        else:
            list_ = self.list_

        newest: int | None | Unset
        if isinstance(self.newest, Unset):
            newest = UNSET
        else:
            newest = self.newest

        difference: list[str] | Unset = UNSET
        if not isinstance(self.difference, Unset):
            difference = self.difference

        fault: dict[str, Any] | None | Unset
        if isinstance(self.fault, Unset):
            fault = UNSET
        elif isinstance(self.fault, PolicyFault):
            fault = self.fault.to_dict()
        else:
            fault = self.fault

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "good": good,
            }
        )
        if list_ is not UNSET:
            field_dict["list"] = list_
        if newest is not UNSET:
            field_dict["newest"] = newest
        if difference is not UNSET:
            field_dict["difference"] = difference
        if fault is not UNSET:
            field_dict["fault"] = fault

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.policy_fault import PolicyFault

        d = dict(src_dict)
        good = d.pop("good")

        def _parse_list_(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        list_ = _parse_list_(d.pop("list", UNSET))

        def _parse_newest(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        newest = _parse_newest(d.pop("newest", UNSET))

        difference = cast(list[str], d.pop("difference", UNSET))

        def _parse_fault(data: object) -> None | PolicyFault | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                fault_type_0 = PolicyFault.from_dict(data)

                return fault_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PolicyFault | Unset, data)

        fault = _parse_fault(d.pop("fault", UNSET))

        policy_checked = cls(
            good=good,
            list_=list_,
            newest=newest,
            difference=difference,
            fault=fault,
        )

        policy_checked.additional_properties = d
        return policy_checked

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
