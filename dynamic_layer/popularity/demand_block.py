"""A partition's counts of one bucket on the wire: columns behind a versioned header."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.errors import CorruptDemand

CountsOf = Literal["demand", "shown", "taken"]
_MAGIC: dict[CountsOf, bytes] = {"demand": b"SGDM", "shown": b"SGSN", "taken": b"SGTK"}
_VERSION = 1
# magic, version, partition, bucket, bucket_ms, records, part, parts, n
_HEAD = struct.Struct("<4sHHqqqHHI")
_COLUMNS = (("keys", "<u8"), ("markets", "<i2"), ("counts", "<i4"))
#: Rows of a record at most, 3.5 MiB: brokers and producers refuse what is much larger than 8.
MAX_ROWS = 1 << 18
MAX_PARTS = 1 << 12


@dataclass(frozen=True, kw_only=True)
class DemandRecord:
    """Counts per item and market in one bucket, as made by the state of one partition.

    counts_of: events of demand; or showings, or those that were taken (`state.taken`), whose
               markets are positions.
    partition: of the events topic; bucket: number of a stretch of `bucket_ms` milliseconds.
    records:   records of the partition that the state was made of; of two records for the same
               partition and bucket, the one made of more is right.
    part:      of `parts`, a power of two: the counts are those of all keys whose remainder by
               `parts` it is.
    keys:      u64 [n], item keys; markets and counts: integers [n].
    """

    partition: int
    bucket: int
    bucket_ms: int
    records: int
    keys: NDArray[np.uint64]
    markets: NDArray[np.integer[Any]]
    counts: NDArray[np.integer[Any]]
    part: int = 0
    parts: int = 1
    counts_of: CountsOf = "demand"

    @property
    def key(self) -> bytes:
        """What is counted, partition, bucket and part: a newer count replaces an older one."""
        what = "" if self.counts_of == "demand" else f"{self.counts_of}/"
        return f"{what}{self.partition}/{self.bucket_ms}/{self.bucket}/{self.part}".encode()

    def split(self, most: int = MAX_ROWS) -> Iterator["DemandRecord"]:
        """Yield the record in parts of about `most` rows; itself where it is small enough."""
        parts = 1
        while len(self.keys) > parts * most and parts < MAX_PARTS:
            parts *= 2
        if parts == 1:
            yield self
            return
        own = self.keys % np.uint64(parts)
        for part in range(parts):
            rows = own == part
            yield replace(
                self,
                part=part,
                parts=parts,
                keys=self.keys[rows],
                markets=self.markets[rows],
                counts=self.counts[rows],
            )

    def pack(self) -> bytes:
        """Return the record as bytes (little-endian columns behind the header)."""
        head = _HEAD.pack(
            _MAGIC[self.counts_of],
            _VERSION,
            self.partition,
            self.bucket,
            self.bucket_ms,
            self.records,
            self.part,
            self.parts,
            len(self.keys),
        )
        columns = [
            np.ascontiguousarray(getattr(self, name), dtype=dtype).tobytes()
            for name, dtype in _COLUMNS
        ]
        return b"".join([head, *columns])

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the record that `pack` wrote.

        Raises CorruptDemand when the bytes are of another form or version, cut short or too long.
        """
        if len(data) < _HEAD.size:
            raise CorruptDemand(f"expected at least {_HEAD.size} bytes, got {len(data)}")
        head = _HEAD.unpack_from(data)
        magic, version, partition, bucket, bucket_ms, records, part, parts, n = head
        named: dict[bytes, CountsOf] = {known: name for name, known in _MAGIC.items()}
        if magic not in named or version != _VERSION:
            raise CorruptDemand(
                f"expected one of {[*named]} version {_VERSION}, got {magic!r} version {version}"
            )
        expected = _HEAD.size + n * sum(np.dtype(dtype).itemsize for _, dtype in _COLUMNS)
        if len(data) != expected or bucket < 0 or bucket_ms < 1:
            raise CorruptDemand(f"expected {n} rows in {expected} bytes, got {len(data)} bytes")
        if not part < parts <= MAX_PARTS or parts & (parts - 1):
            raise CorruptDemand(f"expected a part of a power of two, got part {part} of {parts}")
        at = _HEAD.size
        columns: dict[str, Any] = {}
        for name, dtype in _COLUMNS:
            column = np.frombuffer(data, dtype=dtype, count=n, offset=at)
            at += column.nbytes
            columns[name] = column.astype(np.uint64 if name == "keys" else np.int64)
        if n and (columns["counts"].min() < 0 or columns["markets"].min() < 0):
            raise CorruptDemand("expected counts and markets that are not negative")
        return cls(
            partition=partition,
            bucket=bucket,
            bucket_ms=bucket_ms,
            records=records,
            part=part,
            parts=parts,
            counts_of=named[magic],
            **columns,
        )
