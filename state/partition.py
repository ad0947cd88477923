"""The state of one partition: what its events made of histories and co-interactions."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from state import database
from state import runs as adjacency_runs
from state.batches import Applied, Bools, EventColumns, Observations, Seen
from state.commit_record import FORMAT, CommitRecord, Missing
from state.deltas import cleared, grown
from state.demand import DemandBlock
from state.kernel import I64, NONE, apply_events, erase_rows
from state.names import in_set
from state.partition_reads import PartitionReads
from state.shown import ASSUMED_KIND, SHOWN_KIND
from state.stored_partition import BY_USER

__all__ = ["LOGGED_AT", "PartitionState"]

#: Entries that a commit merges at most for each that it writes.
MERGE_SHARE = 4

#: Where a user's attributes say when the log took them.
LOGGED_AT = "logged_at"


class PartitionState(PartitionReads):
    """Histories, windowed co-interactions and applied offsets of one partition, in one RocksDB.

    Guaranteed: what is committed is a pure function of the records below `position(topic)` of each
    topic. `commit` writes state and positions in one batch; a process that dies between two
    commits goes on from the earlier one. Reads see applied events at once, committed or not.

    Never happens: a record applied twice (rows below the position are skipped), a history read
    while it is half written. Not thread-safe: one owner.
    """

    def share_cache(self, partitions: int) -> None:
        """Keep this partition's share of `history_cache_bytes`, with so many of a worker open."""
        self._histories.limit(self.settings.history_cache_bytes // partitions)

    def apply_events(
        self,
        topic: str,
        events: EventColumns,
        next_offset: int,
        *,
        refused: int = 0,
        wanted: Callable[[I64], Bools] | None = None,
        observe: int = 0,
        gone: Bools | None = None,
    ) -> Applied:
        """Apply a batch of events of one topic, in offset order.

        next_offset: offset behind the last record of the batch, bad records included.
        refused:     records of the batch that were no good events; they are counted only.
        wanted:      chooses, from the offsets of the rows, those to observe (default none).
        observe:     history entries that an observation holds at most.
        gone:        rows of erased users that do not count (default none): they move the watermark
                     and live popularity, which name no user, and nothing else.
        """
        position = self._positions.get(topic, 0)
        first = int(np.searchsorted(events.offset, position))
        n = len(events.offset) - first
        if n and events.kind[first] in (SHOWN_KIND, ASSUMED_KIND):
            return self._apply_shown(topic, events, first, next_offset, refused, gone)
        chosen = np.zeros(n, bool) if wanted is None else wanted(events.offset[first:])
        slot = self._slots(events.user_id[first:], None if gone is None else gone[first:])
        chosen &= slot != NONE
        if self._actions.is_kept:
            chosen &= ~self._actions.are_negative(events.kind[first:])
        item, strong, too_old, repeat, seen = self._fold(events, first, slot, chosen, observe)
        counted = strong & ~too_old
        self._demand.add(
            events.timestamp[first:][counted] // self.settings.demand_ms,
            item[counted],
            self._markets.of(events.user_id[first:], counted, self._country)
            if self._has_users
            else np.zeros(int(counted.sum()), np.int64),
        )
        if next_offset > position:
            self._applied += n - int(too_old.sum())
            self._refused += refused + int(too_old.sum())
        self._positions[topic] = max(position, next_offset)
        row = np.flatnonzero(chosen & ~too_old)
        return Applied(
            applied=n - int(too_old.sum()),
            too_old=np.flatnonzero(too_old) + first,
            skipped=first,
            observations=Observations(
                row=row + first,
                target=self._items.keys[item[row]],
                repeat=repeat[row],
                indptr=np.append(seen.starts[row], seen.starts[-1]),
                item_keys=self._items.keys[seen.item],
                time=seen.time,
                strong=seen.strong != NONE,
            ),
        )

    def _apply_shown(
        self, topic: str, events: EventColumns, first: int, next_offset: int, refused: int,
        gone: Bools | None,
    ) -> Applied:  # fmt: skip
        """Apply a batch of impressions from row `first` on; see apply_events.

        A record has a row for each of its items; it counts as one.
        """
        position = self._positions.get(topic, 0)
        offset = events.offset[first:]
        too_old = self._count_shown(events, first, gone)
        records, begin = np.unique(offset, return_index=True)
        old = begin[too_old[begin]]
        if next_offset > position:
            self._applied += len(records) - len(old)
            self._refused += refused + len(old)
        self._positions[topic] = max(position, next_offset)
        nothing, no_keys = np.zeros(0, np.int64), np.zeros(0, np.uint64)
        return Applied(
            applied=len(records) - len(old),
            too_old=old + first,
            skipped=len(np.unique(events.offset[:first])),
            observations=Observations(
                row=nothing, target=no_keys, repeat=np.zeros(0, bool),
                indptr=np.zeros(1, np.int64), item_keys=no_keys, time=nothing,
                strong=np.zeros(0, bool),
            ),
        )  # fmt: skip

    def _count_shown(self, events: EventColumns, first: int, gone: Bools | None) -> Bools:
        """Count the rows from `first` on that are inside the window; returns the others, bool."""
        window = self.settings.window
        too_old = events.timestamp[first:] // window.bucket_ms <= self.watermark - window.buckets
        users, times = events.user_id[first:], events.timestamp[first:]
        items = self._items.numbers(events.item_type[first:], events.item_id[first:])
        counted = ~too_old if gone is None else ~too_old & ~gone[first:]
        assumed = in_set(events.kind[first:], frozenset({ASSUMED_KIND}))
        self._shown.apply(users, items, times, counted, assumed)
        if self.taken.is_kept:
            unknown = np.zeros(len(items), np.int64)
            at = unknown if events.position is None else events.position[first:]
            lists = unknown if events.list_code is None else events.list_code[first:]
            self.taken.add(users, items, times, counted, at, lists)
        return too_old

    def apply_again(self, events: EventColumns) -> None:
        """Apply events of users who were just erased that the erasure does not cover.

        They were applied before, and what they did was dropped with the rest: no position moves,
        and they are not counted once more.
        """
        n = len(events.offset)
        if n and events.kind[0] in (SHOWN_KIND, ASSUMED_KIND):
            self._count_shown(events, 0, None)
            return
        slot = self._slots(events.user_id, None)
        self._fold(events, 0, slot, np.zeros(n, bool), 0)

    def _slots(self, users: Sequence[str], gone: Bools | None) -> I64:
        """Slots of histories, NONE for rows that do not count: their users get none."""
        if gone is None:
            return self._histories.slots(users)
        slot = np.full(len(users), NONE, np.int64)
        kept = np.flatnonzero(~gone)
        slot[kept] = self._histories.slots([users[row] for row in kept.tolist()])
        return slot

    def _fold(
        self, events: EventColumns, first: int, slot: I64, chosen: Bools, observe: int
    ) -> tuple[I64, Bools, Bools, Bools, Seen]:
        """Fold the rows from `first` on into histories and deltas.

        Returns items, whether rows build the graph, are too old, are repeats; and what was seen.
        """
        n, histories, window = len(slot), self._histories, self.settings.window
        item = self._items.numbers(events.item_type[first:], events.item_id[first:])
        strong = in_set(events.kind[first:], frozenset(self.settings.graph_kinds))
        too_old, repeat = np.zeros(n, bool), np.zeros(n, bool)
        starts, room = np.zeros(n + 1, np.int64), int(chosen.sum()) * observe
        seen_item, seen_time = np.zeros(room, np.int64), np.zeros(room, np.int64)
        seen_strong, begin = np.zeros(room, np.int64), 0
        before = self.watermark
        while begin < n:
            begin = apply_events(
                begin, histories.rows, histories.starts, histories.lengths, slot, item,
                events.timestamp[first:], strong, self._items.keys, window.bucket_ms,
                window.buckets, self.settings.history_cap, self._watermark, self._deltas,
                too_old, chosen, starts, seen_item, seen_time, seen_strong, observe, repeat,
            )  # fmt: skip
            if begin < n:
                self._deltas = grown(self._deltas)
        seen = int(starts[-1])
        found = Seen(starts, seen_item[:seen], seen_time[:seen], seen_strong[:seen])
        if self._actions.is_kept:
            bucket = np.where(too_old, NONE, events.timestamp[first:] // window.bucket_ms)
            latest = np.maximum.accumulate(np.concatenate([[before], bucket]))[1:]
            found = self._actions.apply(
                events.user_id[first:], events.kind[first:], item, events.timestamp[first:],
                ~too_old & (slot != NONE), (latest - window.buckets + 1) * window.bucket_ms,
                chosen, found,
            )  # fmt: skip
        if self.taken.is_kept:
            counted = strong & ~too_old & (slot != NONE)
            self.taken.add(events.user_id[first:], item, events.timestamp[first:], counted)
        return item, strong, too_old, repeat, found

    def erase(self, topic: str, user_id: str, offset: int, logged_at: int) -> bool | None:
        """Forget a user: the erasure is the record at `offset` of a topic of events.

        The user's pair counts are taken back and the history dropped, committed or not; attributes
        too, unless the log took them after `logged_at` (ms UTC), when it took the erasure: they may
        have been read before it. The watermark stays: that time has passed names no user.

        Returns whether there was a history, an action or an impression; None if the record was
        applied before.
        """
        if offset < self._positions.get(topic, 0):
            return None
        held = self.forget(user_id, logged_at)
        self._applied += 1
        self._erased[topic] = offset
        self._positions[topic] = offset + 1
        return held

    def forget(self, user_id: str, logged_at: int) -> bool:
        """Take back a user's pair counts, drop the history, and attributes logged by `logged_at`.

        What `erase` does, without a record that asks for it; actions and impressions go too.
        Returns whether there was any of these.
        """
        rows = self._histories.of(user_id)
        window, done = self.settings.window, 0
        first_live = max(window.first_live(self.watermark), 0)
        while done < len(rows):
            done = erase_rows(done, rows, len(rows), window.bucket_ms, first_live, self._deltas)
            if done < len(rows):
                self._deltas = grown(self._deltas)
        held = len(rows) > 0 or bool(self._actions.of(user_id)) or self._shown.has(user_id)
        self._histories.forget(user_id)
        self._actions.forget(user_id)
        self._shown.forget(user_id)
        self.taken.forget(user_id)
        if self.user(user_id).get(LOGGED_AT, 0) <= logged_at:
            self._records[database.USERS + user_id.encode()] = None
            self._attributes.pop(user_id, None)
            self._markets.forget([user_id])
        self._erased_keys |= {p + user_id.encode() for p in BY_USER}
        return held

    def count_refused(self, records: int) -> None:
        """Count records of the topics of events that were no good events."""
        self._refused += records

    def apply_users(
        self, topic: str, records: Iterable[tuple[int, str, bytes | None]], next_offset: int
    ) -> None:
        """Keep the latest attributes of users: (offset, user_id, JSON object or None).

        The object says under `LOGGED_AT` when the log took it, ms UTC; without, it counts as old.
        """
        self._attributes.clear()
        records = list(records)
        self._markets.forget(user for _, user, _ in records)
        self._has_users |= bool(records)
        self._apply_records(
            topic, ((o, database.USERS + u.encode(), v) for o, u, v in records), next_offset
        )

    def apply_items(
        self, topic: str, records: Iterable[tuple[int, bytes, bytes | None]], next_offset: int
    ) -> None:
        """Keep the latest catalogue entries: (offset, key, JSON object or None if deleted)."""
        self._apply_records(
            topic, ((o, database.CATALOGUE + k, v) for o, k, v in records), next_offset
        )

    def pass_over(self, topic: str, offset: int) -> None:
        """Go on at `offset` without the records before it; the state says so for good."""
        position = self._positions.get(topic, 0)
        if offset > position:
            self._missing = (*self._missing, Missing(topic, position, offset))
            self._positions[topic] = offset

    def pass_empty(self, topic: str, first: int, end: int) -> bool:
        """Go on at `end`: no offset from `first` up to it holds a record to apply.

        Such offsets are markers of transactions, aborted records and compacted ones. Returns False,
        and changes nothing, while the state has not yet applied all that lies before `first`.
        """
        position = self._positions.get(topic, 0)
        if position < first:
            return False
        self._positions[topic] = max(position, end)
        return True

    def tell_demand(self, *, all_of_it: bool = True) -> list[DemandBlock]:
        """Return counts of live popularity that were not sent yet, by bucket; they count as sent.

        Call it before a commit. The commit notes what was not sent, so that a state that is opened
        again knows it.

        all_of_it: False sends the last two buckets of the window only. At full speed through old
        history each commit changes thousands of buckets.
        """
        first_live = self.settings.first_demand(self.watermark)
        first = 0 if all_of_it else self.settings.first_demand_of(max(self.watermark - 1, 0))
        return self._telling.tell(first_live, self._items.keys, first)

    def commit(self) -> dict[str, int]:
        """Write everything applied so far, with its positions, in one batch; returns these."""
        batch = self._database.batch()
        first_live = self.settings.window.first_live(self.watermark)
        run = self._next_run()
        added = adjacency_runs.write_deltas(
            self._files, run, self._deltas, first_live, len(self._items)
        )
        runs = (*(r for r in self._meta.runs if r.last >= first_live), *added)
        self._histories.write(batch)
        self._actions.write(batch, self._first_ms, self._items.keys)
        self._shown.write(batch, self._first_live)
        first_demand = self.settings.first_demand(self.watermark)
        untold = self._telling.to_note(first_demand)
        self._demand.write(batch, first_demand)
        counts_taken = self.taken.write(batch)
        for key, record in self._records.items():
            if record is None:
                batch.delete(key)
            else:
                batch.put(key, record)
        for number, row in self._items.take_new():
            batch.put(database.item_row_key(number), row)
        meta = CommitRecord(
            format=FORMAT,
            fingerprint=self.settings.fingerprint(),
            partition=self.partition,
            positions=dict(self._positions),
            watermark=self.watermark,
            items=len(self._items),
            run=run,
            runs=runs,
            applied=self._applied,
            refused=self._refused,
            behind={topic: records for topic, records in self._behind.items() if records},
            missing=self._missing,
            settings=self.settings.meaning(),
            erased=dict(self._erased),
            demand_from=self._demand_from,
            demand_untold=untold,
            uncompacted=self.uncompacted,
            made_from=dict(self._made_from),
            actions_from=self._actions_from,
            keeps_shown=True,
            taken=counts_taken,
        )
        self._write(batch, meta)
        self._demand.written()
        self._actions.written()
        self._shown.written()
        self._telling.committed(untold)
        self.taken.committed(counts_taken)
        if self._merging and not {*self._merging.due.runs} <= {*runs}:
            # A run that it reads has left the window.
            self._merging.abandon()
            self._merging = None
        self._keep_files()
        self.merge_runs(MERGE_SHARE * sum(run.entries for run in added))
        self._histories.written()
        self._records.clear()
        self._deltas = cleared(self._deltas, self.settings.delta_room)
        return self.committed

    def _apply_records(
        self, topic: str, records: Iterable[tuple[int, bytes, bytes | None]], next_offset: int
    ) -> None:
        position = self._positions.get(topic, 0)
        for offset, key, value in records:
            if offset >= position:
                self._records[key] = value
        self._positions[topic] = max(position, next_offset)
