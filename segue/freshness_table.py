"""Output of the prequential protocol: tables, JSON and a plot by day."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.evaluation_output import drawn, metrics_table
from segue.screen import console

if TYPE_CHECKING:
    from evaluation.prequential import Replayed

__all__ = ["draw_days", "replay_report", "show_gains", "show_replay", "show_strata"]

Row = Mapping[str, Any]

_LINES = 9  # that a plot can hold and a reader tell apart


def replay_report(replayed: "Replayed", *, command: str) -> dict[str, Any]:
    """Return the rows and all parameters that reproduce them, as JSON values."""
    return {
        "command": command,
        "trial": {"protocol": "prequential", **replayed.facts},
        "rows": [vars(row) for row in replayed.rows],
        "days": [vars(day) for day in replayed.days],
        "gains": [vars(gain) for gain in replayed.gains],
    }


def show_replay(report: dict[str, Any]) -> None:
    """Print a table for each item type, and the gains between arms."""
    facts = report["trial"]
    console.print(
        f"prequential, {facts['ask']}: {facts['questions']:,} questions in {facts['test_days']:g} "
        f"days, {facts['items']:,} items ranked"
    )
    whole = [row for row in report["rows"] if row["segment"] == "all"]
    for item_type in dict.fromkeys(row["item_type"] for row in whole):
        rows = [row for row in whole if row["item_type"] == item_type]
        title = f"{item_type}: {rows[0]['asked']:,} questions"
        console.print(metrics_table(title, "arm", rows, ("MRR@100", "NDCG@10", "Recall@100")))
    show_strata(report["rows"], facts["strata"], facts["questions"])
    show_gains("paired over users", ("item type", "questions"), [
        (gain, (gain["item_type"], gain["segment"])) for gain in report["gains"]
    ])  # fmt: skip


def show_strata(rows: Sequence[Row], strata: Mapping[str, int], questions: int) -> None:
    """Print HR@10 of each arm on the strata of the questions; strata: questions in each."""
    from rich.table import Table

    table = Table(title="HR@10 by age of the answer, and in bursts (share of the questions)")
    table.add_column("arm")
    for name, asked in strata.items():
        table.add_column(f"{name} ({asked / questions:.0%})", justify="right")
    found = {(row["model"], row["segment"]): row["hr_at_10"] for row in rows}
    for model in dict.fromkeys(row["model"] for row in rows if row["segment"] in strata):
        table.add_row(model, *(f"{found[model, name]:.4f}" for name in strata))
    console.print(table)


def show_gains(
    paired: str, columns: Sequence[str], gains: Sequence[tuple[Row, Sequence[str]]]
) -> None:
    """Print the gains between arms, each with its cells of `columns`; nothing without any.

    paired: how, for the title.
    """
    from rich.table import Table

    if not gains:
        return
    table = Table(title=f"gain in HR@10 between arms, {paired}")
    for name in ("arm", "over", *columns):
        table.add_column(name)
    for name in ("gain", "95 %"):
        table.add_column(name, justify="right")
    for gain, cells in gains:
        low, high = gain["gain_ci"]
        table.add_row(
            gain["model"], gain["over"], *cells, f"{gain['gain']:+.1%}",
            f"{low:+.1%} to {high:+.1%}",
        )  # fmt: skip
    console.print(table)


def draw_days(report: dict[str, Any], file: Path) -> None:
    """Draw HR@10 by day, a line per arm: all of ours, and the best of the others."""
    from datetime import UTC, datetime

    rows = sorted(
        (row for row in report["rows"] if (row["item_type"], row["segment"]) == ("all", "all")),
        key=lambda row: ("/" not in row["model"], -row["hr_at_10"]),
    )
    smooth = max(1, round(report["trial"]["test_days"] / 15))
    with drawn(file, (9, 4.5)) as figure:
        panel = figure.add_subplot()
        for row in rows[:_LINES]:
            days = [day for day in report["days"] if day["model"] == row["model"]]
            parts = [days[n : n + smooth] for n in range(0, len(days), smooth)]
            asked = [sum(day["asked"] for day in part) for part in parts]
            rate = [
                sum(day["asked"] * day["hr_at_10"] for day in part) / count
                for part, count in zip(parts, asked, strict=True)
            ]
            when = [datetime.fromtimestamp(part[0]["day_ms"] / 1_000, UTC) for part in parts]
            panel.plot(
                when, rate,  # type: ignore[arg-type]  # matplotlib takes dates
                label=f"{row['model']} ({row['hr_at_10']:.3f})",
                linewidth=1.8 if "/" in row["model"] else 1.0,
                linestyle="-" if "/" in row["model"] else "--",
            )  # fmt: skip
        panel.set_ylabel("HR@10" if smooth == 1 else f"HR@10, {smooth} days together")
        panel.set_ylim(bottom=0)
        panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.autofmt_xdate()
