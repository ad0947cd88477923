"""The state of one partition: what its events made of histories and co-interactions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from state import database
from state import runs as adjacency_runs
from state.actions import ACTIONS, LastActions, Marks, Reactions
from state.batches import Applied, Bools, EventColumns, Observations, Seen
from state.co_interactions import CoInteractions, read_co_interactions
from state.commit_record import (
    FORMAT,
    CommitRecord,
    MadeFrom,
    Missing,
    check_meta,
    read_meta,
)
from state.database import Batch, Database
from state.deltas import cleared, empty_deltas, grown
from state.demand import Demand, DemandBlock, Markets
from state.histories import Histories
from state.history import History
from state.items import ItemNumbers
from state.kernel import I64, ITEM, NONE, apply_events, erase_rows
from state.names import in_set
from state.run_files import RunFiles
from state.runs import Merging, Runs
from state.settings import StateSettings
from state.shown import ASSUMED_KIND, SHOWN, SHOWN_KIND, Shown, ShownItems, UserShown
from state.taken import LISTS, SHOWINGS
from state.taken_state import TakenState
from state.telling import Telling

__all__ = ["LOGGED_AT", "PartitionState"]

#: Entries that a commit merges at most for each that it writes.
MERGE_SHARE = 4
#: Users whose decoded attributes are kept at hand.
KNOWN_USERS = 65_536
#: Users whose market is kept at hand.
KNOWN_MARKETS = 1 << 20

#: First bytes of the keys that name a user.
_BY_USER = (database.HISTORY, database.USERS, ACTIONS, SHOWN, SHOWINGS, LISTS)

#: Where a user's attributes say when the log took them.
LOGGED_AT = "logged_at"


class PartitionState:
    """Histories, windowed co-interactions and applied offsets of one partition, in one RocksDB.

    Guaranteed: what is committed is a pure function of the records below `position(topic)` of each
    topic. `commit` writes state and positions in one batch; a process that dies between two
    commits goes on from the earlier one. Reads see applied events at once, committed or not.

    Never happens: a record applied twice (rows below the position are skipped), a history read
    while it is half written. Not thread-safe: one owner.
    """

    def __init__(
        self, folder: Path, partition: int, settings: StateSettings, *, read_only: bool = False
    ) -> None:
        """Open the state in `folder`, made when missing.

        Raises WrongState if it is another's, DamagedState if a file of it is not whole.

        read_only: leave the folder as it is, as long as nothing is applied or committed; the
        folder must exist and no other process may be writing to it.
        """
        self.folder = folder
        self.partition = partition
        self.settings = settings
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
        self._database = database.open_database(folder, settings, read_only=read_only)
        try:
            self._read(read_only=read_only)
        except BaseException:
            self._database.close()
            raise

    def _read(self, *, read_only: bool) -> None:
        folder, settings = self.folder, self.settings
        self._meta = read_meta(self._database) or CommitRecord(
            FORMAT, settings.fingerprint(), self.partition, settings=settings.meaning()
        )
        check_meta(self._meta, self.partition, settings, folder)
        self._positions = dict(self._meta.positions)
        self._behind = dict(self._meta.behind)
        self._watermark = np.array([self._meta.watermark], np.int64)
        self._applied, self._refused = self._meta.applied, self._meta.refused
        self._missing = self._meta.missing
        self._made_from = dict(self._meta.made_from)
        self._erased = dict(self._meta.erased)
        # What to compact: only these keys, or, where an earlier process erased, every user.
        self._erased_keys: set[bytes] = set()
        self._uncompacted = self._meta.uncompacted
        self._items = ItemNumbers(self._database)
        self._histories = Histories(
            self._database, settings.history_cache_bytes, settings.history_cap
        )
        self._records: dict[bytes, bytes | None] = {}
        self._attributes: dict[str, Mapping[str, Any]] = {}
        self._markets = Markets(KNOWN_MARKETS)
        # After a version that does not count has continued the state, counts begin at zero.
        made = self._meta.demand_from
        self._demand = Demand(self._database, reset=made is None)
        self._demand_from = dict(self._meta.positions) if made is None else made
        self._telling = Telling(self._demand, self._meta.demand_untold)
        if not read_only and not self._meta.keeps_shown:
            # An earlier version has continued the state. Its erasures left actions in place.
            self._drop_all(ACTIONS, SHOWN)
        self._actions = LastActions(self._database, settings)
        self._shown = Shown(self._database, settings)
        #: Counts of what was shown, and of it taken.
        self.taken = self._taken_of(read_only=read_only)
        known = (self._meta.actions_from or {}) if self._meta.keeps_shown else {}
        now = dict(self._meta.positions)
        self._actions_from = {kind: known.get(kind, now) for kind in settings.marked_kinds}
        self._has_users = any(self._database.scan(database.USERS, database.after(database.USERS)))
        self._deltas = empty_deltas(settings.delta_room)
        self._merging: Merging | None = None
        self._last_run = self._meta.run
        self._files = RunFiles(folder, mark=not read_only)
        for run in self._meta.runs:
            self._files[run.number]
        if not read_only:
            self._files.keep(run.number for run in self._meta.runs)

    def _taken_of(self, *, read_only: bool) -> TakenState:
        """Go on with the counts of shown and taken, or begin them, where they are made."""
        settings, made = self.settings, self._meta.taken
        within = settings.taken_ms if settings.impressions else None
        if made is not None and made.within_ms != within:
            made, other = None, msgspec.structs.replace(self._meta, taken=None)
            if not read_only:
                self._write(self._database.batch(), other)
        return TakenState(
            self._database, settings, self._items, lambda: self.watermark, noted=made,
            positions=self._meta.positions, drop=None if read_only else self._drop_all,
        )  # fmt: skip

    def _drop_all(self, *prefixes: bytes) -> None:
        """Delete all keys that begin so; what names users is compacted away later."""
        batch, found = self._database.batch(), False
        for prefix in prefixes:
            for key, _ in self._database.scan(prefix, database.after(prefix)):
                batch.delete(key)
                found = True
        if found:
            self._database.write(batch)
            self._uncompacted = True

    # Positions

    def position(self, topic: str) -> int | None:
        """Next offset to read of a topic; None if nothing of it was applied yet."""
        return self._positions.get(topic)

    @property
    def positions(self) -> dict[str, int]:
        """Next offset to read of every topic that was applied, uncommitted records included."""
        return dict(self._positions)

    @property
    def committed(self) -> dict[str, int]:
        """Next offset to read of every topic, as of the last commit."""
        return dict(self._meta.positions)

    def behind(self, topic: str) -> int:
        """Records before the position whose outputs are not written yet; 0 if all are."""
        return self._behind.get(topic, 0)

    def set_behind(self, topic: str, records: int) -> bool:
        """Note `behind` for the next commit; returns whether it changes what is committed.

        It is no part of the state proper: it says from where on a successor must read again.
        """
        self._behind[topic] = records
        return records != self._meta.behind.get(topic, 0)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Records that the state was made without, in the order in which they were passed over."""
        return self._missing

    def made_from(self, topic: str) -> MadeFrom | None:
        """Which topic of a name the position belongs to; None if the state does not say."""
        return self._made_from.get(topic)

    def set_made_from(self, topic: str, made_from: MadeFrom) -> bool:
        """Note for the next commit which topic of a name is read.

        Returns whether a position that is committed already is without it until then.
        """
        self._made_from[topic] = made_from
        noted = self._meta.made_from.get(topic) == made_from
        return not noted and topic in self._meta.positions

    @property
    def watermark(self) -> int:
        """Greatest bucket seen, -1 before the first event."""
        return int(self._watermark[0])

    @property
    def counts(self) -> dict[str, int]:
        """Records of the events topics so far: applied, and refused; they sum to all records."""
        return {"applied": self._applied, "refused": self._refused}

    @property
    def erased(self) -> dict[str, int]:
        """Offset of the last erasure by topic, uncommitted ones included."""
        return dict(self._erased)

    @property
    def erasing(self) -> bool:
        """Whether an erasure waits for the next commit."""
        return self._erased != self._meta.erased

    @property
    def uncompacted(self) -> bool:
        """True if the files of the database may still hold the bytes of an erased user."""
        return bool(self._uncompacted or self._erased_keys)

    @property
    def telling(self) -> bool:
        """Whether counts were told to others of which the last commit says otherwise."""
        return self._telling.is_ahead or self.taken.is_ahead

    @property
    def pending(self) -> int:
        """Co-interaction deltas that wait for the next commit."""
        return int(self._deltas[2][0])

    # Writing

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
        offset = events.offset[first:]
        too_old = self._count_shown(events, first, gone)
        records, begin = np.unique(offset, return_index=True)
        old = begin[too_old[begin]]
        if next_offset > self._positions.get(topic, 0):
            self._applied += len(records) - len(old)
            self._refused += refused + len(old)
        self._positions[topic] = max(self._positions.get(topic, 0), next_offset)
        nothing = np.zeros(0, np.int64)
        return Applied(
            applied=len(records) - len(old),
            too_old=old + first,
            skipped=len(np.unique(events.offset[:first])),
            observations=Observations(
                row=nothing, repeat=np.zeros(0, bool), indptr=np.zeros(1, np.int64),
                item_keys=np.zeros(0, np.uint64), time=nothing, strong=np.zeros(0, bool),
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
        self._erased_keys |= {p + user_id.encode() for p in _BY_USER}
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

    def merge_runs(self, most: int | None = None) -> int:
        """Go on with merges of runs that are due, the smallest first; returns the entries read.

        most: entries that are read, about; what is left of a merge goes on with the next call
        (default all that is due).
        """
        done = 0
        while most is None or done < most:
            if self._merging is None:
                window = self.settings.window
                first_live = window.first_live(self.watermark)
                due = adjacency_runs.crowded(self._meta.runs, self.settings.merge_runs, first_live)
                if not due:
                    break
                self._merging = Merging(
                    self._files, due[0], self._next_run(),
                    items=len(self._items), first_live=first_live, last=self.watermark,
                )  # fmt: skip
            if not self._merging.finished:
                done += self._merging.step()
            if self._merging.finished:
                runs = self._merging.finish(self._meta.runs)
                meta = msgspec.structs.replace(self._meta, run=self._last_run, runs=runs)
                self._write(self._database.batch(), meta)
                self._merging = None
                self._keep_files()
        return done

    def compact_erased(self) -> None:
        """Rewrite the files that still hold erased users behind their deletion.

        A deletion hides a value; the value itself is in the files until these are compacted. The
        commit record says so until it is done, so a process that opens the state after a crash
        compacts too. It does not know the users, and compacts the ranges of all of them. To be
        called after a commit.
        """
        if not self.uncompacted:
            return
        if self._uncompacted:
            for prefix in _BY_USER:
                self._database.rewrite(prefix, database.after(prefix))
        for key in self._erased_keys:
            self._database.rewrite(key, key + b"\0")
        # The manifest begins with the files as they were before its latest change.
        self._write(self._database.batch(), self._meta)
        self._database.flush()
        self._erased_keys.clear()
        self._uncompacted = False
        self._write(self._database.batch(), msgspec.structs.replace(self._meta, uncompacted=False))

    def close(self) -> None:
        """Close the database; what was not committed is gone and will be read again."""
        if self._merging:
            self._merging.abandon()
            self._merging = None
        self._database.close()

    # Reading

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

    @property
    def _first_live(self) -> int:
        """First bucket of the window."""
        return max(self.settings.window.first_live(self.watermark), 0)

    @property
    def _first_ms(self) -> int:
        """Beginning of the window, ms UTC."""
        return self._first_live * self.settings.window.bucket_ms

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
            for prefix in _BY_USER
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

    def tell_demand(self, *, all_of_it: bool = True) -> list[DemandBlock]:
        """Return the counts that others do not know yet, all of a bucket; they count as told.

        To be called before a commit, which notes what was not told: so a state that is opened
        again knows it. all_of_it: False leaves buckets before the last two of the window for
        another time; a history that is read at full speed changes thousands with each commit.
        """
        first_live = self.settings.first_demand(self.watermark)
        first = 0 if all_of_it else self.settings.first_demand_of(max(self.watermark - 1, 0))
        return self._telling.tell(first_live, self._items.keys, first)

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

    # Inside

    @property
    def database(self) -> Database:
        """The open database, for checkpoints."""
        return self._database

    @property
    def run_files(self) -> RunFiles:
        """The files of the adjacency runs."""
        return self._files

    @property
    def runs(self) -> Runs:
        """Adjacency runs of the last commit, oldest first."""
        return self._meta.runs

    @property
    def items(self) -> ItemNumbers:
        """Items this partition has seen."""
        return self._items

    def _apply_records(
        self, topic: str, records: Iterable[tuple[int, bytes, bytes | None]], next_offset: int
    ) -> None:
        position = self._positions.get(topic, 0)
        for offset, key, value in records:
            if offset >= position:
                self._records[key] = value
        self._positions[topic] = max(position, next_offset)

    def _next_run(self) -> int:
        self._last_run += 1
        return self._last_run

    def _keep_files(self) -> None:
        merging = (self._merging.number,) if self._merging else ()
        self._files.keep((*(run.number for run in self._meta.runs), *merging))

    def _write(self, batch: Batch, meta: CommitRecord) -> None:
        batch.put(database.META, msgspec.json.encode(meta))
        self._database.write(batch)
        self._meta = meta
