"""Terminal output: console, progress bars, tables, errors."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderableType
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
from rich.segment import Segment
from rich.text import Text

from segue.log_format import TextLines
from segue.terminal_text import printable

__all__ = [
    "Bars",
    "LineBars",
    "SafeConsole",
    "StageBars",
    "clock_time",
    "console",
    "errors",
    "log_to_screen",
    "log_warnings_only",
    "marked",
    "progress_bars",
]

_PRIVATE_USE = 0xE000
#: Packages whose log is shown from INFO on; that of others from WARNING on.
_PACKAGES = (
    "streams", "state", "static_layer", "dynamic_layer", "evaluation", "agents", "console", "segue",
)  # fmt: skip
#: Seconds between two lines of a step that is not complete, in a log file.
SAID_S = 10.0


class SafeConsole(Console):
    """A console that prints text literally: no markup, no emoji codes, no control characters.

    Most output holds titles and ids from external data. `marked` creates styled text.
    """

    def __init__(self, **options: Any) -> None:
        """Accept the options of rich's Console."""
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to text before it is measured, so that columns stay aligned."""
        return super().render_str(printable(text, lines=True), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of any renderable; those can hold control characters too."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, lines=True), segment.style)


def marked(template: str, *texts: object) -> Text:
    """Return styled text: the template has rich's markup, the values for {} are literal.

    >>> marked("[red]error:[/] {}", "no item [live]").plain
    'error: no item [live]'
    """
    # Each text is put into the place of a character that no template has: rich's own `escape`
    # changes texts that end with a backslash.
    places = {chr(_PRIVATE_USE + n): printable(str(t), lines=True) for n, t in enumerate(texts)}
    styled = Text.from_markup(template.format(*places), emoji=False)
    cuts = [at + n for at, sign in enumerate(styled.plain) if sign in places for n in (0, 1)]
    filled = Text()
    for part in styled.divide(cuts):
        text = part
        if part.plain in places:
            text = Text(places[part.plain])
            for span in part.spans:
                text.stylize(span.style)
        filled.append_text(text)
    return filled


# A log file has no width of its own; tables need some.
console = SafeConsole() if sys.stdout.isatty() else SafeConsole(width=110)
errors = SafeConsole(stderr=True)


class Bars(Protocol):
    """Interface of progress bars that steps use; rich's Progress implements it."""

    def add_task(self, description: str, *, total: float | None, note: str) -> TaskID:
        """Start a bar."""

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
        """Advance a bar."""


class LineBars:
    """Progress for a log file: a line per completed step, and every SAID_S seconds until then."""

    def __init__(
        self, screen: SafeConsole | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Print to `screen`, default standard output; measure with `clock`, in seconds."""
        self._screen = screen or console
        self._clock = clock
        self._tasks: list[_Line] = []

    def __enter__(self) -> "LineBars":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def add_task(self, description: str, *, total: float | None, note: str) -> TaskID:
        """Start a step."""
        now = self._clock()
        self._tasks.append(_Line(description, total, note, now, now))
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
        now = self._clock()
        if line.total is not None and line.completed >= line.total:
            if not line.printed:
                line.printed = True
                self._print(f"{line.total:,.0f} in {now - line.started:.1f} s", line)
        elif now - line.said >= SAID_S:
            line.said = now
            of = "" if line.total is None else f" of {line.total:,.0f}"
            self._print(f"{line.completed:,.0f}{of} after {now - line.started:.0f} s", line)

    def _print(self, text: str, line: "_Line") -> None:
        self._screen.print(f"{line.description}: {text}  {line.note}".rstrip(), highlight=False)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a step."""
        self.update(task_id, completed=self._tasks[task_id].completed + advance)


@dataclass
class _Line:
    description: str
    total: float | None
    note: str
    started: float
    said: float
    completed: float = 0.0
    printed: bool = False


def progress_bars(screen: SafeConsole | None = None) -> Progress | LineBars:
    """Progress bars in the common format; lines if there is no terminal.

    screen: `errors` if standard output is for programs; default `console`.
    """
    screen = screen or console
    if not screen.is_terminal:
        return LineBars(screen)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=screen,
    )


def _figure(value: float) -> str:
    """Return a figure as text: counts in full, other numbers with four digits.

    >>> _figure(23210), _figure(0.096391)
    ('23,210', '0.09639')
    """
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


class StageBars:
    """One bar for each stage of a job that reports (stage, done, total, figures)."""

    def __init__(self, bars: Bars) -> None:
        """Draw into `bars`."""
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(
        self,
        stage: str,
        done: int,
        total: int | None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Advance a stage's bar; total: None while it is not known."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None, note="")
        note = "  ".join(f"{name} {_figure(value)}" for name, value in (figures or {}).items())
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)


def clock_time(iso: str | None) -> str:
    """Format a time (ISO 8601, UTC) to the second.

    >>> clock_time("2026-01-01T12:00:00.250+00:00")
    '2026-01-01 12:00:00'
    """
    return "-" if iso is None else iso[:19].replace("T", " ")


def log_to_screen(*, verbose: bool = False) -> None:
    """Log to standard error; external libraries only from level WARNING."""
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
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)


def log_warnings_only() -> None:
    """Stop the log below level WARNING, unless --verbose was given."""
    for package in _PACKAGES:
        if (logger := logging.getLogger(package)).level != logging.DEBUG:
            logger.setLevel(logging.WARNING)
