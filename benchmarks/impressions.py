"""What impressions cost: events of users, each followed by lists that the user is shown.

    segue bench impressions --users 2000 --lists 3

One partition's state, without Kafka and without decoding. Each day every user has two events on
average. With each event the user reads what was shown before and is shown lists of ten items, drawn
from 60 that move on from day to day. The first third of the days fills the state and is not
measured.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from rich.table import Table

from benchmarks.machine import cpu_model, written
from segue.screen import console, progress_bars
from state import ASSUMED_KIND, EventColumns, PartitionState, StateSettings, compile_kernels

__all__ = ["run", "show"]

DAY = 86_400_000
ITEMS, POOL, OF_LIST = 20_000, 60, 10
BATCH = 1_000
PARTS = ("events", "impressions", "read", "commit")


@dataclass
class _Records:
    """Records of one topic: the number of the next, and random numbers."""

    random: np.random.Generator
    offset: int = 0

    def columns(self, users: Any, times: Any, day: int, kind: str, per_record: int) -> EventColumns:
        """Return rows of users, int64 [n], at times, ms UTC; so many rows are one record."""
        n = len(users)
        items = (users * 7 + day * 15 + self.random.integers(0, POOL, n)) % ITEMS
        first, self.offset = self.offset, self.offset + n // per_record
        return cast(EventColumns, SimpleNamespace(
            user_id=[f"u{user}" for user in users.tolist()], item_type=["t"] * n,
            item_id=[f"i{item}" for item in items.tolist()], kind=[kind] * n, timestamp=times,
            offset=np.repeat(np.arange(first, self.offset), per_record),
            position=np.tile(np.arange(1, per_record + 1), n // per_record),
            list_code=np.zeros(n, np.int64),
        ))  # fmt: skip


def run(users: int, lists: int, days: int, repeat: int, seed: int, file: Path) -> dict[str, Any]:
    """Measure several times and write the report, processor µs per event, to `file`."""
    compile_kernels()
    with progress_bars() as bars:
        task = bars.add_task("impressions", total=repeat * days, note="")
        rounds = [
            _one(users, lists, days, seed + number, lambda: bars.advance(task))
            for number in range(repeat)
        ]
    report = {
        "machine": cpu_model(), "users": users, "lists": lists, "days": days, "seed": seed,
        "cpu_us_per_event": {part: sorted(round(r[part], 1) for r in rounds) for part in PARTS},
    }  # fmt: skip
    return written(report, file)


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    table = Table(title=f"{report['lists']} lists of {OF_LIST} shown per event, one core")
    for name in ("part", "processor us per event, by run"):
        table.add_column(name, justify="right")
    for part, values in report["cpu_us_per_event"].items():
        table.add_row(part, ", ".join(str(value) for value in values))
    console.print(table)


def _one(
    users: int, lists: int, days: int, seed: int, done: Callable[[], None]
) -> dict[str, float]:
    random, events = np.random.default_rng(seed), 0
    spent = dict.fromkeys(PARTS, 0.0)
    clicks, shown = _Records(random), _Records(random)

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        begin = process_time()
        yield
        spent[part] += process_time() - begin

    with tempfile.TemporaryDirectory(prefix="segue-bench-") as folder:
        state = PartitionState(Path(folder), 0, StateSettings(impressions=True))
        for day in range(days):
            if day == days // 3:
                spent = dict.fromkeys(PARTS, 0.0)
                events = 0
            times = np.sort(random.integers(day * DAY, (day + 1) * DAY, 2 * users))
            for begin in range(0, len(times), BATCH):
                at = times[begin : begin + BATCH]
                who = random.integers(0, users, len(at))
                rows = lists * OF_LIST
                event = clicks.columns(who, at, day, "stream", 1)
                impression = shown.columns(
                    np.repeat(who, rows), np.repeat(at, rows), day, ASSUMED_KIND, OF_LIST
                )
                with timed("events"):
                    state.apply_events("events", event, clicks.offset)
                with timed("read"):
                    for user, time in zip(event.user_id, at.tolist(), strict=True):
                        state.shown(user).before(time)
                with timed("impressions"):
                    state.apply_events("shown", impression, shown.offset)
                with timed("commit"):
                    state.commit()
                events += len(at)
            done()
        state.close()
    return {part: 1e6 * spent[part] / events for part in PARTS}
