from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.bundle_metrics import BundleMetrics


T = TypeVar("T", bound="Bundle")


@_attrs_define
class Bundle:
    """A dynamic bundle in the artifact store.

    Attributes:
        name (str):
        generation (int | None):
        created_at (int | None | Unset):
        static (None | str | Unset):
        types (list[str] | Unset):
        metrics (BundleMetrics | Unset):
        bytes_ (int | Unset):  Default: 0.
        channel (str | Unset): Whose trainer made it. Default: 'default'.
        served_on (list[str] | Unset): Channels on which it is served here.
        pinned_on (list[str] | Unset): Channels on which it is pinned.
        problem (None | str | Unset):
    """

    name: str
    generation: int | None
    created_at: int | None | Unset = UNSET
    static: None | str | Unset = UNSET
    types: list[str] | Unset = UNSET
    metrics: BundleMetrics | Unset = UNSET
    bytes_: int | Unset = 0
    channel: str | Unset = "default"
    served_on: list[str] | Unset = UNSET
    pinned_on: list[str] | Unset = UNSET
    problem: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        name = self.name

        generation: int | None
        generation = self.generation

        created_at: int | None | Unset
        if isinstance(self.created_at, Unset):
            created_at = UNSET
        else:
            created_at = self.created_at

        static: None | str | Unset
        if isinstance(self.static, Unset):
            static = UNSET
        else:
            static = self.static

        types: list[str] | Unset = UNSET
        if not isinstance(self.types, Unset):
            types = self.types

        metrics: dict[str, Any] | Unset = UNSET
        if not isinstance(self.metrics, Unset):
            metrics = self.metrics.to_dict()

        bytes_ = self.bytes_

        channel = self.channel

        served_on: list[str] | Unset = UNSET
        if not isinstance(self.served_on, Unset):
            served_on = self.served_on

        pinned_on: list[str] | Unset = UNSET
        if not isinstance(self.pinned_on, Unset):
            pinned_on = self.pinned_on

        problem: None | str | Unset
        if isinstance(self.problem, Unset):
            problem = UNSET
        else:
            problem = self.problem

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "name": name,
                "generation": generation,
            }
        )
        if created_at is not UNSET:
            field_dict["created_at"] = created_at
        if static is not UNSET:
            field_dict["static"] = static
        if types is not UNSET:
            field_dict["types"] = types
        if metrics is not UNSET:
            field_dict["metrics"] = metrics
        if bytes_ is not UNSET:
            field_dict["bytes"] = bytes_
        if channel is not UNSET:
            field_dict["channel"] = channel
        if served_on is not UNSET:
            field_dict["served_on"] = served_on
        if pinned_on is not UNSET:
            field_dict["pinned_on"] = pinned_on
        if problem is not UNSET:
            field_dict["problem"] = problem

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.bundle_metrics import BundleMetrics

        d = dict(src_dict)
        name = d.pop("name")

        def _parse_generation(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        generation = _parse_generation(d.pop("generation"))

        def _parse_created_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        created_at = _parse_created_at(d.pop("created_at", UNSET))

        def _parse_static(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        static = _parse_static(d.pop("static", UNSET))

        types = cast(list[str], d.pop("types", UNSET))

        _metrics = d.pop("metrics", UNSET)
        metrics: BundleMetrics | Unset
        if isinstance(_metrics, Unset):
            metrics = UNSET
        else:
            metrics = BundleMetrics.from_dict(_metrics)

        bytes_ = d.pop("bytes", UNSET)

        channel = d.pop("channel", UNSET)

        served_on = cast(list[str], d.pop("served_on", UNSET))

        pinned_on = cast(list[str], d.pop("pinned_on", UNSET))

        def _parse_problem(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        problem = _parse_problem(d.pop("problem", UNSET))

        bundle = cls(
            name=name,
            generation=generation,
            created_at=created_at,
            static=static,
            types=types,
            metrics=metrics,
            bytes_=bytes_,
            channel=channel,
            served_on=served_on,
            pinned_on=pinned_on,
            problem=problem,
        )

        bundle.additional_properties = d
        return bundle

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
