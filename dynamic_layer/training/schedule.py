"""Which examples are trained on next: new ones once, then replay until each had its epochs."""

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.examples.replay import Replay
from dynamic_layer.saved import Saved, generator_saved, restore_generator
from dynamic_layer.settings import ReplaySettings

_DAY_MS = 86_400_000
_BLOCK = 4  # batches per block of time that a replayed batch is drawn from


class Schedule:
    """Draws batches from a replay memory.

    New examples come first, in order of arrival; each brings `epochs - 1` draws from replay with
    it. When all are spent there is nothing to do, however long the trainer runs: little new data
    is not trained on without end.
    """

    def __init__(
        self,
        replay: Replay,
        settings: ReplaySettings,
        *,
        batch_size: int,
        rng: np.random.Generator,
    ) -> None:
        """rng: draws the replayed batches."""
        self._replay, self._settings = replay, settings
        self._batch_size, self._rng = batch_size, rng
        self.restart()

    def restart(self) -> None:
        """Count every example held as new."""
        self._trained = 0  # number of the first example not yet trained on
        self._owed = 0.0  # replayed examples still to come
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._ordered = -1

    def keep(self, wanted: NDArray[np.bool_], *, relearn: bool) -> None:
        """Forget all examples held but some; wanted: bool [len], in order of arrival.

        relearn: count those that stay as new; otherwise what was trained on stays so, and of the
        replay that is owed, the share of the examples that stay.
        """
        replay = self._replay
        trained = int((wanted & (replay.numbers() < self._trained)).sum())
        owed = self._owed * float(wanted.mean()) if len(wanted) else 0.0
        replay.keep(wanted)
        self.restart()
        if not relearn:
            self._trained, self._owed = trained, owed

    def saved(self) -> Saved:
        """Return what was trained on, what is still owed, and the state of the draws."""
        return Saved(
            values={
                "trained": self._trained,
                "owed": self._owed,
                "rng": generator_saved(self._rng),
            }
        )

    def restore(self, saved: Saved) -> None:
        """Go on where another schedule was, over a memory with the same examples."""
        self.restart()
        self._trained, self._owed = int(saved.values["trained"]), float(saved.values["owed"])
        restore_generator(self._rng, saved.values["rng"])

    @property
    def trained(self) -> int:
        """Number of the first example that was not trained on; those before were, or are gone."""
        return self._trained

    @property
    def pending(self) -> int:
        """Examples held that were not trained on yet."""
        replay = self._replay
        return replay.written - max(self._trained, replay.written - len(replay))

    def next_batch(self) -> NDArray[np.int64] | None:
        """Return the numbers of the next examples, None when there is nothing to do."""
        size, replay = self._batch_size, self._replay
        if self._owed > 0 and self._owed >= min(size, len(replay)):
            self._owed -= size
            return self._replayed(size)
        if not self.pending:
            return None
        first = replay.written - self.pending
        new = np.arange(first, min(first + size, replay.written))
        self._trained = int(new[-1]) + 1
        self._owed += (self._settings.epochs - 1) * len(new)
        return new

    def _replayed(self, size: int) -> NDArray[np.int64]:
        """Return a random batch from one stretch of time, so that negatives are of that time."""
        if self._ordered != self._replay.written:
            time_ms = self._replay.timestamps()
            order = np.argsort(time_ms, kind="stable")
            oldest_ms = time_ms.max() - self._settings.window_days * _DAY_MS
            order = order[time_ms[order] >= oldest_ms]
            self._order, self._ordered = self._replay.numbers()[order], self._replay.written
        start = self._rng.integers(max(1, len(self._order) - _BLOCK * size + 1))
        block = self._order[start : start + _BLOCK * size]
        return self._rng.choice(block, min(size, len(block)), replace=False)
