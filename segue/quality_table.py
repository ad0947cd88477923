"""Output of `segue evaluate`: a table of models for each item type, JSON and a plot."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.evaluation_output import drawn, metrics_table
from segue.screen import console

if TYPE_CHECKING:
    from evaluation.experiment import Outcome
    from evaluation.trial import Trial

__all__ = ["draw_models", "models_report", "show_models"]


def models_report(trial: "Trial", outcomes: list["Outcome"]) -> dict[str, Any]:
    """Return the rows and all parameters that reproduce them."""
    return {
        "trial": {
            **asdict(trial.settings),
            "split_ms": trial.past.at_ms,
            "train_events": len(trial.past.train),
            "test_users": len(trial.truth.users),
            "held_out": len(trial.truth.item),
            "candidates": len(trial.candidates),
        },
        "rows": [asdict(row) for outcome in outcomes for row in outcome.rows],
        "tuning": {o.model: [asdict(tried) for tried in o.tried] for o in outcomes if o.tried},
        "skipped": {o.model: o.skipped for o in outcomes if o.skipped},
    }


def show_models(report: dict[str, Any], *, segments: bool) -> None:
    """Print a table for each item type; segments: and for each segment of users or items."""
    facts = report["trial"]
    console.print(
        f"{facts['protocol']}: {facts['train_events']:,} events to train, "
        f"{facts['test_users']:,} test users with {facts['held_out']:,} held-out items, "
        f"{facts['candidates']:,} items ranked"
    )
    types = {row["item_type"] for row in report["rows"]}
    # With a single type its rows say what those of all types say.
    shown = {"all"} if len(types) == 2 else types
    wanted = [
        row
        for row in report["rows"]
        if row["item_type"] in shown and (segments or row["segment"] == "all")
    ]
    for key in dict.fromkeys((row["item_type"], row["segment"]) for row in wanted):
        rows = [row for row in wanted if (row["item_type"], row["segment"]) == key]
        item_type, segment = key
        title = f"{item_type}, {segment}: {rows[0]['users']:,} users"
        console.print(metrics_table(title, "model", rows, ("NDCG@10", "MRR@100", "Recall@100")))


def draw_models(report: dict[str, Any], file: Path) -> None:
    """HR@10 with its interval, a panel per item type."""
    rows = [row for row in report["rows"] if row["segment"] == "all"]
    types = list(dict.fromkeys(row["item_type"] for row in rows))
    size = (1.5 + 4 * len(types), 1.5 + 0.35 * len(rows) / max(len(types), 1))
    with drawn(file, size, dpi=120) as figure:
        for place, item_type in enumerate(types, 1):
            panel = figure.add_subplot(1, len(types), place)
            bars = [row for row in rows if row["item_type"] == item_type]
            bars.sort(key=lambda row: row["hr_at_10"])
            values = [bar["hr_at_10"] for bar in bars]
            low = [max(0.0, bar["hr_at_10"] - bar["hr_at_10_ci"][0]) for bar in bars]
            high = [max(0.0, bar["hr_at_10_ci"][1] - bar["hr_at_10"]) for bar in bars]
            names = [bar["model"] for bar in bars]
            panel.barh(names, values, xerr=[low, high], color="#4c78a8")
            panel.set_title(f"{item_type} ({bars[0]['users']:,} users)")
            panel.set_xlabel("HR@10, 95 % interval over users")
