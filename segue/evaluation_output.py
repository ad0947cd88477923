"""Tables of metrics and plots, as the commands of evaluation and benchmarks show them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segue.screen import errors, marked

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

__all__ = ["drawn", "metrics_table"]

_FIELDS = {"NDCG@10": "ndcg_at_10", "MRR@100": "mrr", "Recall@100": "recall_at_100"}


def metrics_table(
    title: str, first: str, rows: Iterable[Mapping[str, Any]], metrics: Sequence[str]
) -> "Table":
    """Return a table of rows of an evaluation, the best HR@10 first.

    first: the name of the first column, `model` of a row; metrics: of `_FIELDS`, in their order.
    """
    from rich.table import Table

    table = Table(title=title)
    table.add_column(first)
    for name in ("HR@10", "95 %", *metrics, "coverage", "seconds"):
        table.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: -row["hr_at_10"]):
        low, high = row["hr_at_10_ci"]
        table.add_row(
            row["model"], f"{row['hr_at_10']:.4f}", f"{low:.4f}-{high:.4f}",
            *(f"{row[_FIELDS[name]]:.4f}" for name in metrics),
            f"{row['coverage']:.3f}", f"{row['seconds']:.1f}",
        )  # fmt: skip
    return table


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
