"""What a condition of a policy is evaluated on: items, a user, a request and the time."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from dynamic_layer.policies.columns import ItemColumns

__all__ = ["Moment", "request_values"]


class Moment(NamedTuple):
    """What an expression is evaluated for: some items, a user's values, the time.

    slots: of the items, i64 [m], or a slice; bound: values by `user.NAME` and `request.NAME`;
    now_ms: ms UTC.
    """

    columns: ItemColumns
    slots: Any
    bound: Mapping[str, Any]
    now_ms: float


def request_values(
    context: Mapping[str, Any], attributes: Mapping[str, Any], now_ms: int
) -> dict[str, Any]:
    """Return the values of `request.NAME` by NAME.

    context: of the request or event; its `time_zone`, or the user's attribute of that name, says
    where hour (0 to 23) and weekday (1 is Monday) are; UTC where neither is known.

    >>> request_values({"surface": "home", "time_zone": "Asia/Tokyo"}, {}, 1_700_000_000_000)
    {'surface': 'home', 'device': None, 'hour': 7, 'weekday': 3}
    """
    there = datetime.fromtimestamp(
        now_ms / 1000, _zone(context.get("time_zone") or attributes.get("time_zone"))
    )
    return {
        "surface": context.get("surface"),
        "device": context.get("device"),
        "hour": there.hour,
        "weekday": there.isoweekday(),
    }


def _zone(name: object) -> tzinfo:
    try:
        return ZoneInfo(name) if isinstance(name, str) and name else UTC
    except (LookupError, OSError, ValueError):
        return UTC
