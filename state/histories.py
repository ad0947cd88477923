"""The histories of a partition: what waits for a commit, what is hot, and what RocksDB has."""

from collections.abc import Sequence

import numpy as np
from rocksdict import Rdict, WriteBatch

from state import database
from state.kernel import COLUMNS, I64
from state.packing import pack, packed_bytes, rows_of, unpack, unpacked_lengths

__all__ = ["Histories"]


class Histories:
    """Stored histories by user, read through a cache; written by the partition's commit.

    The cache has two generations: what was written lately, and what was before that and has not
    been dropped yet. It holds at most about `cache_bytes` of packed histories.
    """

    def __init__(self, source: Rdict, cache_bytes: int) -> None:
        """Read from an open database."""
        self._database = source
        self._generation_bytes = cache_bytes // 2
        self._pending: dict[str, bytes] = {}
        self._young: dict[str, bytes] = {}
        self._young_bytes = 0
        self._old: dict[str, bytes] = {}

    def rows(self, user: str) -> I64:
        """Rows of a user as they were kept last: int64 [n, COLUMNS], see `state.kernel`."""
        stored = self._stored([user])[0]
        return rows_of(stored) if stored else np.zeros((0, COLUMNS), np.int64)

    def workspace(self, users: Sequence[str], room: I64, cap: int) -> tuple[I64, I64, I64]:
        """Histories in one array, each with room for more rows.

        room: int64 [users], rows that each may grow by; none grows beyond cap + 1.
        Returns rows [r, COLUMNS], and where each history starts and how long it is, int64 [users].
        """
        stored = self._stored(users)
        data = np.frombuffer(b"".join(stored), np.uint8)
        ends = np.cumsum(np.fromiter(map(len, stored), np.int64, len(stored)))
        begins = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        lengths = unpacked_lengths(data, begins, ends)
        capacity = np.maximum(np.minimum(lengths + room, cap + 1), lengths)
        starts = np.cumsum(capacity) - capacity
        rows = np.empty((int(capacity.sum()), COLUMNS), np.int64)
        unpack(data, begins, lengths, rows, starts)
        return rows, starts, lengths

    def keep(self, users: Sequence[str], rows: I64, starts: I64, lengths: I64) -> None:
        """Keep histories until the next commit; arrays as `workspace` returned them."""
        out = np.empty(packed_bytes(lengths), np.uint8)
        ends = pack(rows, starts, lengths, out).tolist()
        packed = out[: ends[-1] if ends else 0].tobytes()
        begins = [0, *ends[:-1]]
        self._pending.update(
            zip(users, [packed[b:e] for b, e in zip(begins, ends, strict=True)], strict=True)
        )

    def write(self, batch: WriteBatch) -> None:
        """Put what was kept since the last commit into a batch."""
        prefix = database.HISTORY
        put = batch.put
        for user, packed in self._pending.items():
            put(prefix + user.encode(), packed)

    def written(self) -> None:
        """Note that the batch was written: what waited is in the database now."""
        self._young.update(self._pending)
        self._young_bytes += sum(map(len, self._pending.values()))
        self._pending = {}
        if self._young_bytes > self._generation_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0

    def _stored(self, users: Sequence[str]) -> list[bytes]:
        """Packed histories, empty for users without one."""
        pending, young, old = self._pending, self._young, self._old
        found = [pending.get(u) or young.get(u) or old.get(u) or b"" for u in users]
        missing = [at for at, packed in enumerate(found) if not packed]
        if missing:
            prefix = database.HISTORY
            stored = self._database.get([prefix + users[at].encode() for at in missing])
            for at, packed in zip(missing, stored, strict=True):
                found[at] = packed or b""
        return found
