"""What the users of examples had been shown before, in columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.errors import CorruptExamples
from dynamic_layer.ragged import take_rows
from state import ShownBefore

__all__ = ["ShownColumns"]

MAX_SHOWN = 1 << 26
_COLUMNS = (("item", "<u8"), ("end", "<i8"), ("count", "<u4"))


@dataclass(frozen=True, kw_only=True)
class ShownColumns:
    """Impressions of the users of `n` examples, `s` rows in all; see `state.ShownBefore`.

    indptr: i64 [n + 1]; example i has rows indptr[i]:indptr[i + 1].
    item:   u64 [s], item keys, ascending within an example.
    end:    i64 [s], ms UTC at which the last bucket ended in which the item was shown.
    count:  u32 [s], impressions.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.uint64]
    end: NDArray[np.int64]
    count: NDArray[np.uint32]

    @classmethod
    def of(cls, users: Sequence[ShownBefore | None]) -> Self:
        """Return what the user of each example had been shown; None for nothing."""
        found = [one for one in users if one is not None]
        sizes = [0 if one is None else len(one.items) for one in users]
        return cls(
            indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            item=np.concatenate([np.zeros(0, np.uint64), *(one.items for one in found)]),
            end=np.concatenate([np.zeros(0, np.int64), *(one.end for one in found)]),
            count=np.concatenate([np.zeros(0), *(one.count for one in found)]).astype(np.uint32),
        )

    def check(self, n: int) -> None:
        """Raise ValueError where the columns do not fit each other and `n` examples."""
        ends, sizes = self.indptr, {len(getattr(self, name)) for name, _ in _COLUMNS}
        if len(ends) != n + 1 or ends[0] != 0 or np.any(np.diff(ends) < 0) or sizes != {ends[-1]}:
            raise ValueError(f"expected impressions of {n} examples, one row in each column")

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return the impressions of some examples, by row numbers."""
        indptr, chosen = take_rows(self.indptr, rows)
        columns = {name: getattr(self, name)[chosen] for name, _ in _COLUMNS}
        return type(self)(indptr=indptr, **columns)

    def pack(self) -> bytes:
        """Return the columns as bytes, little-endian."""
        columns = (("indptr", "<i8"), *_COLUMNS)
        return b"".join(
            np.ascontiguousarray(getattr(self, name), dtype).tobytes() for name, dtype in columns
        )

    @classmethod
    def unpack(cls, data: bytes, n: int) -> Self:
        """Return what `pack` wrote for `n` examples. Raises CorruptExamples for other bytes."""
        at = 8 * (n + 1)
        indptr = np.frombuffer(data[:at], "<i8") if len(data) >= at else np.zeros(0, np.int64)
        size = int(indptr[-1]) if len(indptr) else -1
        row = sum(np.dtype(dtype).itemsize for _, dtype in _COLUMNS)
        if not 0 <= size <= MAX_SHOWN or len(data) != at + size * row:
            raise CorruptExamples(f"expected impressions of {n} examples, got {len(data)} bytes")
        columns = {}
        for name, dtype in _COLUMNS:
            columns[name] = np.frombuffer(data, dtype, size, at)
            at += columns[name].nbytes
        found = cls(indptr=indptr, **columns)
        try:
            found.check(n)
        except ValueError as error:
            raise CorruptExamples(str(error)) from error
        return found
