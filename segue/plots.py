"""Plots of the commands with --plot."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segue.screen import errors, marked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["drawn"]


@contextmanager
def drawn(file: Path, size: tuple[float, float], *, dpi: int = 110) -> Iterator["Figure"]:
    """Yield a figure and write it to `file`; equal figures give equal SVGs.

    size: width and height in inches. Exits if matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        errors.print(
            marked("[red]error:[/] {}", "--plot needs matplotlib: install segue[evaluate]")
        )
        raise typer.Exit(1) from error
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "segue"}):
        figure = Figure(figsize=size)
        yield figure
        figure.tight_layout()
        figure.savefig(file, dpi=dpi, metadata={"Date": None} if file.suffix == ".svg" else None)
