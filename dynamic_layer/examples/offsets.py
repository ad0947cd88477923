"""Offsets of examples: which were accepted before, and a share of them that is chosen by a hash."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.saved import Saved


class SeenOffsets:
    """Remembers which offsets of a partition were seen, in bounded memory.

    A window of `span` offsets slides with the greatest one. Offsets that have fallen out of the
    window count as seen, so that nothing is ever accepted twice.
    """

    def __init__(self, span: int = 1 << 20) -> None:
        """span: offsets remembered, one byte each."""
        self._span = span
        self._floor: dict[tuple[str, int], int] = {}
        self._seen: dict[tuple[str, int], NDArray[np.bool_]] = {}

    def mark(self, topic: str, partition: int, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return a mask of the offsets met for the first time, and remember them.

        A repetition inside `offsets` is new only once.
        """
        fresh = np.zeros(len(offsets), np.bool_)
        if not len(offsets):
            return fresh
        name = (topic, partition)
        seen = self._seen.setdefault(name, np.zeros(self._span, np.bool_))
        top = int(offsets.max()) + 1
        floor = self._floor.setdefault(name, max(0, top - self._span))
        if top > floor + self._span:
            moved = top - self._span
            gone = np.arange(floor, min(moved, floor + self._span)) % self._span
            seen[gone] = False
            self._floor[name] = floor = moved
        inside = offsets >= floor
        _, first = np.unique(offsets, return_index=True)
        fresh[first] = True
        fresh &= inside
        fresh[inside] &= ~seen[offsets[inside] % self._span]
        seen[offsets[fresh] % self._span] = True
        return fresh

    def saved(self) -> Saved:
        """Return what was seen, one bit for each offset remembered."""
        return Saved(
            arrays={str(n): np.packbits(seen) for n, seen in enumerate(self._seen.values())},
            values={
                "span": self._span,
                "floors": [[*name, self._floor[name]] for name in self._seen],
            },
        )

    def restore(self, saved: Saved) -> None:
        """Know what another knew. Raises ValueError for one with another span."""
        if saved.values["span"] != self._span:
            raise ValueError(f"expected a span of {self._span}, got {saved.values['span']}")
        self._floor, self._seen = {}, {}
        for n, (topic, partition, floor) in enumerate(saved.values["floors"]):
            self._floor[topic, partition] = floor
            self._seen[topic, partition] = np.unpackbits(
                saved.arrays[str(n)], count=self._span
            ).astype(np.bool_)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hashed_share(offsets: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Return which offsets belong to a share of all, bool [n].

    Shares are nested: the offsets of a smaller share belong to each larger one.

    >>> int(hashed_share(np.arange(10_000), 0.25).sum())
    2502
    """
    if share >= 1:
        return np.ones(len(offsets), np.bool_)
    mixed = offsets.astype(np.uint64) * _GOLDEN
    return np.asarray(mixed < np.uint64(int(max(share, 0.0) * 2**64)))
