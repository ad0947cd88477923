"""A partition's folder: its database, its commit record, its files, and their upkeep."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from state import database
from state import runs as adjacency_runs
from state.actions import ACTIONS, LastActions
from state.commit_record import (
    FORMAT,
    CommitRecord,
    MadeFrom,
    Missing,
    check_meta,
    read_meta,
    topics_read,
    write_meta,
)
from state.database import Batch, Database
from state.deltas import empty_deltas
from state.demand import Demand, Markets, Telling
from state.histories import Histories
from state.items import ItemNumbers
from state.run_files import RunFiles
from state.runs import Merging, Runs
from state.settings import StateSettings
from state.shown import SHOWN, Shown
from state.taken import LISTS, SHOWINGS
from state.taken_state import TakenState

__all__ = ["BY_USER", "StoredPartition"]

logger = logging.getLogger(__name__)

#: How often the disk is looked at until RocksDB has removed files that it does not read any more,
#: the time between two looks, and the looks between two flushes, each of which removes such files.
#: Chosen: two seconds in all. A removal takes milliseconds, on a busy disk some hundred.
REMOVAL_TRIES, REMOVAL_S, REMOVAL_FLUSHES = 100, 0.02, 25
#: Users whose market is kept in memory.
KNOWN_MARKETS = 1 << 20

#: First bytes of the keys that name a user.
BY_USER = (database.HISTORY, database.USERS, ACTIONS, SHOWN, SHOWINGS, LISTS)


class StoredPartition:
    """One partition's RocksDB and run files: opening, positions, merges, compaction, closing.

    `PartitionReads` adds what is read from them, `PartitionState` what changes them.
    """

    def __init__(
        self, folder: Path, partition: int, settings: StateSettings, *, read_only: bool = False
    ) -> None:
        """Open the state in `folder`, made when missing.

        Raises WrongState if it is another's, DamagedState if a file of it is not whole.

        read_only: leave the folder as it is, as long as nothing is applied or committed; the
        folder must exist and no other process may be writing to it.
        """
        self._pause = time.sleep
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

    @property
    def topics_read(self) -> dict[str, MadeFrom]:
        """Which topics were read, as far as the state says; see `commit_record.topics_read`."""
        return topics_read(self._made_from, self._positions)

    def log_name(self, topic: str) -> str:
        """Name under which offsets of a topic go to the trainer: `MadeFrom.log_name`."""
        made = self._made_from.get(topic)
        return topic if made is None else made.log_name(topic)

    def set_made_from(self, topic: str, made_from: MadeFrom) -> bool:
        """Note for the next commit which topic of a name is read.

        Returns whether a position that is committed already is without it until then.
        """
        known = self._made_from.get(topic)
        if known is not None and known.again and known.id == made_from.id:
            made_from = msgspec.structs.replace(made_from, again=True)
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

    @property
    def _first_live(self) -> int:
        """First bucket of the window."""
        return max(self.settings.window.first_live(self.watermark), 0)

    @property
    def _first_ms(self) -> int:
        """Beginning of the window, ms UTC."""
        return self._first_live * self.settings.window.bucket_ms

    # Upkeep

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
        called after a commit. It waits, up to `REMOVAL_TRIES`, until RocksDB has removed the files
        from the disk; otherwise the state stays `uncompacted`, and a later call begins again.
        """
        if not self.uncompacted:
            return
        if self._uncompacted:
            for prefix in BY_USER:
                self._database.rewrite(prefix, database.after(prefix))
        for key in self._erased_keys:
            self._database.rewrite(key, key + b"\0")
        if left := self._left_after_removal():
            logger.warning(
                "%s: RocksDB has not removed %s, which may hold an erased user; tried again later",
                self.folder, ", ".join(sorted(left)),
            )  # fmt: skip
            return
        self._erased_keys.clear()
        self._uncompacted = False
        self._write(self._database.batch(), msgspec.structs.replace(self._meta, uncompacted=False))

    def _left_after_removal(self) -> set[str]:
        """Wait until no file from before a compaction is on the disk; returns those that stay."""
        for attempt in range(REMOVAL_TRIES):
            if attempt % REMOVAL_FLUSHES == 0:
                # The manifest begins with the files as they were before its latest change.
                self._write(self._database.batch(), self._meta)
                self._database.flush()
            if not self._database.obsolete_files():
                return set()
            self._pause(REMOVAL_S)
        return self._database.obsolete_files()

    def close(self) -> None:
        """Close the database; what was not committed is gone and will be read again."""
        if self._merging:
            self._merging.abandon()
            self._merging = None
        self._database.close()

    def _next_run(self) -> int:
        self._last_run += 1
        return self._last_run

    def _keep_files(self) -> None:
        merging = (self._merging.number,) if self._merging else ()
        self._files.keep((*(run.number for run in self._meta.runs), *merging))

    def _write(self, batch: Batch, meta: CommitRecord) -> None:
        write_meta(batch, meta)
        self._database.write(batch)
        self._meta = meta
