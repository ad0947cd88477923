"""What people see: one console, progress bars, tables, errors."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from segue.log_format import TextLines

__all__ = [
    "Bars",
    "LineBars",
    "StageBars",
    "clock_time",
    "console",
    "errors",
    "log_to_screen",
    "progress_bars",
]

# A log file has no width of its own; tables need some.
console = Console() if sys.stdout.isatty() else Console(width=110)
errors = Console(stderr=True)


class Bars(Protocol):
    """What steps need of progress bars; rich's Progress has it."""

    def add_task(self, description: str, *, total: float | None, note: str) -> TaskID:
        """Begin a bar."""

    def update(
        self,
        task_id: TaskID,
        *,
        total: float | None = None,
        completed: float | None = None,
        note: str = "",
    ) -> None:
        """Set a bar."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Move a bar."""


class LineBars:
    """Bars for a log file: one line when a step is complete."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure with `clock`, in seconds."""
        self._clock = clock
        self._tasks: list[_Line] = []

    def __enter__(self) -> "LineBars":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def add_task(self, description: str, *, total: float | None, note: str) -> TaskID:
        """Begin a step."""
        self._tasks.append(_Line(description, total, note, self._clock()))
        return TaskID(len(self._tasks) - 1)

    def update(
        self,
        task_id: TaskID,
        *,
        total: float | None = None,
        completed: float | None = None,
        note: str = "",
    ) -> None:
        """Set a step; the line is printed when it is complete."""
        line = self._tasks[task_id]
        line.total = line.total if total is None else total
        line.completed = line.completed if completed is None else completed
        line.note = note or line.note
        if line.total is not None and line.completed >= line.total and not line.printed:
            line.printed = True
            seconds = self._clock() - line.started
            console.print(
                f"{line.description}: {line.total:,.0f} in {seconds:.1f} s  {line.note}",
                highlight=False,
            )

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Move a step."""
        self.update(task_id, completed=self._tasks[task_id].completed + advance)


@dataclass
class _Line:
    description: str
    total: float | None
    note: str
    started: float
    completed: float = 0.0
    printed: bool = False


def progress_bars() -> Progress | LineBars:
    """Progress bars in the form used everywhere; lines where there is no terminal."""
    if not console.is_terminal:
        return LineBars()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
    )


class StageBars:
    """One bar for each stage of a job that reports (stage, done, total, figures)."""

    def __init__(self, bars: Bars) -> None:
        """Draw into `bars`."""
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(
        self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None
    ) -> None:
        """Move a stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None, note="")
        note = "  ".join(f"{name} {value:.4g}" for name, value in (figures or {}).items())
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)


def clock_time(iso: str | None) -> str:
    """A time of ours (ISO 8601, UTC) to the second.

    >>> clock_time("2026-01-01T12:00:00.250+00:00")
    '2026-01-01 12:00:00'
    """
    return "-" if iso is None else iso[:19].replace("T", " ")


def log_to_screen(*, verbose: bool = False) -> None:
    """Log to standard error; other people's libraries only from warnings on."""
    if sys.stderr.isatty():
        # What is written as JSON later must not be wrapped to the width of the terminal.
        handler: logging.Handler = RichHandler(console=errors, show_path=False)
        handler.setFormatter(TextLines("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(TextLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Says that a topic made a moment ago has no leader yet, and tries again.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
    logging.getLogger("kafka").setLevel(logging.ERROR)
    for room in (
        "streams",
        "state",
        "static_layer",
        "dynamic_layer",
        "evaluation",
        "agents",
        "console",
        "segue",
    ):
        logging.getLogger(room).setLevel(logging.DEBUG if verbose else logging.INFO)
