"""Which item rows of a served bundle have changed, as deltas that follow each other."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle, served_vectors
from dynamic_layer.bundles.row_delta import RowDelta
from dynamic_layer.items.features import ItemRows

__all__ = ["ChangedRows"]


class ChangedRows:
    """Remembers what workers serve of a bundle, and makes deltas of what differs from that.

    The first delta is cumulative: it takes the place of all that another process may have sent.
    So is each one after as many rows were sent as differ from the bundle: the deltas that a worker
    has to read at its start hold twice the changed rows at most.
    """

    def __init__(self, bundle: DynamicBundle, *, threshold: float) -> None:
        """threshold: change of a score, of any user, up to which a row stays as it was sent."""
        self.bundle, self._threshold = bundle, threshold
        self._rows = ItemRows(bundle.item_keys)
        self._keys = np.asarray(bundle.item_keys)
        self._served = served_vectors(bundle.vectors, bundle.bias)
        self._changed = np.zeros(len(self._keys), np.bool_)
        self._since = 0  # rows in the deltas since the last cumulative one
        self.sequence = 0
        self.slot = 0

    @property
    def changed(self) -> int:
        """Number of rows that differ from the bundle for workers."""
        return int(self._changed.sum())

    def deltas(
        self,
        keys: NDArray[np.uint64],
        vectors: NDArray[np.float32],
        bias: NDArray[np.float32],
        now_ms: int,
    ) -> Iterator[tuple[int, RowDelta]]:
        """Yield deltas with their slots, none where nothing changed.

        keys: u64 [n], of all items, vectors: f32 [n, d] and bias: f32 [n] of these, in the space of
        the bundle. A slot is the place of a delta behind the last cumulative one: a later delta
        with the same slot makes the earlier one worthless.
        """
        rows = self._rows_of(keys)
        now = np.array(self._served)
        now[rows] = served_vectors(vectors, bias)
        apart = np.linalg.norm(now[:, :-1] - self._served[:, :-1], axis=1)
        scores = apart / self.bundle.model.temperature + np.abs(now[:, -1] - self._served[:, -1])
        moved = scores > self._threshold
        if not moved.any():
            return
        self._changed |= moved
        first = not self.sequence or self._since + moved.sum() > self.changed
        chosen = np.flatnonzero(self._changed if first else moved)
        yield from self._sent(chosen, now[chosen], now_ms, cumulative=first)

    def withdrawn(self, now_ms: int) -> Iterator[tuple[int, RowDelta]]:
        """Yield a delta after which workers serve the bundle's own rows; none if they do."""
        if not self.changed:
            return
        self._changed[:] = False
        first = len(self.bundle.item_keys)
        self._served[:first] = served_vectors(self.bundle.vectors, self.bundle.bias)
        self._served[first:] = np.inf
        nothing = np.zeros(0, np.int64)
        yield from self._sent(nothing, self._served[nothing], now_ms, cumulative=True)

    def _sent(
        self, rows: NDArray[np.int64], served: NDArray[np.float32], now_ms: int, *, cumulative: bool
    ) -> Iterator[tuple[int, RowDelta]]:
        self._since = 0 if cumulative else self._since + len(rows)
        if cumulative:
            self.slot = 0
        whole = RowDelta(
            made=self.bundle.made,
            sequence=max(self.sequence + 1, now_ms),
            follows=0 if cumulative else self.sequence,
            keys=self._keys[rows],
            vectors=served[:, :-1],
            bias=served[:, -1],
        )
        # What workers will have of it: rounding is no change that has to be sent again.
        self._served[rows] = served
        self._served[rows, :-1] = served[:, :-1].astype(np.float16)
        for part in whole.split():
            yield self.slot, part
            self.sequence, self.slot = part.sequence, self.slot + 1

    def _rows_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of items, which are added where they are not known."""
        new = np.setdiff1d(keys[self._rows(keys) < 0], self._keys)
        if len(new):
            self._keys = np.concatenate([self._keys, new])
            # No row of a worker's own is known, so that every first one is a change.
            unknown = np.full((len(new), self._served.shape[1]), np.inf, np.float32)
            self._served = np.concatenate([self._served, unknown])
            self._changed = np.concatenate([self._changed, np.zeros(len(new), np.bool_)])
            self._rows = ItemRows(self._keys)
        return self._rows(keys)
