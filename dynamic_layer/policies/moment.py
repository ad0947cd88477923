"""What a condition of a policy is evaluated on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dynamic_layer.policies.columns import ItemColumns

__all__ = ["Moment"]


class Moment(NamedTuple):
    """What an expression is evaluated for: some items, a user's values, the time.

    slots: of the items, i64 [m], or a slice; bound: values by `user.NAME` and `request.NAME`;
    now_ms: ms UTC.
    """

    columns: ItemColumns
    slots: Any
    bound: Mapping[str, Any]
    now_ms: float
