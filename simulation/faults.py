"""Bad input, as foreign producers send it: raw keys and values for the events topic."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

YEAR_2200_MS = 7_258_118_400_000

FATES: Mapping[str, str | None] = {
    "truncated_json": "malformed",
    "wrong_type": "wrong_type",
    "unknown_kind": "unknown_kind",
    "missing_field": "missing_field",
    "missing_key": "missing_key",
    "year_2200": "future",
    "huge_text": "too_large",
    "unknown_item": None,
}
"""Every fault by name and the reason a dead letter gives for it; None: it is applied as normal.

An event on an item that the catalogue does not have (yet) is state like any other: the item may
come later. It is never recommended before.
"""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One bad record.

    name:   what is wrong, a key of `FATES`.
    reason: the reason of the dead letter it must become; None where it must be applied.
    key, value: the record as bytes; the key is None where it is missing.
    """

    name: str
    reason: str | None
    key: bytes | None
    value: bytes


def faults(
    count: int, now_ms: int, *, item_type: str, seed: int = 0, huge_bytes: int = 5_000_000
) -> Iterator[Fault]:
    """Yield `count` bad records in turn through all of `FATES`, the same for the same seed.

    now_ms: timestamp of the events, ms UTC. huge_bytes: length of the huge text.
    """
    rng = np.random.default_rng([seed, *b"faults"])
    names = list(FATES)
    for row in range(count):
        name = names[row % len(names)]
        yield _fault(name, now_ms, item_type, int(rng.integers(1_000_000)), huge_bytes)


def _fault(name: str, now_ms: int, item_type: str, number: int, huge_bytes: int) -> Fault:
    user = f"faulty-{number:06d}"
    event: dict[str, object] = {
        "user_id": user,
        "item_id": f"{item_type}-unknown-{number:06d}",
        "item_type": item_type,
        "kind": "stream",
        "timestamp": now_ms,
    }
    key: bytes | None = user.encode()
    if name == "wrong_type":
        event["timestamp"] = str(now_ms)
    elif name == "unknown_kind":
        event["kind"] = "levitate"
    elif name == "missing_field":
        del event["item_id"]
    elif name == "missing_key":
        key = None
    elif name == "year_2200":
        event["timestamp"] = YEAR_2200_MS
    elif name == "huge_text":
        event["comment"] = "la" * (huge_bytes // 2)
    value = json.dumps(event).encode()
    if name == "truncated_json":
        value = value[: len(value) // 2]
    return Fault(name=name, reason=FATES[name], key=key, value=value)
