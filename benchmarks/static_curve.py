"""The static job's time and memory against the size of the catalogue, and what lies beyond it.

    python -m benchmarks.static_curve var/small.json var/large.json \\
        --plot benchmarks/static-scale.svg

Reads reports of `segue bench static`. Beyond the largest size each stage goes on by the power of
the number of items that lies through its two largest sizes: an extrapolation, and shown as one.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from segue.evaluation_output import drawn
from segue.screen import console

__all__ = ["PAPER_ITEMS", "draw", "extrapolated", "show"]

PAPER_ITEMS = 3_750_000
"""Podcasts and audiobooks of paper B."""
_LARGE = 50_000
"""Items below which a stage is mostly its start, which says nothing of what lies beyond."""

Row = Mapping[str, Any]


def extrapolated(rows: Sequence[Row], items: int) -> tuple[float, float] | None:
    """Return seconds and GiB at a number of items; None without two sizes above 50,000.

    rows: of `segue bench static`, ascending.
    """
    large = [row for row in rows if row["plan"]["items"] >= _LARGE]
    if len(large) < 2:
        return None
    below, above = large[-2:]
    ratio = above["plan"]["items"] / below["plan"]["items"]
    further = items / above["plan"]["items"]
    seconds, gib = 0.0, 0.0
    for name, stage in above["stages"].items():
        before = below["stages"][name]
        seconds += stage["seconds"] * further ** _power(before, stage, "seconds", ratio)
        gib = max(gib, stage["peak_gib"] * further ** _power(before, stage, "peak_gib", ratio))
    return seconds, gib


def _power(below: Row, above: Row, name: str, ratio: float) -> float:
    return max(math.log(max(above[name], 1e-3) / max(below[name], 1e-3)) / math.log(ratio), 0.0)


def show(rows: Sequence[Row], items: int = PAPER_ITEMS) -> None:
    """Print a line per size, and the extrapolated one."""
    table = Table(title="static job by size")
    for name in ("items", "edges", "seconds", "peak GiB"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row['plan']['items']:,}", f"{row['edges']:,}", f"{row['seconds']:,.0f}",
            f"{row['peak_gib']:.2f}",
        )  # fmt: skip
    beyond = extrapolated(rows, items)
    if beyond:
        table.add_row(f"{items:,}", "extrapolated", f"{beyond[0]:,.0f}", f"{beyond[1]:.1f}")
    console.print(table)


def draw(rows: Sequence[Row], file: Path, items: int = PAPER_ITEMS) -> None:
    """Draw seconds by stage and memory over items, logarithmic; dashed where extrapolated."""
    sizes = [row["plan"]["items"] for row in rows]
    with drawn(file, (9, 3.6)) as figure:
        time, memory = figure.subplots(1, 2)
        for name in rows[-1]["stages"]:
            time.plot(
                sizes, [row["stages"][name]["seconds"] for row in rows], marker=".", label=name
            )
        time.plot(sizes, [row["seconds"] for row in rows], "k-o", label="all")
        memory.plot(sizes, [row["peak_gib"] for row in rows], "k-o")
        beyond = extrapolated(rows, items)
        for panel, ends in ((time, "seconds"), (memory, "peak_gib")):
            if beyond:
                value = beyond[0] if ends == "seconds" else beyond[1]
                panel.plot([sizes[-1], items], [rows[-1][ends], value], "k--o", fillstyle="none")
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xlabel("items (20 edges each)")
        time.set_ylabel("seconds")
        time.legend(fontsize=7)
        memory.set_ylabel("peak memory, GiB")


def main(
    reports: Annotated[list[Path], typer.Argument(help="JSON files of segue bench static.")],
    plot: Annotated[Path | None, typer.Option(help="Draw the curve to this file.")] = None,
    items: Annotated[int, typer.Option(help="Size to extrapolate to.")] = PAPER_ITEMS,
) -> None:
    """Join reports of several sizes to one curve."""
    rows = [row for report in reports for row in json.loads(report.read_text())["rows"]]
    rows.sort(key=lambda row: row["plan"]["items"])
    show(rows, items)
    if plot is not None:
        draw(rows, plot, items)
        console.print(f"plot: {plot}")


if __name__ == "__main__":
    typer.run(main)
