"""The state of one partition: what its events made of histories and co-interactions."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from rocksdict import Rdict, WriteBatch

from state import database
from state import runs as adjacency_runs
from state.batches import Applied, Bools, EventColumns, Observations
from state.co_interactions import CoInteractions, read_co_interactions
from state.commit_record import (
    FORMAT,
    CommitRecord,
    Missing,
    WrongState,
    check_meta,
    read_meta,
)
from state.deltas import cleared, empty_deltas, grown
from state.demand import Demand, DemandBlock, Markets
from state.histories import Histories
from state.history import History
from state.items import ItemNumbers
from state.kernel import I64, apply_events, erase_rows
from state.run_files import DamagedState, RunFiles
from state.runs import Merging, Runs
from state.settings import StateSettings

__all__ = ["LOGGED_AT", "PartitionState"]

#: Entries that a commit merges at most for each that it writes.
MERGE_SHARE = 4
#: Users whose decoded attributes are kept at hand.
KNOWN_USERS = 65_536
#: Users whose market is kept at hand.
KNOWN_MARKETS = 1 << 20

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
        self._database: Rdict = database.open_database(folder, settings, read_only=read_only)
        try:
            self._meta = read_meta(self._database) or CommitRecord(
                FORMAT, settings.fingerprint(), partition, settings=settings.meaning()
            )
            check_meta(self._meta, partition, settings, folder)
        except WrongState:
            self._database.close()
            raise
        self._positions = dict(self._meta.positions)
        self._behind = dict(self._meta.behind)
        self._watermark = np.array([self._meta.watermark], np.int64)
        self._applied, self._refused = self._meta.applied, self._meta.refused
        self._missing = self._meta.missing
        self._erased = dict(self._meta.erased)
        self._erased_keys: set[bytes] = set()
        self._items = ItemNumbers.read(self._database)
        self._histories = Histories(
            self._database, settings.history_cache_bytes, settings.history_cap
        )
        self._records: dict[bytes, bytes | None] = {}
        self._attributes: dict[str, Mapping[str, Any]] = {}
        self._markets = Markets(KNOWN_MARKETS)
        # Where a version that does not count has gone on with the state, counts begin anew.
        made = self._meta.demand_from
        self._demand = Demand(self._database, anew=made is None)
        self._demand_from = dict(self._meta.positions) if made is None else made
        self._untold, self._told = set(self._meta.demand_untold), set[int]()
        self._has_users = any(
            database.scan(self._database, database.USERS, database.after(database.USERS))
        )
        self._deltas = empty_deltas(settings.delta_room)
        self._merging: Merging | None = None
        self._last_run = self._meta.run
        self._files = RunFiles(folder)
        try:
            for run in self._meta.runs:
                self._files[run.number]
        except DamagedState:
            self._database.close()
            raise
        if not read_only:
            self._files.keep(run.number for run in self._meta.runs)

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
    def telling(self) -> bool:
        """Whether counts of live popularity were told of which the last commit says otherwise."""
        return not self._told.isdisjoint(self._meta.demand_untold)

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
    ) -> Applied:
        """Apply a batch of events of one topic, in offset order.

        next_offset: offset behind the last record of the batch, bad records included.
        refused:     records of the batch that were no good events; they are counted only.
        wanted:      chooses, from the offsets of the rows, those to observe (default none).
        observe:     history entries that an observation holds at most.
        """
        position = self._positions.get(topic, 0)
        first = int(np.searchsorted(events.offset, position))
        n = len(events.offset) - first
        chosen = np.zeros(n, bool) if wanted is None else wanted(events.offset[first:])
        slot = self._histories.slots(events.user_id[first:])
        item = self._items.numbers(events.item_type[first:], events.item_id[first:])
        graph = frozenset(self.settings.graph_kinds)
        strong = np.fromiter(map(graph.__contains__, events.kind[first:]), bool, n)
        histories = self._histories
        too_old, repeat = np.zeros(n, bool), np.zeros(n, bool)
        seen_starts = np.zeros(n + 1, np.int64)
        room = int(chosen.sum()) * observe
        seen_item, seen_time = np.zeros(room, np.int64), np.zeros(room, np.int64)
        seen_strong = np.zeros(room, bool)
        window, begin = self.settings.window, 0
        while begin < n:
            begin = apply_events(
                begin, histories.rows, histories.starts, histories.lengths, slot, item,
                events.timestamp[first:], strong, self._items.keys, window.bucket_ms,
                window.buckets, self.settings.history_cap, self._watermark, self._deltas,
                too_old, chosen, seen_starts, seen_item, seen_time, seen_strong, observe, repeat,
            )  # fmt: skip
            if begin < n:
                self._deltas = grown(self._deltas)
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
        seen = int(seen_starts[-1])
        row = np.flatnonzero(chosen & ~too_old)
        return Applied(
            applied=n - int(too_old.sum()),
            too_old=np.flatnonzero(too_old) + first,
            skipped=first,
            observations=Observations(
                row=row + first,
                repeat=repeat[row],
                indptr=np.append(seen_starts[row], seen),
                item_keys=self._items.keys[seen_item[:seen]],
                time=seen_time[:seen],
                strong=seen_strong[:seen],
            ),
        )

    def erase(self, topic: str, user_id: str, offset: int, logged_at: int) -> bool | None:
        """Forget a user: the erasure is the record at `offset` of a topic of events.

        The user's pair counts are taken back and the history dropped, committed or not; attributes
        too, unless the log took them after `logged_at` (ms UTC), when it took the erasure: they may
        have been read before it. The watermark stays: that time has passed names nobody.

        Returns whether there was a history; None if the record was applied before.
        """
        if offset < self._positions.get(topic, 0):
            return None
        rows = self._histories.of(user_id)
        window, done = self.settings.window, 0
        first_live = max(window.first_live(self.watermark), 0)
        while done < len(rows):
            done = erase_rows(done, rows, len(rows), window.bucket_ms, first_live, self._deltas)
            if done < len(rows):
                self._deltas = grown(self._deltas)
        self._histories.forget(user_id)
        if self.user(user_id).get(LOGGED_AT, 0) <= logged_at:
            self._records[database.USERS + user_id.encode()] = None
            self._attributes.pop(user_id, None)
            self._markets.forget([user_id])
        self._erased_keys |= {p + user_id.encode() for p in (database.HISTORY, database.USERS)}
        self._applied += 1
        self._erased[topic] = offset
        self._positions[topic] = offset + 1
        return len(rows) > 0

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

    def commit(self) -> dict[str, int]:
        """Write everything applied so far, with its positions, in one batch; returns these."""
        batch = WriteBatch(raw_mode=True)
        first_live = self.settings.window.first_live(self.watermark)
        run = self._next_run()
        added = adjacency_runs.write_deltas(
            self._files, run, self._deltas, first_live, len(self._items)
        )
        runs = (*(r for r in self._meta.runs if r.last >= first_live), *added)
        self._histories.write(batch)
        first_demand = self.settings.first_demand(self.watermark)
        self._untold |= self._demand.changed(first_demand) - self._told
        self._demand.write(batch, first_demand)
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
            demand_untold=tuple(sorted(self._untold)),
        )
        self._write(batch, meta)
        self._demand.written()
        self._told.clear()
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
                self._write(WriteBatch(raw_mode=True), meta)
                self._merging = None
                self._keep_files()
        return done

    def compact_erased(self) -> None:
        """Rewrite the files that still hold erased users behind their deletion.

        A deletion hides a value; the value itself is in the files until these are compacted. To be
        called behind a commit.
        """
        if not self._erased_keys:
            return
        for key in self._erased_keys:
            self._database.compact_range(key, key + b"\0")
        self._erased_keys.clear()
        # The manifest begins with the files as they were before its latest change.
        self._write(WriteBatch(raw_mode=True), self._meta)
        self._database.flush()

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

    def histories(self) -> int:
        """How many users have a stored history; reads all of their keys. Committed state only."""
        rows = database.scan(self._database, database.HISTORY, database.after(database.HISTORY))
        return sum(1 for _ in rows)

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
        news = self._untold | self._demand.changed(first_live)
        told = sorted(bucket for bucket in news if bucket >= first)
        self._told.update(told)
        self._untold = news.difference(told)
        return self._demand.some(told, first_live, self._items.keys)

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
    def database(self) -> Rdict:
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

    def _write(self, batch: WriteBatch, meta: CommitRecord) -> None:
        batch.put(database.META, msgspec.json.encode(meta))
        self._database.write(batch)
        self._meta = meta
