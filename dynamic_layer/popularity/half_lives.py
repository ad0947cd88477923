"""Which half-life of demand serves each item type, by questions asked before anything is learned.

Counts of events can be read at any half-life, and as they were at any time. So a question that the
prequential measure asks can be put to every half-life at once, with what had been counted before
its event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.examples.ranking import known_rows
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows, rows_by_type
from dynamic_layer.popularity.demand import DemandReader
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.saved import Saved
from dynamic_layer.settings import PopularitySettings

_DAY_MS = 86_400_000
_TOGETHER = 16  # questions of one moment, about, below which moments are drawn together
_SURE = 2.0  # standard errors by which another half-life must be ahead of the one in use


def demand_ranks(
    examples: PaddedExamples,
    popularity: Popularity,
    *,
    rows: ItemRows,
    type_number: NDArray[np.int64],
    half_lives_days: Sequence[float],
) -> NDArray[np.float64]:
    """Return how many items of the target's type come before it by demand, f64 [b, h].

    Demand is read at each half-life, of all markets, from whole buckets that ended before the
    example's event; where few examples span many buckets, from somewhat earlier ones. Items that
    the user knew do not compete; ties count half; inf where the target is no item.

    rows: of item keys; type_number: i64 [n], of all items.
    """
    history, target = known_rows(examples, rows), rows(examples.target)
    found = np.full((len(target), len(half_lives_days)), np.inf)
    known = np.flatnonzero(target >= 0)
    if not len(known):
        return found
    span = int(np.ptp(examples.timestamp[known])) // popularity.bucket_ms
    moments = max(1, len(known) // _TOGETHER)
    bucket = examples.timestamp // (popularity.bucket_ms * (1 + span // moments))
    number = type_number[np.maximum(target, 0)]
    order = known[np.lexsort((number[known], bucket[known]))]
    demand = DemandReader(popularity, rows, len(type_number), half_lives_days)
    starts = np.flatnonzero(np.diff(bucket[order]) | np.diff(number[order])) + 1
    of_types = rows_by_type(type_number)
    for part in np.split(order, starts):
        values = demand.at(int(examples.timestamp[part].min())).values
        of_type = np.sort(values[of_types[int(number[part[0]])]], axis=0)
        met = (history[part] >= 0) & (history[part] != target[part][:, None])
        met &= number[part][:, None] == type_number[np.maximum(history[part], 0)]
        for place in range(len(half_lives_days)):
            aim = values[target[part], place]
            left = np.searchsorted(of_type[:, place], aim, "left")
            right = np.searchsorted(of_type[:, place], aim, "right")
            theirs = values[np.maximum(history[part], 0), place]
            above = ((theirs > aim[:, None]) & met).sum(axis=1)
            equal = ((theirs == aim[:, None]) & met).sum(axis=1)
            found[part, place] = len(of_type) - right - above + 0.5 * (right - left - 1 - equal)
    return found


@dataclass
class _Tally:
    """What was asked about one type, forgotten exponentially; h half-lives.

    at_ms: the moment as of which weights are; chosen: place of the half-life in use.
    weight, squares: sums of the questions' weights and of their squares;
    gains: f64 [h], weighted sums of gains; products: f64 [h, h], of products of two gains.
    """

    at_ms: int
    chosen: int
    weight: float
    squares: float
    gains: NDArray[np.float64]
    products: NDArray[np.float64]

    def add(self, at_ms: NDArray[np.int64], gain: NDArray[np.float64], days: float) -> None:
        """Count questions of some moments, i64 [b], with gains f64 [b, h]."""
        newest = max(self.at_ms, int(at_ms.max()))
        fade = float(np.exp2((self.at_ms - newest) / _DAY_MS / days))
        weight = np.exp2((at_ms - newest) / _DAY_MS / days)
        self.at_ms = newest
        self.weight = self.weight * fade + float(weight.sum())
        self.squares = self.squares * fade**2 + float((weight**2).sum())
        self.gains = self.gains * fade + weight @ gain
        self.products = self.products * fade + (gain * weight[:, None]).T @ gain

    def choose(self) -> None:
        """Go over to the best half-life if it is ahead by more than chance."""
        best = int(np.argmax(self.gains))
        mine, sums = self.chosen, self.products
        ahead = (self.gains[best] - self.gains[mine]) / self.weight
        square = (sums[best, best] + sums[mine, mine] - 2 * sums[best, mine]) / self.weight
        variance = max(0.0, square - ahead**2) * self.squares / self.weight**2
        if ahead > _SURE * np.sqrt(variance):
            self.chosen = best


class HalfLives:
    """The half-life in use of each type, and what is known of the others.

    Guarantees: a half-life is left for another that is ahead of it by two standard errors of the
    difference between the two, on the same questions; older questions weigh less, so that a change
    of the world is followed. Memory is a few numbers for each type. What was asked in what order
    of calls makes no difference to the sums.
    """

    def __init__(self, settings: PopularitySettings) -> None:
        """settings: the half-lives, and after how many days a question weighs half."""
        self._half_lives = settings.half_lives_days
        self._days = settings.remember_days
        self._tallies: dict[str, _Tally] = {}

    @property
    def days(self) -> tuple[float, ...]:
        """The half-lives that there are to choose from."""
        return self._half_lives

    def learn(
        self,
        examples: PaddedExamples,
        popularity: Popularity,
        *,
        rows: ItemRows,
        type_number: NDArray[np.int64],
        types: Sequence[str],
    ) -> None:
        """Ask every half-life about examples, and choose again for the types of their targets.

        rows: of item keys; type_number: i64 [n], of all items, in the order of `types`.
        """
        if len(self._half_lives) < 2 or not len(examples):
            return
        rank = demand_ranks(
            examples, popularity,
            rows=rows, type_number=type_number, half_lives_days=self._half_lives,
        )  # fmt: skip
        target = rows(examples.target)
        for number, name in enumerate(types):
            mine = np.flatnonzero((target >= 0) & (type_number[np.maximum(target, 0)] == number))
            if len(mine):
                # Smoother than HR@10, and consistent with it; 1 / log2(2 + rank), which hears the
                # whole catalogue, was not: on lfm1m it put 60 days (HR@10 .0107) before 4 (.0141).
                gain = 1 / (1 + rank[mine])
                self._tally(name).add(examples.timestamp[mine], gain, self._days)
                self._tally(name).choose()

    def _tally(self, name: str) -> _Tally:
        if name not in self._tallies:
            n = len(self._half_lives)
            self._tallies[name] = _Tally(0, n // 2, 0.0, 0.0, np.zeros(n), np.zeros((n, n)))
        return self._tallies[name]

    def chosen(self, types: Sequence[str] = ()) -> dict[str, float]:
        """Return the half-life in use, in days, of each type that was asked about.

        types: are in it even if they were not, with the one that everybody begins with.
        """
        begin = self._half_lives[len(self._half_lives) // 2]
        asked = {name: self._half_lives[tally.chosen] for name, tally in self._tallies.items()}
        return {**dict.fromkeys(types, begin), **asked}

    def begin(self, known: Mapping[str, float]) -> None:
        """Have these half-lives in use, by type, for types of which nothing was asked yet."""
        for name, days in known.items():
            if name not in self._tallies and days in self._half_lives:
                self._tally(name).chosen = self._half_lives.index(days)

    def saved(self) -> Saved:
        """Return what is known."""
        tallies = list(self._tallies.values())
        h = len(self._half_lives)
        sums = [[t.weight, t.squares, *t.gains, *t.products.ravel()] for t in tallies]
        return Saved(
            arrays={
                "places": np.array([[t.at_ms, t.chosen] for t in tallies], np.int64).reshape(-1, 2),
                "sums": np.array(sums, np.float64).reshape(-1, 2 + h + h * h),
            },
            values={"types": list(self._tallies), "half_lives_days": list(self._half_lives)},
        )

    def restore(self, saved: Saved) -> None:
        """Know what another did; nothing if that one had other half-lives to choose from."""
        self._tallies, h = {}, len(self._half_lives)
        if tuple(saved.values["half_lives_days"]) != self._half_lives:
            return
        for name, (at_ms, chosen), (weight, squares, *sums) in zip(
            saved.values["types"], saved.arrays["places"].tolist(), saved.arrays["sums"].tolist(),
            strict=True,
        ):  # fmt: skip
            gains, products = np.array(sums[:h]), np.array(sums[h:]).reshape(h, h)
            self._tallies[name] = _Tally(at_ms, chosen, weight, squares, gains, products)
