"""Batches in which users are erased: cut at each erasure, so that its place in the order counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from state.batches import Applied, Bools, Erased, EventColumns, Observations
from state.kernel import I64
from state.partition import PartitionState

__all__ = ["apply_in_order"]


def apply_in_order(
    state: PartitionState,
    topic: str,
    events: EventColumns,
    erasures: Sequence[tuple[int, str, int]],
    next_offset: int,
    *,
    refused: int = 0,
    wanted: Callable[[I64], Bools] | None = None,
    observe: int = 0,
    gone: Bools | None = None,
) -> Applied:
    """Apply a batch of events and erasures of one topic, in offset order.

    erasures: (offset, user id, when the log took it in ms UTC), offsets ascending, none of them an
    event's.
    The rest is as in `PartitionState.apply_events`.
    """
    if next_offset > (state.position(topic) or 0):
        state.count_refused(refused)
    parts: list[tuple[int, Applied]] = []
    erased: list[Erased] = []
    skipped = begin = 0
    for offset, user, logged_at in erasures:
        end = int(np.searchsorted(events.offset, offset))
        if end > begin:
            part = state.apply_events(
                topic, _Rows.of(events, begin, end), offset, wanted=wanted, observe=observe,
                gone=None if gone is None else gone[begin:end],
            )  # fmt: skip
            parts.append((begin, part))
        held = state.erase(topic, user, offset, logged_at)
        if held is None:
            skipped += 1
        else:
            erased.append(Erased(offset, user, held))
        begin = end
    rest = _Rows.of(events, begin, len(events.offset))
    last = state.apply_events(
        topic, rest, next_offset, wanted=wanted, observe=observe,
        gone=None if gone is None else gone[begin:],
    )  # fmt: skip
    parts.append((begin, last))
    return Applied(
        applied=sum(part.applied for _, part in parts) + len(erased),
        too_old=np.concatenate([part.too_old + first for first, part in parts]),
        skipped=sum(part.skipped for _, part in parts) + skipped,
        observations=_joined([(first, part.observations) for first, part in parts]),
        erased=erased,
    )


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Some rows of a batch of events."""

    user_id: Sequence[str]
    item_type: Sequence[str]
    item_id: Sequence[str]
    kind: Sequence[str]
    timestamp: I64
    offset: I64
    position: I64 | None
    list_code: I64 | None

    @classmethod
    def of(cls, events: EventColumns, begin: int, end: int) -> "_Rows":
        rows = slice(begin, end)
        return cls(
            user_id=events.user_id[rows],
            item_type=events.item_type[rows],
            item_id=events.item_id[rows],
            kind=events.kind[rows],
            timestamp=events.timestamp[rows],
            offset=events.offset[rows],
            position=None if events.position is None else events.position[rows],
            list_code=None if events.list_code is None else events.list_code[rows],
        )


def _joined(parts: Sequence[tuple[int, Observations]]) -> Observations:
    """Observations of consecutive parts of a batch; each comes with its first row's number."""
    seen = [part for _, part in parts]
    sizes = np.concatenate([np.diff(part.indptr) for part in seen])
    return Observations(
        row=np.concatenate([part.row + first for first, part in parts]),
        target=np.concatenate([part.target for part in seen]),
        repeat=np.concatenate([part.repeat for part in seen]),
        indptr=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        item_keys=np.concatenate([part.item_keys for part in seen]),
        time=np.concatenate([part.time for part in seen]),
        strong=np.concatenate([part.strong for part in seen]),
    )
