"""What is read from the state of a partition: users, items, counts."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from state import database
from state import runs as adjacency_runs
from state.actions import Marks, Reactions
from state.co_interactions import CoInteractions, read_co_interactions
from state.demand import DemandBlock
from state.histories import History
from state.items import item_key
from state.kernel import I64, ITEM
from state.shown import ShownItems, UserShown
from state.stored_partition import BY_USER, StoredPartition

__all__ = ["PartitionReads", "common_users"]

#: Users whose decoded attributes are kept in memory.
KNOWN_USERS = 65_536


class PartitionReads(StoredPartition):
    """Queries of one partition's state; events that wait for a commit count unless stated."""

    def history(self, user_id: str) -> History:
        """History of a user as of now, events that wait for a commit included."""
        return History.of_rows(
            self._histories.of(user_id), self._items.keys, self.settings, self.watermark
        )

    def reactions(self, user_id: str) -> tuple[History, Reactions]:
        """History of a user, and what the user's actions say of items now; see `history`."""
        rows = self._histories.of(user_id)
        history = History.of_rows(rows, self._items.keys, self.settings, self.watermark)
        numbers = rows[: len(history), ITEM]
        found = self._actions.reactions(user_id, history, numbers, self._items.keys, self._first_ms)
        return history, found

    def live_actions(self, stored: bytes) -> Marks:
        """Stored actions of a user inside the window: kind -> item number -> ms UTC."""
        return self._actions.live_marks(stored, self._first_ms, self._items.keys)

    def shown(self, user_id: str) -> ShownItems:
        """What a user was shown inside the window, as of now."""
        return self._shown.of(user_id, self._first_live, self._items.keys)

    def live_shown(self, stored: bytes) -> UserShown:
        """Stored impressions of a user that count: by item number."""
        return self._shown.live(stored, self._first_live)

    @property
    def actions_from(self) -> dict[str, dict[str, int]]:
        """By kind, the first offset of each topic whose actions are kept; 0 where none is named."""
        return {kind: dict(found) for kind, found in self._actions_from.items()}

    def histories(self) -> int:
        """How many users have a stored history; reads all of their keys. Committed state only."""
        rows = self._database.scan(database.HISTORY, database.after(database.HISTORY))
        return sum(1 for _ in rows)

    def user_ids(self) -> set[str]:
        """Users who have a history, attributes or actions; committed state only.

        Reads all of their keys.
        """
        return {
            key[1:].decode()
            for prefix in BY_USER
            for key, _ in self._database.scan(prefix, database.after(prefix))
        }

    def user(self, user_id: str) -> Mapping[str, Any]:
        """Attributes of a user as they were sent; empty if there are none."""
        known = self._attributes.get(user_id)
        if known is None:
            key = database.USERS + user_id.encode()
            stored = self._records[key] if key in self._records else self._database.get(key)
            known = msgspec.json.decode(stored, type=dict[str, Any]) if stored else {}
            if len(self._attributes) >= KNOWN_USERS:
                self._attributes.clear()
            self._attributes[user_id] = known
        return known

    def _country(self, user_id: str) -> str:
        return str(self.user(user_id).get("country") or "")

    def demand(self) -> Iterator[DemandBlock]:
        """Counts of live popularity of the whole window, by bucket, as of now.

        Exact for the records from `demand_from` on: what the state had applied before a version
        that counts opened it is not in them.
        """
        first_live = self.settings.first_demand(self.watermark)
        return self._demand.blocks(first_live, self._items.keys)

    @property
    def demand_from(self) -> dict[str, int]:
        """First offset of each topic that live popularity counts; 0 where none is named."""
        return dict(self._demand_from)

    def neighbours(
        self, item_type: str, item_id: str, *, first_bucket: int = 0
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
        """Keys uint64 [n] and users int32 [n] of the items that users had together with one.

        Committed state only. The item itself comes along, with the number of its users.
        first_bucket: buckets before it do not count; what is summed over partitions has one window.
        """
        number = self._items.find(item_type, item_id)
        if number is None:
            return np.zeros(0, np.uint64), np.zeros(0, np.int32)
        first_live = max(self.settings.window.first_live(self.watermark), first_bucket)
        other, users = adjacency_runs.neighbours(
            self._files, self._meta.runs, first_live, number, len(self._items)
        )
        return self._items.keys[other], users

    def edges(
        self, item_type: str, item_id: str, *, first_bucket: int = 0
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Keys u64 [n], buckets i32 [n] and deltas i32 [n] of an item's pairs; committed only.

        What `neighbours` sums: a pair of a user is counted in the bucket of the earlier of its two
        latest events, and stands here once for each time that its count there was changed.
        """
        number = self._items.find(item_type, item_id)
        if number is None:
            return np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, np.int32)
        first_live = max(self.settings.window.first_live(self.watermark), first_bucket)
        other, bucket, delta = adjacency_runs.deltas_of(
            self._files, self._meta.runs, first_live, number
        )
        return self._items.keys[other], bucket, delta

    def demand_of(self, item_type: str, item_id: str, first: int, end: int) -> tuple[I64, I64, I64]:
        """Live popularity of one item: buckets, markets and events, int64 [m] each; committed only.

        first, end: buckets of live popularity, [first, end).
        """
        number = self._items.find(item_type, item_id)
        if number is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        return self._demand.of_item(number, first, end)

    def demand_sums(self, first: int, end: int) -> tuple[npt.NDArray[np.uint64], I64, I64]:
        """Live popularity summed over the buckets [first, end); committed only.

        Keys u64 [m], markets and events i64 [m]; each pair of item and market once.
        """
        number, market, events = self._demand.sums(first, end)
        return self._items.keys[number], market, events

    def demand_written_in(self, bucket: int) -> int:
        """Number of the last commit since the opening that changed a bucket; 0 for none."""
        return self._demand.written_in(bucket)

    def co_interactions(self) -> CoInteractions:
        """Counts over this partition's users; committed state only."""
        return read_co_interactions(
            self._files, self._meta.runs, self._items, self.settings, self.watermark
        )


def common_users(
    states: Collection[PartitionReads], item_type: str, item_id: str
) -> tuple[int, dict[int, int]]:
    """Return users of an item inside the window, and users of both by the other item's key.

    states: of one log, whose window ends with the latest of them. Committed state only.
    """
    watermark = max((state.watermark for state in states), default=0)
    totals: dict[int, int] = {}
    for state in states:
        first = state.settings.window.first_live(watermark)
        near = state.neighbours(item_type, item_id, first_bucket=first)
        for key, users in zip(*(column.tolist() for column in near), strict=True):
            totals[key] = totals.get(key, 0) + users
    return totals.pop(item_key(item_type, item_id), 0), totals
