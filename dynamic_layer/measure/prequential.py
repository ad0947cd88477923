"""Prequential measure: what is served is asked about examples before they are learned from."""

import json
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.examples.replay import PaddedExamples, joined, pad
from dynamic_layer.measure.served_ranks import ServedRanks
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.half_lives import HalfLives
from dynamic_layer.saved import Saved
from dynamic_layer.settings import PopularitySettings

K = 10
DAY_MS = 86_400_000
#: The arm of examples whose users are not divided.
ARM = "default"
#: Item type of targets that the bundle does not know; they are misses.
UNKNOWN = "unknown"
#: Days of event time that still take examples; what is later than that is left out.
OPEN_DAYS = 3
#: Rows of a day. A bundle a minute of 40 types makes 57,600: then rows of neighbouring generations
#: are added up.
MAX_ROWS = 20_000
KEPT_DAYS = 100  # files
_BURST_S = 10.0  # seconds of the budget that can be saved up
_MIX = np.uint64(0xD6E8FEB86659FD93)


class Row(NamedTuple):
    """Names a row: day of the events (days since 1970), item type, generation asked, arm.

    Of a day with more than `MAX_ROWS` rows, a row may hold several generations; it has the name of
    the first.
    """

    day: int
    item_type: str
    generation: int
    arm: str


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What asking came to, added up for one row.

    examples: how many; newcomers: those of whose history the bundle knows nothing.
    hits: targets among the best ten; reciprocal_ranks: sum of 1 / (1 + rank); each of what was
    served and of popularity.
    """

    examples: int = 0
    newcomers: int = 0
    hits: float = 0.0
    reciprocal_ranks: float = 0.0
    popularity_hits: float = 0.0
    popularity_reciprocal_ranks: float = 0.0

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(**{name: value + getattr(other, name) for name, value in vars(self).items()})


class Prequential:
    """Samples new examples to a budget, asks the served bundle about them, and keeps the table.

    Guarantees: an example is asked about once, by a bundle that was served when it came and had
    learned from nothing at or behind its place in the log, neither by its towers nor in its graph.
    The same questions choose the half-lives of demand, for the next bundle. What waits to be asked
    about is bounded by the budget; so are rows and files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        per_second: float,
        history_cap: int,
        popularity: PopularitySettings,
        ticks_ms: Callable[[], int],
        arms: Collection[str] | None = None,
    ) -> None:
        """folder: of the table; per_second: examples asked about, at most; 0 asks nothing.

        arms: those whose users are served what is asked here: the others' examples are left to
        others. None where users are not divided: then all of them count as those of `ARM`.
        ticks_ms: how much time has passed, in ms; it must never go back.
        popularity: the half-lives that there are to choose from.
        """
        self._folder = folder
        self._arms = None if arms is None else frozenset(arms)
        self._per_second, self._history_cap, self._ticks_ms = per_second, history_cap, ticks_ms
        self._budget, self._filled_at = 0.0, ticks_ms()
        self._bundle: DynamicBundle | None = None
        self._ranks: ServedRanks | None = None
        self._waiting: list[PaddedExamples] = []
        self._waiting_arms: list[str] = []
        self._rows: dict[Row, Asked] = {}
        self._changed: set[int] = set()  # days that differ from their files
        self.half_lives = HalfLives(popularity)
        self.left_out: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Examples that were sampled and not asked about yet."""
        return sum(len(part) for part in self._waiting)

    @property
    def asked(self) -> int:
        """Examples in the rows of the days that are open."""
        return sum(row.examples for row in self._rows.values())

    def serve(self, bundle: DynamicBundle | None) -> None:
        """Ask this bundle from now on; what waits must have been asked about before.

        A bundle that does not say what it has learned from is not asked.
        """
        if self._waiting:
            raise ValueError(f"expected no examples that wait for another bundle: {self.waiting}")
        if bundle is not None and "unseen_from" not in bundle.manifest:
            bundle = None
        self._bundle = bundle
        self._ranks = None if bundle is None or not self._per_second else ServedRanks(bundle)
        if bundle is not None:
            self.half_lives.begin(bundle.half_lives_days)

    def sample(self, batch: ExampleBatch) -> None:
        """Take a sample of examples from which no model has learned.

        Of a strong kind, and of items that the user did not have: what lists are to bring.
        """
        if self._bundle is None or self._ranks is None:
            return
        ends = self._bundle.manifest["unseen_from"].get(batch.topic, {})
        wanted = batch.strong & ~batch.repeat
        if self._arms is not None:
            wanted &= np.array([arm in self._arms for arm in self._arms_of(batch)], np.bool_)
        unseen = batch.offset >= ends.get(str(batch.partition), 0)
        self.left_out["learned"] += int((wanted & ~unseen).sum())
        rows = np.flatnonzero(wanted & unseen)
        room = self._room()
        if len(rows) > room:
            # A hash, not a draw: who is chosen does not depend on what came before.
            mixed = batch.offset[rows].astype(np.uint64) * _MIX >> np.uint64(40)
            self.left_out["budget"] += len(rows) - room
            rows = np.sort(rows[np.argsort(mixed, kind="stable")[:room]])
        if len(rows):
            self._budget -= len(rows)
            sampled = batch.take(rows)
            self._waiting.append(pad(sampled, self._history_cap, 0))
            self._waiting_arms += self._arms_of(sampled)

    def _arms_of(self, batch: ExampleBatch) -> list[str]:
        return [ARM] * len(batch) if self._arms is None else batch.arm or [""] * len(batch)

    def _room(self) -> int:
        now = self._ticks_ms()
        gained = (now - self._filled_at) / 1000 * self._per_second
        self._budget = min(self._budget + gained, _BURST_S * self._per_second)
        self._filled_at = now
        return int(self._budget)

    def ask(self, popularity: Popularity) -> dict[Row, Asked]:
        """Ask about what waits; return what it came to, which is in the table too.

        popularity: counts from which a head reads demand.
        """
        waiting, self._waiting = self._waiting, []
        arms, self._waiting_arms = np.array(self._waiting_arms, object), []
        if self._bundle is None or self._ranks is None or not waiting:
            return {}
        examples = joined(waiting)
        ranks = self._ranks.ask(examples, popularity)
        self._ranks.learn(self.half_lives, examples, popularity)
        types = [*self._bundle.types, UNKNOWN]  # -1 is the last
        day, number = examples.timestamp // DAY_MS, ranks.type_number
        news: dict[Row, Asked] = {}
        # Counted once, not once for each type.
        sizes = self._sizes()
        for one, of_type, arm in sorted(
            set(zip(day.tolist(), number.tolist(), arms.tolist(), strict=True))
        ):
            chosen = (day == one) & (number == of_type) & (arms == arm)
            served, popular = ranks.served[chosen], ranks.popularity[chosen]
            asked = Asked(
                examples=len(served),
                newcomers=int(ranks.newcomer[chosen].sum()),
                hits=float((served < K).sum()),
                reciprocal_ranks=float((1 / (1 + served)).sum()),
                popularity_hits=float((popular < K).sum()),
                popularity_reciprocal_ranks=float((1 / (1 + popular)).sum()),
            )
            row = Row(one, types[of_type], self._bundle.generation, arm)
            if self._add(row, asked, sizes):
                news[row] = asked
        return news

    def _sizes(self) -> Counter[int]:
        """Return how many rows each open day has."""
        return Counter(row.day for row in self._rows)

    def _add(self, row: Row, asked: Asked, sizes: Counter[int] | None = None) -> bool:
        """Add to a row; return whether it fits. sizes: `_sizes`, counted on here."""
        sizes = self._sizes() if sizes is None else sizes
        newest = max(sizes, default=row.day)
        if row.day <= newest - OPEN_DAYS:
            self.left_out["late"] += asked.examples
            return False
        if row not in self._rows:
            if sizes[row.day] >= MAX_ROWS:
                self._join_generations(row.day)
                sizes[row.day] = self._sizes()[row.day]
            if sizes[row.day] >= MAX_ROWS:  # as many types and arms
                self.left_out["rows"] += asked.examples
                return False
            sizes[row.day] += 1
        self._rows[row] = self._rows.get(row, Asked()) + asked
        self._changed.add(row.day)
        return True

    def _join_generations(self, day: int) -> None:
        """Halve a day's rows: of each type and arm, add up every two neighbouring generations."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in sorted(row for row in self._rows if row.day == day):
            groups.setdefault((row.item_type, row.arm), []).append(row)
        for rows in groups.values():
            for first, second in zip(rows[::2], rows[1::2], strict=False):
                self._rows[first] += self._rows.pop(second)

    def write(self) -> list[Path]:
        """Write the files of the days that changed; close days, and remove the oldest files.

        Returns the files that were written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        written = []
        for day in sorted(self._changed):
            path = self._folder / f"{_date(day)}.jsonl"
            part = path.with_suffix(".part")
            lines = [_line(row, self._rows[row]) for row in sorted(self._rows) if row.day == day]
            part.write_text("".join(lines))
            part.replace(path)
            written.append(path)
        self._changed.clear()
        newest = max((row.day for row in self._rows), default=0)
        self._rows = {r: asked for r, asked in self._rows.items() if r.day > newest - OPEN_DAYS}
        for old in sorted(self._folder.glob("*.jsonl"))[:-KEPT_DAYS]:
            old.unlink()
        return written

    def saved(self) -> Saved:
        """Return the rows of the days that are open, and what is known of half-lives."""
        names = sorted({(row.item_type, row.arm) for row in self._rows})
        place = {name: n for n, name in enumerate(names)}
        keys = [(r.day, r.generation, place[r.item_type, r.arm]) for r in self._rows]
        counts = [tuple(vars(asked).values()) for asked in self._rows.values()]
        rows = Saved(
            arrays={
                "keys": np.array(keys, np.int64).reshape(-1, 3),
                "counts": np.array(counts, np.float64).reshape(-1, len(vars(Asked()))),
            },
            values={"names": [list(name) for name in names]},
        )
        return Saved.joined({"rows": rows, "half_lives": self.half_lives.saved()})

    def restore(self, saved: Saved) -> None:
        """Know what another did; the files of its open days are written again."""
        if "rows" in saved.values:
            self.half_lives.restore(saved.part("half_lives"))
            saved = saved.part("rows")
        # Earlier versions saved the rows alone.
        keys: NDArray[np.int64] = saved.arrays["keys"]
        self._rows = {}
        for (day, generation, place), counts in zip(
            keys.tolist(), saved.arrays["counts"].tolist(), strict=True
        ):
            item_type, arm = saved.values["names"][place]
            examples, newcomers, *sums = counts
            row = Row(day, item_type, generation, arm)
            values = (int(examples), int(newcomers), *sums)
            self._rows[row] = Asked(**dict(zip(vars(Asked()), values, strict=True)))
        self._changed = {row.day for row in self._rows}


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _line(row: Row, asked: Asked) -> str:
    """Return a row of the table: counts, which can be added up, and what they come to."""
    n = asked.examples
    values = {
        "day": _date(row.day),
        "item_type": row.item_type,
        "generation": row.generation,
        "arm": row.arm,
        **vars(asked),
        "hr_at_10": asked.hits / n,
        "mrr": asked.reciprocal_ranks / n,
        "popularity_hr_at_10": asked.popularity_hits / n,
        "popularity_mrr": asked.popularity_reciprocal_ranks / n,
    }
    return json.dumps(values) + "\n"
