"""Training examples: an event and its user's history just before it, in columns."""

import struct
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from dynamic_layer.errors import CorruptExamples
from dynamic_layer.examples.shown_columns import ShownColumns
from dynamic_layer.ragged import take_rows

_MAGIC = b"SGEX"
# The second version has the users' arms behind the countries, the third the events' kinds behind
# the columns, the fourth both. The next four are these with impressions behind everything else.
_VERSION, _LAST = 1, 8
_HEAD = struct.Struct("<4sHHIIII")  # magic, version, topic bytes, partition, n, t, country bytes
MAX_EXAMPLES = 1 << 20
MAX_NOTE = 1 << 22  # bytes
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


#: (whether there are arms, kinds, impressions) -> version.
_VERSIONS = {
    (arms, kinds, shown): _VERSION + arms + 2 * kinds + 4 * shown
    for arms in (False, True)
    for kinds in (False, True)
    for shown in (False, True)
}
_PARTS = {version: parts for parts, version in _VERSIONS.items()}


def kind_code(kind: str) -> int:
    """Return the number that stands for a kind of event in examples; 0 stands for no kind."""
    return xxhash.xxh3_64_intdigest(kind.encode()) or 1


@dataclass(frozen=True, kw_only=True)
class ExampleBatch:
    """`n` examples that came from one partition of the events topic, `t` history entries in all.

    topic, partition: where the events were read; a topic that was created again has its id behind
                      its name (`state.MadeFrom.log_name`).
    offset:           i64 [n], of each event; (topic, partition, offset) names an example.
    target:           u64 [n], key of the item of the event.
    timestamp:        i64 [n], ms UTC.
    strong:           bool [n], whether the event was of a strong kind.
    repeat:           bool [n], whether the user knew the item before: by a strong event, or by any
                      event where this one is weak.
    country:          n strings, "" when unknown.
    birth_year:       i16 [n], 0 when unknown.
    indptr:           i64 [n + 1]; example i has history entries indptr[i]:indptr[i + 1].
    history_item:     u64 [t], newest first; the state *before* the event.
    history_time:     i64 [t], ms UTC of the latest event on the item.
    history_strong:   bool [t], whether any event on the item was of a strong kind.
    kind:             u64 [n], `kind_code` of each event's kind; None where kinds have no weights.
    arm:              n names, the users' arms as the lists were made that they had; None where
                      users are not divided.
    shown:            what the users had been shown before; None where nothing is known of it.
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
    kind: NDArray[np.uint64] | None = None
    arm: list[str] | None = None
    shown: ShownColumns | None = None

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
        for name in ("country", "arm", "kind"):
            values = getattr(self, name)
            if values is not None and len(values) != n:
                raise ValueError(f"expected {n} values in {name}, got {len(values)}")
        if self.shown is not None:
            self.shown.check(n)
        if self.indptr[0] != 0 or self.indptr[-1] != t or np.any(np.diff(self.indptr) < 0):
            raise ValueError(f"expected indptr to rise from 0 to {t}")

    def pack(self) -> bytes:
        """Return the batch as bytes (little-endian columns behind a versioned header).

        Without arms, kinds and impressions the bytes are of the first version, which earlier
        trainers read.
        """
        topic = self.topic.encode()
        country = "\0".join(self.country).encode()
        if self.arm is not None:
            country = b"\0".join([country, "\0".join(self.arm).encode()])
        head = _HEAD.pack(
            _MAGIC,
            _VERSIONS[self.arm is not None, self.kind is not None, self.shown is not None],
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
        if self.kind is not None:
            columns.append(np.ascontiguousarray(self.kind, dtype="<u8").tobytes())
        if self.shown is not None:
            columns.append(self.shown.pack())
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
        if magic != _MAGIC or version not in _PARTS:
            raise CorruptExamples(
                f"expected {_MAGIC!r} version {_VERSION} to {_LAST},"
                f" got {magic!r} version {version}"
            )
        with_arms, with_kinds, with_shown = _PARTS[version]
        stored = (*_COLUMNS, ("kind", "<u8", "n")) if with_kinds else _COLUMNS
        if n > MAX_EXAMPLES or t > MAX_HISTORY:
            raise CorruptExamples(
                f"expected at most {MAX_EXAMPLES} examples and {MAX_HISTORY} history entries, "
                f"got {n} and {t}"
            )
        lengths = {"n": n, "n+1": n + 1, "t": t}
        body = sum(np.dtype(dtype).itemsize * lengths[size] for _, dtype, size in stored)
        expected = _HEAD.size + topic_bytes + country_bytes + body
        if len(data) < expected or (len(data) > expected and not with_shown):
            raise CorruptExamples(f"expected {expected} bytes, got {len(data)}")
        at = _HEAD.size + topic_bytes + country_bytes
        columns: dict[str, Any] = {}
        for name, dtype, size in stored:
            columns[name] = np.frombuffer(data, dtype=dtype, count=lengths[size], offset=at)
            at += columns[name].nbytes
        shown = ShownColumns.unpack(data[at:], n) if with_shown else None
        try:
            topic = data[_HEAD.size : _HEAD.size + topic_bytes].decode()
            text = data[_HEAD.size + topic_bytes : _HEAD.size + topic_bytes + country_bytes]
            words = text.decode().split("\0") if n else []
            arm = None
            if with_arms:
                words, arm = words[:n], words[n:]
            return cls(
                topic=topic, partition=partition, country=words, arm=arm, shown=shown, **columns
            )
        except ValueError as error:
            raise CorruptExamples(str(error)) from error

    def cut(self, caps: NDArray[np.int64]) -> "ExampleBatch":
        """Return the same examples with the newest caps[i] entries of history i; caps: i64 [n]."""
        sizes = np.diff(self.indptr)
        kept = np.minimum(sizes, caps)
        if (kept == sizes).all():
            return self
        place = np.arange(len(self.history_item)) - np.repeat(self.indptr[:-1], sizes)
        entry = place < np.repeat(kept, sizes)
        return replace(
            self,
            indptr=np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
            history_item=self.history_item[entry],
            history_time=self.history_time[entry],
            history_strong=self.history_strong[entry],
        )

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Return the examples at the given rows (a mask or row numbers), with their histories."""
        chosen: NDArray[np.intp]
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.intp)
        indptr, entries = take_rows(self.indptr, chosen)
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
            kind=None if self.kind is None else self.kind[chosen],
            shown=None if self.shown is None else self.shown.take(chosen),
            indptr=indptr,
            **columns,
        )


def pack_note(topic: str, partition: int, note: str) -> bytes:
    """Return a batch without examples that carries a note, in the place of the countries.

    Versions that know no notes read a batch of no examples.
    """
    name, text = topic.encode(), note.encode()
    head = _HEAD.pack(_MAGIC, _VERSION, len(name), partition, 0, 0, len(text))
    return b"".join([head, name, text, bytes(8)])  # the eight bytes: indptr


def note_of(data: bytes) -> str | None:
    """Return the note of a batch without examples; None for any other record.

    Raises CorruptExamples for a note that is no text or too long.
    """
    if len(data) < _HEAD.size:
        return None
    magic, version, topic_bytes, _, n, t, note_bytes = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _VERSION or n or t or not note_bytes:
        return None
    start = _HEAD.size + topic_bytes
    if note_bytes > MAX_NOTE or len(data) != start + note_bytes + 8:
        raise CorruptExamples(f"expected a note of at most {MAX_NOTE} bytes, got {len(data)} bytes")
    try:
        return data[start : start + note_bytes].decode()
    except ValueError as error:
        raise CorruptExamples(str(error)) from error
