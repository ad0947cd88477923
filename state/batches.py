"""What goes into a partition's state and what comes out: events as columns, and what they did."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from state.kernel import I64

__all__ = ["Applied", "Bools", "Erased", "EventColumns", "Observations", "Seen"]

Bools = npt.NDArray[np.bool_]


class EventColumns(Protocol):
    """Events of one batch as columns, one row an event, offsets ascending; timestamps in ms UTC."""

    @property
    def user_id(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def item_type(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def item_id(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def kind(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def timestamp(self) -> I64: ...  # noqa: D102
    @property
    def offset(self) -> I64: ...  # noqa: D102
    @property
    def position(self) -> I64 | None: ...  # noqa: D102 of impressions, in their lists
    @property
    def list_code(self) -> I64 | None: ...  # noqa: D102 of impressions, the number of the list


class Seen(NamedTuple):
    """Histories as they were before chosen events, joined; row i has starts[i]:starts[i+1].

    starts: int64 [n + 1]; item, time: int64 [t]; strong: int64 [t], ms UTC of the latest
    graph-making event, NONE without one.
    """

    starts: I64
    item: I64
    time: I64
    strong: I64

    def without(self, dropped: Bools) -> "Seen":
        """Return the histories without some entries, bool [t]."""
        before = np.concatenate([[0], np.cumsum(~dropped)])
        kept = ~dropped
        return Seen(before[self.starts], self.item[kept], self.time[kept], self.strong[kept])


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Histories as they were before chosen events, for training without the future.

    row:         int64 [m], rows of the batch that were observed.
    target:      uint64 [m], keys of the items of these rows.
    repeat:      bool [m], whether a strong event met an item of an earlier strong event, or a weak
                 one an item of any earlier event, inside the window.
    indptr:      int64 [m + 1], entries of observation i are indptr[i]:indptr[i + 1].
    item_keys:   uint64 [t], newest first.
    time:        int64 [t], ms UTC, never later than the event.
    strong:      bool [t], whether the entry has a graph-making event.
    """

    row: I64
    target: npt.NDArray[np.uint64]
    repeat: Bools
    indptr: I64
    item_keys: npt.NDArray[np.uint64]
    time: I64
    strong: Bools


class Erased(NamedTuple):
    """An erasure that was applied; held: whether the state had anything of the user's records."""

    offset: int
    user_id: str
    held: bool


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What a batch did.

    applied: events that are in the state now (or were already: duplicates change nothing), and
             erasures.
    too_old: int64, rows of the batch that lie behind the window and changed nothing.
    skipped: records below the applied offset, seen before.
    erased:  erasures, in offset order.
    """

    applied: int
    too_old: I64
    skipped: int
    observations: Observations
    erased: list[Erased] = field(default_factory=list)
