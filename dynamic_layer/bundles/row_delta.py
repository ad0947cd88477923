"""Changed item rows of a served bundle: on the wire, and as a worker holds them."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.errors import CorruptRows, MissingRows

_MAGIC, _VERSION = b"SGRW", 1
# magic, version, width, rows, generation, created_at, sequence, follows
_HEAD = struct.Struct("<4sHHIqqqq")
_CHECKSUM = struct.Struct("<I")
_CHECKED = struct.Struct("<qqq")
#: Bytes of a record at most; Kafka's default limit of a message is 1 MiB.
MAX_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class RowDelta:
    """Rows of `n` items that changed; a cumulative one holds all rows that differ from the bundle.

    made:     generation and creation time (ms UTC) of the bundle.
    sequence: rises from delta to delta of a bundle; it is the time when the delta was made, ms UTC,
              or one more than the delta before.
    follows:  sequence of the delta before; 0 for a cumulative one, which follows none.
    keys:     u64 [n], item keys.
    vectors:  f32 [n, d], item vectors that the bundle's user tower reads. On the wire they are
              float16: components of unit vectors are off by 1 in 2,048 at most.
    bias:     f32 [n], added to affinity.
    """

    made: tuple[int, int]
    sequence: int
    follows: int
    keys: NDArray[np.uint64]
    vectors: NDArray[np.float32]
    bias: NDArray[np.float32]

    def split(self, most: int = MAX_BYTES) -> Iterator["RowDelta"]:
        """Yield deltas of at most `most` bytes each, which follow each other."""
        width = self.vectors.shape[1]
        rows = max(1, (most - _HEAD.size - _CHECKSUM.size) // (12 + 2 * width))
        follows = self.follows
        for part, start in enumerate(range(0, max(1, len(self.keys)), rows)):
            chosen = slice(start, start + rows)
            yield replace(
                self, sequence=self.sequence + part, follows=follows, keys=self.keys[chosen],
                vectors=self.vectors[chosen], bias=self.bias[chosen],
            )  # fmt: skip
            follows = self.sequence + part

    def pack(self) -> bytes:
        """Return the delta as bytes: header, little-endian columns, CRC-32 of all before it."""
        n, width = self.vectors.shape
        head = _HEAD.pack(_MAGIC, _VERSION, width, n, *self.made, self.sequence, self.follows)
        body = b"".join(
            [
                head,
                self.keys.astype("<u8").tobytes(),
                self.vectors.astype("<f2").tobytes(),
                self.bias.astype("<f4").tobytes(),
            ]
        )
        return body + _CHECKSUM.pack(zlib.crc32(body))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the delta that `pack` wrote.

        Raises CorruptRows when the bytes are of another form or version, cut short or damaged.
        """
        if len(data) < _HEAD.size + _CHECKSUM.size:
            raise CorruptRows(f"expected at least {_HEAD.size} bytes of rows, got {len(data)}")
        magic, version, width, n, *numbers = _HEAD.unpack_from(data)
        if magic != _MAGIC or version != _VERSION:
            raise CorruptRows(
                f"expected {_MAGIC!r} version {_VERSION}, got {magic!r} version {version}"
            )
        expected = _HEAD.size + n * (12 + 2 * width) + _CHECKSUM.size
        if len(data) != expected:
            raise CorruptRows(f"expected {n} rows in {expected} bytes, got {len(data)} bytes")
        body, checksum = data[: -_CHECKSUM.size], _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0]
        if zlib.crc32(body) != checksum:
            raise CorruptRows(f"expected checksum {checksum:08x}, got {zlib.crc32(body):08x}")
        at = _HEAD.size
        keys = np.frombuffer(body, "<u8", n, at).astype(np.uint64)
        vectors = np.frombuffer(body, "<f2", n * width, at + 8 * n).astype(np.float32)
        bias = np.frombuffer(body, "<f4", n, at + 8 * n + 2 * n * width).astype(np.float32)
        if not (np.isfinite(vectors).all() and np.isfinite(bias).all()):
            raise CorruptRows("expected vectors and biases that are finite numbers")
        generation, created_at, sequence, follows = numbers
        return cls(
            made=(generation, created_at), sequence=sequence, follows=follows,
            keys=keys, vectors=vectors.reshape(n, width), bias=bias,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BundleRows:
    """What the deltas of a bundle come to: rows that take the place of the bundle's own.

    sequence: of the last delta; keys: u64 [n], ascending; served: f32 [n, d + 1], as the index
    holds them: the vector, then the bias.
    """

    sequence: int
    keys: NDArray[np.uint64]
    served: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.keys)

    def checksum(self, made: tuple[int, int], served: NDArray[np.float32] | None = None) -> int:
        """Return a CRC-32 of bundle, sequence, keys and vectors: equal rows, equal numbers.

        made: of the bundle; served: f32 [n, d + 1], what is in fact served of the keys.
        """
        found = zlib.crc32(_CHECKED.pack(*made, self.sequence))
        found = zlib.crc32(self.keys.astype("<u8").tobytes(), found)
        vectors = self.served if served is None else served
        return zlib.crc32(vectors.astype("<f4").tobytes(), found)

    @classmethod
    def after(cls, before: "BundleRows | None", delta: RowDelta) -> "BundleRows | None":
        """Return the rows after a delta of the same bundle.

        A delta that was taken before changes nothing. None before the first cumulative delta: what
        is left of earlier ones cannot be used without it. Raises MissingRows when a delta is
        missing between the two; the next cumulative one repairs that.
        """
        if before is not None and delta.sequence <= before.sequence:
            return before
        served = np.concatenate([delta.vectors, delta.bias[:, None]], axis=1)
        if delta.follows == 0:
            return cls._of(delta.sequence, delta.keys, served)
        if before is None:
            return None
        if delta.follows != before.sequence:
            raise MissingRows(
                f"expected rows that follow {before.sequence}, got {delta.sequence}, which follows "
                f"{delta.follows}"
            )
        if before.served.shape[1] != served.shape[1]:
            raise MissingRows(
                f"expected rows of width {before.served.shape[1]}, got {served.shape[1]}"
            )
        old = ~np.isin(before.keys, delta.keys)
        return cls._of(
            delta.sequence,
            np.concatenate([before.keys[old], delta.keys]),
            np.concatenate([before.served[old], served]),
        )

    @classmethod
    def _of(
        cls, sequence: int, keys: NDArray[np.uint64], served: NDArray[np.float32]
    ) -> "BundleRows":
        order = np.argsort(keys, kind="stable")
        return cls(sequence=sequence, keys=keys[order], served=served[order])
