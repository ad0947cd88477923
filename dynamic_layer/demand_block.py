"""A partition's counts of one bucket on the wire: columns behind a versioned header."""

import struct
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.errors import CorruptDemand

_MAGIC = b"SGDM"
_VERSION = 1
_HEAD = struct.Struct("<4sHHqqqI")  # magic, version, partition, bucket, bucket_ms, records, n
_COLUMNS = (("keys", "<u8"), ("markets", "<i2"), ("counts", "<i4"))
MAX_ROWS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class DemandRecord:
    """Events per item and market in one bucket, as counted by the state of one partition.

    partition: of the events topic; bucket: number of a stretch of `bucket_ms` milliseconds.
    records:   records of the partition that the state was made of; of two records for the same
               partition and bucket, the one made of more is right.
    keys:      u64 [n], item keys; markets: i64 [n]; counts: i64 [n].
    """

    partition: int
    bucket: int
    bucket_ms: int
    records: int
    keys: NDArray[np.uint64]
    markets: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def key(self) -> bytes:
        """The partition and the bucket: a newer count replaces an older one."""
        return f"{self.partition}/{self.bucket_ms}/{self.bucket}".encode()

    def pack(self) -> bytes:
        """Return the record as bytes (little-endian columns behind the header)."""
        head = _HEAD.pack(
            _MAGIC,
            _VERSION,
            self.partition,
            self.bucket,
            self.bucket_ms,
            self.records,
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
        magic, version, partition, bucket, bucket_ms, records, n = _HEAD.unpack_from(data)
        if magic != _MAGIC or version != _VERSION:
            raise CorruptDemand(
                f"expected {_MAGIC!r} version {_VERSION}, got {magic!r} version {version}"
            )
        expected = _HEAD.size + n * sum(np.dtype(dtype).itemsize for _, dtype in _COLUMNS)
        if n > MAX_ROWS or len(data) != expected or bucket < 0 or bucket_ms < 1:
            raise CorruptDemand(f"expected {n} rows in {expected} bytes, got {len(data)} bytes")
        at = _HEAD.size
        columns: dict[str, Any] = {}
        for name, dtype in _COLUMNS:
            column = np.frombuffer(data, dtype=dtype, count=n, offset=at)
            at += column.nbytes
            columns[name] = column.astype(np.uint64 if name == "keys" else np.int64)
        if n and (columns["counts"].min() < 0 or columns["markets"].min() < 0):
            raise CorruptDemand("expected counts and markets that are not negative")
        return cls(
            partition=partition, bucket=bucket, bucket_ms=bucket_ms, records=records, **columns
        )
