"""What people see: one console, progress bars, tables, errors."""

import logging
import sys
from collections.abc import Mapping

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

__all__ = ["StageBars", "console", "errors", "log_to_screen", "progress_bars"]

# A log file has no width of its own; tables need some.
console = Console() if sys.stdout.isatty() else Console(width=110)
errors = Console(stderr=True)


def progress_bars() -> Progress:
    """Progress bars in the form used everywhere."""
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

    def __init__(self, bars: Progress) -> None:
        """Draw into `bars`."""
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(
        self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None
    ) -> None:
        """Move a stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, note="")
        note = "  ".join(f"{name} {value:.4g}" for name, value in (figures or {}).items())
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)


def log_to_screen(*, verbose: bool = False) -> None:
    """Log to standard error; other people's libraries only from warnings on."""
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=errors, show_path=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Says that a topic made a moment ago has no leader yet, and tries again.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
    logging.getLogger("kafka").setLevel(logging.ERROR)
    for room in ("streams", "state", "static_layer", "dynamic_layer", "agents", "segue"):
        logging.getLogger(room).setLevel(logging.DEBUG if verbose else logging.INFO)
