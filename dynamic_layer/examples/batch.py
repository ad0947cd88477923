"""Training examples: an event and its user's history just before it, in columns."""

import struct
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.errors import CorruptExamples

_MAGIC = b"SGEX"
_VERSION, _WITH_ARMS = 1, 2  # the second has the users' arms behind the countries
_HEAD = struct.Struct("<4sHHIIII")  # magic, version, topic bytes, partition, n, t, country bytes
MAX_EXAMPLES = 1 << 20
MAX_HISTORY = 1 << 26
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("offset", "<i8", "n"),
    ("target", "<u8", "n"),
    ("timestamp", "<i8", "n"),
    ("strong", "?", "n"),
    ("repeat", "?", "n"),
    ("birth_year", "<i2", "n"),
    ("indptr", "<i8", "n+1"),
    ("history_item", "<u8", "t"),
    ("history_time", "<i8", "t"),
    ("history_strong", "?", "t"),
)


@dataclass(frozen=True, kw_only=True)
class ExampleBatch:
    """`n` examples that came from one partition of the events topic, `t` history entries in all.

    topic, partition: where the events were read.
    offset:           i64 [n], of each event; (topic, partition, offset) names an example.
    target:           u64 [n], key of the item of the event.
    timestamp:        i64 [n], ms UTC.
    strong:           bool [n], whether the event was of a strong kind.
    repeat:           bool [n], whether the item was in the history already.
    country:          n strings, "" when unknown.
    birth_year:       i16 [n], 0 when unknown.
    indptr:           i64 [n + 1]; example i has history entries indptr[i]:indptr[i + 1].
    history_item:     u64 [t], newest first; the state *before* the event.
    history_time:     i64 [t], ms UTC of the latest event on the item.
    history_strong:   bool [t], whether any event on the item was of a strong kind.
    arm:              n names, the users' arms as the lists were made that they had; None where
                      users are not divided.
    """

    topic: str
    partition: int
    offset: NDArray[np.int64]
    target: NDArray[np.uint64]
    timestamp: NDArray[np.int64]
    strong: NDArray[np.bool_]
    repeat: NDArray[np.bool_]
    country: list[str]
    birth_year: NDArray[np.int16]
    indptr: NDArray[np.int64]
    history_item: NDArray[np.uint64]
    history_time: NDArray[np.int64]
    history_strong: NDArray[np.bool_]
    arm: list[str] | None = None

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.offset)

    def __post_init__(self) -> None:
        """Check that the columns fit each other; raises ValueError when they do not."""
        n, t = len(self.offset), len(self.history_item)
        lengths = {"n": n, "n+1": n + 1, "t": t}
        for name, _, size in _COLUMNS:
            if len(getattr(self, name)) != lengths[size]:
                got = len(getattr(self, name))
                raise ValueError(f"expected {lengths[size]} values in {name}, got {got}")
        for name in ("country", "arm"):
            values = getattr(self, name)
            if values is not None and len(values) != n:
                raise ValueError(f"expected {n} values in {name}, got {len(values)}")
        if self.indptr[0] != 0 or self.indptr[-1] != t or np.any(np.diff(self.indptr) < 0):
            raise ValueError(f"expected indptr to rise from 0 to {t}")

    def pack(self) -> bytes:
        """Return the batch as bytes (little-endian columns behind a versioned header).

        Without arms the bytes are of the first version, which earlier trainers read.
        """
        topic = self.topic.encode()
        country = "\0".join(self.country).encode()
        if self.arm is not None:
            country = b"\0".join([country, "\0".join(self.arm).encode()])
        head = _HEAD.pack(
            _MAGIC,
            _VERSION if self.arm is None else _WITH_ARMS,
            len(topic),
            self.partition,
            len(self),
            len(self.history_item),
            len(country),
        )
        columns = [
            np.ascontiguousarray(getattr(self, name), dtype=dtype).tobytes()
            for name, dtype, _ in _COLUMNS
        ]
        return b"".join([head, topic, country, *columns])

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the batch that `pack` wrote.

        Raises CorruptExamples when the bytes are of another form or version, are cut short or too
        long, or their columns contradict each other. Reads no more than the header allows.
        """
        if len(data) < _HEAD.size:
            raise CorruptExamples(f"expected at least {_HEAD.size} bytes, got {len(data)}")
        magic, version, topic_bytes, partition, n, t, country_bytes = _HEAD.unpack_from(data)
        if magic != _MAGIC or version not in (_VERSION, _WITH_ARMS):
            raise CorruptExamples(
                f"expected {_MAGIC!r} version {_VERSION} or {_WITH_ARMS},"
                f" got {magic!r} version {version}"
            )
        if n > MAX_EXAMPLES or t > MAX_HISTORY:
            raise CorruptExamples(
                f"expected at most {MAX_EXAMPLES} examples and {MAX_HISTORY} history entries, "
                f"got {n} and {t}"
            )
        lengths = {"n": n, "n+1": n + 1, "t": t}
        body = sum(np.dtype(dtype).itemsize * lengths[size] for _, dtype, size in _COLUMNS)
        expected = _HEAD.size + topic_bytes + country_bytes + body
        if len(data) != expected:
            raise CorruptExamples(f"expected {expected} bytes, got {len(data)}")
        at = _HEAD.size + topic_bytes + country_bytes
        columns: dict[str, Any] = {}
        for name, dtype, size in _COLUMNS:
            columns[name] = np.frombuffer(data, dtype=dtype, count=lengths[size], offset=at)
            at += columns[name].nbytes
        try:
            topic = data[_HEAD.size : _HEAD.size + topic_bytes].decode()
            text = data[_HEAD.size + topic_bytes : _HEAD.size + topic_bytes + country_bytes]
            words = text.decode().split("\0") if n else []
            arm = None
            if version == _WITH_ARMS:
                words, arm = words[:n], words[n:]
            return cls(topic=topic, partition=partition, country=words, arm=arm, **columns)
        except ValueError as error:
            raise CorruptExamples(str(error)) from error

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Return the examples at the given rows (a mask or row numbers), with their histories."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        sizes = np.diff(self.indptr)[chosen]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], sizes)
        columns: dict[str, Any] = {
            name: getattr(self, name)[chosen if size == "n" else entries]
            for name, _, size in _COLUMNS
            if size != "n+1"
        }
        country = [self.country[row] for row in chosen.tolist()]
        arm = None if self.arm is None else [self.arm[row] for row in chosen.tolist()]
        return type(self)(
            topic=self.topic,
            partition=self.partition,
            country=country,
            arm=arm,
            indptr=indptr,
            **columns,
        )
