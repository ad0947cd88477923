"""Item-item weights that know the examples which came after the static bundle.

A static job makes weights of what it merged. The trainer adds the events since then to the job's
counts, and solves again. That takes seconds where there are millions of counts: it is done when
enough events came.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.item_weights import capped, matrix_of
from dynamic_layer.counts.state_weights import FOLLOWING, TOGETHER, renewable, weights_of
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.examples.same_user import added_pairs
from dynamic_layer.items.features import ItemRows
from dynamic_layer.settings import RankingSettings
from state.transitions import SESSION_MS, STEP_DECAY, STEPS

__all__ = ["RenewedWeights", "renewed_weights"]

_AT_ONCE = 4_096  # examples: histories of 512 entries are 19 MB
_DECAY = (STEP_DECAY ** np.arange(STEPS)).astype(np.float32)


#: Chosen: the weights are made again once so large a share of the events behind them is new.
NEWS = 0.02


class _Static(Protocol):
    @property
    def item_keys(self) -> NDArray[np.uint64]: ...


class RenewedWeights:
    """The weights of `renewed_weights`, made again after enough examples or for other items."""

    def __init__(self) -> None:
        """Begin without weights."""
        self._made: tuple[_Static, int, int, dict[str, sp.csr_array]] | None = None

    def until(
        self, static: _Static, replay: Replay, end: int, settings: RankingSettings
    ) -> dict[str, sp.csr_array]:
        """Return weights that know the examples up to number `end`, or nearly up to it, none later.

        The number of examples decides, not the time: the same examples give the same weights.
        """
        if self._made is not None:
            of, numbered, made, weights = self._made
            same = of is static and numbered == replay.numbered
            if same and 0 <= end - made < NEWS * events_behind(static, replay, made):
                return weights
        weights = renewed_weights(static, replay, end, settings)
        self._made = (static, replay.numbered, end, weights)
        return weights


def events_behind(static: _Static, replay: Replay, end: int) -> int:
    """Return the events in a static bundle's counts and in the examples held up to `end`."""
    counts: dict[str, sp.csr_array] = getattr(static, "counts", {})
    counted = counts[TOGETHER].diagonal().sum() if TOGETHER in counts else 0
    return int(counted) + end - replay.written + len(replay)


def renewed_weights(
    static: _Static, replay: Replay, end: int, settings: RankingSettings
) -> dict[str, sp.csr_array]:
    """Return the item-item weights of a static bundle, f32 [n, n] by name, [source, target].

    Where it has counts and they are few, the first events of users on items are added to them, as
    the examples held say, up to number `end`: lists of later examples read nothing of what they ask
    for. Without counts, or without such examples, the weights are the bundle's own.
    """
    held: dict[str, sp.csr_array] = dict(getattr(static, "weights", {}))
    counts = renewable(dict(getattr(static, "counts", {})), settings)
    numbers = replay.numbers()
    numbers = numbers[numbers < end]
    if not counts or not len(numbers) or not set(settings.weights) <= set(held):
        return held
    rows, n = ItemRows(static.item_keys), len(static.item_keys)
    added = {name: sp.csr_array((n, n), dtype=np.float32) for name in counts}
    for start in range(0, len(numbers), _AT_ONCE):
        part = _counted(replay.take(numbers[start : start + _AT_ONCE]), rows, n)
        added = {name: matrix + part[name] for name, matrix in added.items()}
    # A cap leaves some pairs in one of their two rows.
    counts[TOGETHER] = counts[TOGETHER].maximum(counts[TOGETHER].T)
    # One after the other: each may take 80 MB.
    sums = {name: (counts.pop(name) + added.pop(name)).tocsr() for name in list(counts)}
    sums[TOGETHER] = capped(sums[TOGETHER], settings.ease.degree_cap)
    return held | weights_of(sums, settings)


def _counted(examples: PaddedExamples, rows: ItemRows, n: int) -> dict[str, sp.csr_array]:
    """Return the counts of examples, f32 [n, n], by the names of `item_counts`.

    As the state counts: graph-making events alone, each item of a user once.
    """
    one, other = (rows(keys) for keys in added_pairs(examples))
    pair = (one >= 0) & (other >= 0)
    one, other = one[pair], other[pair]
    apart = one != other
    examples = examples.take(examples.strong & ~examples.repeat)
    target, item = rows(examples.target), rows(examples.history_item)
    inside = np.arange(item.shape[1]) < examples.length[:, None]
    strong = inside & examples.history_strong
    place = np.cumsum(strong, axis=1) - 1  # among graph-making entries, newest first
    known = strong & (item >= 0) & (target >= 0)[:, None] & (item != target[:, None])
    recent = known & (place < STEPS) & (examples.history_age <= SESSION_MS / 1_000)
    owner, entry = np.nonzero(recent)
    return {
        TOGETHER: _matrix([one, other[apart]], [other, one[apart]], n),
        FOLLOWING: _matrix([item[owner, entry]], [target[owner]], n, _DECAY[place[owner, entry]]),
    }


def _matrix(
    row: Sequence[NDArray[Any]],
    column: Sequence[NDArray[Any]],
    n: int,
    value: NDArray[np.float32] | None = None,
) -> sp.csr_array:
    rows, columns = np.concatenate(row), np.concatenate(column)
    value = np.ones(len(rows), np.float32) if value is None else value
    return matrix_of(value, rows, columns, n)
