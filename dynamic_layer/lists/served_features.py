"""What a head read to make a served list: collected by a worker, compared by the trainer."""

import zlib
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.errors import CorruptExamples
from dynamic_layer.examples.batch import note_of, pack_note
from dynamic_layer.head.candidates import NONE

#: Longest list that is written: with 40 features 168 KiB before compression.
MAX_CANDIDATES = 1_024
#: Number of a list over many types, where others have that of their type.
MIXED = -1
_MAX_BYTES = 1 << 22  # of a list that is read


@dataclass(frozen=True, kw_only=True)
class ServedFeatures:
    """What a head read of one user's candidates of a list.

    topic, partition, offset: of the event that caused the answer; it names an example.
    generation, created_at:   of the bundle, which they identify over all channels.
    at_ms:        time of the answer, ms UTC; demand_at_ms: time to which demand was counted.
    entries:      history entries whose items the worker knew.
    shown_to_ms:  time to which impressions were read, ms UTC; 0 where the worker knew of none.
    number:       of the list's item type; MIXED for a list over many types.
    names:        of the features, in order.
    candidates:   u64 [c], item keys.
    features:     f32 [c, f]; scores: f32 [c], of the head.
    """

    topic: str = ""
    partition: int = 0
    offset: int = 0
    generation: int = 0
    created_at: int = 0
    at_ms: int = 0
    demand_at_ms: int
    entries: int
    shown_to_ms: int = 0
    number: int
    names: tuple[str, ...]
    candidates: NDArray[np.uint64]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]

    def pack(self) -> bytes:
        """Return a record of the examples topic, which earlier versions read as no examples."""
        columns = (self.candidates, self.features, self.scores)
        stored = _Stored(
            **{name: getattr(self, name) for name in _Head.__struct_fields__},
            columns=zlib.compress(b"".join(np.ascontiguousarray(c).tobytes() for c in columns), 1),
        )
        return pack_note(self.topic, self.partition, msgspec.json.encode(stored).decode())

    @classmethod
    def unpack(cls, data: bytes) -> Self | None:
        """Return what `pack` wrote; None for a record of examples.

        Raises CorruptExamples where the note of a record without examples cannot be read.
        """
        note = note_of(data)
        if note is None:
            return None
        try:
            stored = msgspec.json.decode(note, type=_Stored)
            # Writable, as torch wants its arrays.
            raw = bytearray(zlib.decompressobj().decompress(stored.columns, _MAX_BYTES))
        except (msgspec.DecodeError, zlib.error, ValueError) as error:
            raise CorruptExamples(f"expected the features of a served list: {error}") from error
        width = len(stored.names)
        count, rest = divmod(len(raw), 12 + 4 * width)
        if rest:
            raise CorruptExamples(f"expected {width} features of each candidate, got {len(raw)} B")
        head = {name: getattr(stored, name) for name in _Head.__struct_fields__}
        return cls(
            **head,
            candidates=np.frombuffer(raw, np.uint64, count),
            features=np.frombuffer(raw, np.float32, count * width, 8 * count).reshape(-1, width),
            scores=np.frombuffer(raw, np.float32, count, (8 + 4 * width) * count),
        )


class _Head(msgspec.Struct, kw_only=True):
    topic: str
    partition: int
    offset: int
    generation: int
    created_at: int
    at_ms: int
    demand_at_ms: int
    entries: int
    shown_to_ms: int = 0
    number: int
    names: tuple[str, ...]


class _Stored(_Head, kw_only=True):
    columns: bytes


@dataclass
class ListWatch:
    """Collects what a head reads of one user, by list.

    topic: of the event that is the reason, as in its example.
    found: whole; noted: with rows in place of the candidates' keys, until `finish`.
    popular: scores by row of the item types, by number, that live popularity ranks.
    """

    topic: str = ""
    found: list[ServedFeatures] = field(default_factory=list)
    noted: list[ServedFeatures] = field(default_factory=list)
    popular: dict[int, dict[int, float]] = field(default_factory=dict)

    def note(
        self,
        rows: NDArray[np.int64],
        features: NDArray[np.float32],
        scores: NDArray[np.float32],
        *,
        number: int,
        names: list[str],
        demand_at_ms: int,
        entries: int,
        shown_to_ms: int = 0,
    ) -> None:
        """Keep a list: rows i64 [c], NONE for none, features f32 [c, f], scores f32 [c].

        Lists of more than `MAX_CANDIDATES` are not kept.
        """
        there = rows != NONE
        if not 0 < there.sum() <= MAX_CANDIDATES:
            return
        self.noted.append(
            ServedFeatures(
                demand_at_ms=demand_at_ms,
                entries=entries,
                shown_to_ms=shown_to_ms,
                number=number,
                names=tuple(names),
                candidates=rows[there].astype(np.uint64),
                features=features[there],
                scores=scores[there],
            )
        )

    def finish(self, item_keys: NDArray[np.uint64], made: tuple[int, int], at_ms: int) -> None:
        """Complete what was collected; item_keys: by row; made: generation and creation time."""
        self.found += [
            replace(
                one,
                candidates=item_keys[one.candidates.astype(np.int64)],
                generation=made[0],
                created_at=made[1],
                at_ms=at_ms,
            )
            for one in self.noted
        ]
        self.noted.clear()

    def chosen(self, partition: int, offset: int) -> ServedFeatures | None:
        """Return one of the lists, chosen by the event's offset; None where no head ranked."""
        if not self.found:
            return None
        one = self.found[offset % len(self.found)]
        return replace(one, topic=self.topic, partition=partition, offset=offset)
