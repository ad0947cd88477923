"""What a partition keeps of shown and taken: begun, counted, told to others, committed."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from state.batches import Bools
from state.commit_record import CountsTaken
from state.database import Batch, Database
from state.demand import DemandBlock, Telling
from state.items import ItemNumbers
from state.kernel import I64
from state.settings import StateSettings
from state.taken import (
    BY_LIST,
    LISTS,
    POSITIONS,
    SHOWINGS,
    SHOWN_COUNTS,
    TAKEN_COUNTS,
    ShownAndTaken,
)

__all__ = ["TakenState"]


class TakenState:
    """Counts of what was shown, and of it taken, of one partition; empty where none are made."""

    def __init__(
        self,
        database: Database,
        settings: StateSettings,
        items: ItemNumbers,
        watermark: Callable[[], int],
        *,
        noted: CountsTaken | None,
        positions: Mapping[str, int],
        drop: Callable[..., None] | None,
    ) -> None:
        """Go on with what the last commit noted, or begin at its positions.

        noted: None begins the counts again. watermark: returns the greatest bucket seen. drop:
        deletes all keys with one of some prefixes; None where the state is read only.
        """
        self._settings, self._items, self._watermark = settings, items, watermark
        untold: tuple[int, ...] = ()
        if noted is None and drop is not None:
            untold = ShownAndTaken(database, settings).buckets()
            drop(SHOWINGS, SHOWN_COUNTS, TAKEN_COUNTS)
        if drop is not None and (noted is None or not noted.by_list):
            # An earlier version may have continued the state: what it counted is of unknown lists.
            drop(LISTS, *BY_LIST)
        self._counts: ShownAndTaken | None = None
        self._noted = noted
        self._since = dict(positions if noted is None else noted.since)
        if settings.impressions and not (noted is None and drop is None):
            self._counts = ShownAndTaken(database, settings)
            # Others may hold earlier counts of these buckets: they are told the counts as of now.
            shown, taken = (noted.shown_untold, noted.taken_untold) if noted else (untold, untold)
            self._shown_telling = Telling(self._counts.shown, shown)
            self._taken_telling = Telling(self._counts.taken, taken)

    @property
    def _first_live(self) -> int:
        return max(self._settings.window.first_live(self._watermark()), 0)

    @property
    def is_kept(self) -> bool:
        """Whether counts are made."""
        return self._counts is not None

    @property
    def since(self) -> dict[str, int] | None:
        """First offset of each topic that counts, 0 where none is named; None without counts."""
        return None if self._counts is None else dict(self._since)

    @property
    def is_ahead(self) -> bool:
        """Whether counts were told to others of which the last commit says otherwise."""
        return self._counts is not None and (
            self._shown_telling.is_ahead or self._taken_telling.is_ahead
        )

    # Writing

    def add(
        self,
        users: Sequence[str],
        items: I64,
        times: I64,
        counted: Bools,
        at: I64 | None = None,
        lists: I64 | None = None,
    ) -> None:
        """Count events, or impressions where they have places and lists; see `ShownAndTaken`."""
        if self._counts is None:
            return
        if at is None or lists is None:
            self._counts.add(users, items, times, counted)
        else:
            self._counts.add(users, items, times, counted, at, lists)

    def forget(self, user_id: str) -> None:
        """Take back what was counted of a user."""
        if self._counts is not None:
            self._counts.forget(user_id, self._first_live)

    def write(self, batch: Batch) -> CountsTaken | None:
        """Put the counts into the batch of a commit; return what it notes."""
        if self._counts is None:
            return None
        first = self._first_live
        self._counts.gather(first)
        untold = self._shown_telling.to_note(first), self._taken_telling.to_note(first)
        self._counts.write(batch, first)
        return CountsTaken(self._settings.taken_ms, self._since, *untold, by_list=True)

    def committed(self, noted: CountsTaken | None) -> None:
        """Take what a commit has noted."""
        self._noted = noted
        if self._counts is not None and noted is not None:
            self._counts.written()
            self._shown_telling.committed(noted.shown_untold)
            self._taken_telling.committed(noted.taken_untold)

    # Reading

    def tell(self, *, all_of_it: bool = True) -> tuple[list[DemandBlock], list[DemandBlock]]:
        """Return the counts of what was shown, and of it taken, that others do not know yet.

        By bucket of the window; markets are positions (state.taken). The rest is as in
        `PartitionState.tell_demand`.
        """
        if self._counts is None:
            return [], []
        first_live = self._first_live
        first = 0 if all_of_it else max(self._watermark() - 1, 0)
        self._counts.gather(first_live)
        keys = self._items.keys
        return (
            self._shown_telling.tell(first_live, keys, first),
            self._taken_telling.tell(first_live, keys, first),
        )

    def blocks(self) -> tuple[Iterator[DemandBlock], Iterator[DemandBlock]]:
        """Return what was shown, and of it taken, in the whole window: by bucket, as of now."""
        if self._counts is None:
            return iter(()), iter(())
        first, keys = self._first_live, self._items.keys
        self._counts.gather(first)
        return self._counts.shown.blocks(first, keys), self._counts.taken.blocks(first, keys)

    def by_position(self, bucket: int) -> tuple[I64, I64]:
        """Return what was shown in a bucket of the window, and of it taken; committed only.

        Over all items, by position: int64 [POSITIONS + 1] each.
        """
        if self._counts is None:
            return np.zeros(POSITIONS + 1, np.int64), np.zeros(POSITIONS + 1, np.int64)
        return self._counts.by_position(bucket)

    def by_list(self, bucket: int) -> dict[int, tuple[int, int]]:
        """Return what was shown in a bucket of the window, and of it taken, by the list's number.

        Over all items; committed only. Showings of unknown lists are in `by_position` alone.
        """
        if self._counts is None or self._noted is None or not self._noted.by_list:
            return {}
        return self._counts.by_list(bucket)

    def written_in(self, bucket: int) -> int:
        """Number of the last commit since the opening that changed a bucket; 0 for none."""
        if self._counts is None:
            return 0
        return max(c.written_in(bucket) for c in (self._counts.shown, self._counts.taken))
