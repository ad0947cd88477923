"""A user's history as arrays, newest first."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from state.kernel import I64, ITEM, NONE, STRONG, TIME, U64, VISITS, live_rows
from state.settings import StateSettings

__all__ = ["History"]


@dataclass(frozen=True, kw_only=True)
class History:
    """What a user had inside the window, newest first (by time, ties by item key).

    item_keys:   uint64 [n].
    time:        int64 [n], ms UTC of the latest event of any kind.
    strong_time: int64 [n], ms UTC of the latest graph-making event; -1 if there was none.
    visits:      uint64 [n, 2], bitmap of the buckets with an event; bit k of word w is the bucket
                 64 w + k before the entry's latest one.
    """

    item_keys: U64
    time: I64
    strong_time: I64
    visits: U64

    @classmethod
    def of_rows(cls, rows: I64, keys: U64, settings: StateSettings, watermark: int) -> "History":
        """Read stored rows as of a watermark; `keys` maps dense item numbers to item keys."""
        window = settings.window
        live = live_rows(
            rows,
            window.bucket_ms,
            window.first_live(watermark),
            settings.history_cap,
        )
        return cls(
            item_keys=keys[live[:, ITEM]],
            time=live[:, TIME],
            strong_time=live[:, STRONG],
            visits=live[:, VISITS:].astype(np.uint64),
        )

    @property
    def strong(self) -> npt.NDArray[np.bool_]:
        """Which entries have a graph-making event, bool [n]."""
        strong: npt.NDArray[np.bool_] = self.strong_time != NONE
        return strong

    def __len__(self) -> int:
        return len(self.item_keys)
