"""`segue evaluate --served`: what the running product delivers, as a report and tables."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.dataset import Dataset
from evaluation.experiment import Outcome as Tested
from evaluation.models import chosen
from evaluation.prequential import PrequentialSettings
from evaluation.prequential.strata import STRATA
from evaluation.prequential.stream import Questions, questions, span
from evaluation.segments import ALL
from evaluation.split import DAY_MS
from evaluation.trial import Trial
from segue.demo.runtime import DemoError, stoppable
from segue.freshness_table import show_gains, show_strata
from segue.screen import Bars, StageBars, console
from segue.served.arms import Arm
from segue.served.flow import run_served
from segue.served.scores import frozen_rows, live_rows, product_rows
from segue.settings import Settings

__all__ = ["BASELINES", "ServedOptions", "evaluate_served", "product_outcome", "show_served"]

_ONE_SPLIT = "the product is measured with one split in time: expected --protocol time"
BASELINES = ("popularity", "popularity_decayed", "item_cf", "ease")
#: Tiers of answers that are shown, of `evaluation.segments`.
TIERS = ("head", "mid", "tail", "new", "cold")
LABELS = {
    ("frozen", "horizon"): "lists at the split; any item of the test days counts",
    ("frozen", "next"): "lists at the split; the user's next event counts",
    ("live", "next"): "lists just before each event; the event counts",
}


@dataclass(frozen=True, kw_only=True)
class ServedOptions:
    """What is measured.

    arms: variants of the product. live: play the test days live too. asked: sample of the live
    questions; 0 asks all. every_s: as of `PrequentialSettings`. baselines: models on the same
    split. seeds: of the product. kafka: run it on a Kafka instead of the embedded log.
    """

    arms: Sequence[Arm]
    seeds: Sequence[int]
    live: bool = False
    asked: int = 0
    every_s: float = 0.0
    baselines: Sequence[str] = BASELINES
    kafka: bool = False


def evaluate_served(
    settings: Settings, dataset: Dataset, trial: Trial, options: ServedOptions, bars: Bars
) -> dict[str, Any]:
    """Run the product on a data set and return the report: parameters, and rows of every mode.

    dataset: with the events after the split. Raises ValueError for what has no split in time, or
    nothing to ask; DemoError if the product cannot learn from the data.
    """
    own = trial.settings
    if own.protocol != "time":
        raise ValueError(f"--served: {_ONE_SPLIT}; got {own.protocol}")
    baselines = chosen(options.baselines)
    end_ms = trial.past.at_ms + round(own.test_days * DAY_MS)
    replayed = PrequentialSettings(
        test_days=own.test_days, end_ms=end_ms, repeats=own.repeats,
        asked=options.asked, every_s=options.every_s, seed=own.seed,
    )  # fmt: skip
    asked = _asked(dataset, replayed) if options.live else None
    outcomes = asyncio.run(
        stoppable(
            run_served(
                settings, dataset, trial, end_ms, options.arms, options.seeds, asked, bars,
                kafka=options.kafka,
            )
        )
    )  # fmt: skip
    progress = StageBars(bars)
    found = [
        frozen_rows(dataset, trial, baselines, outcomes, seed=options.seeds[0], progress=progress)
    ]
    if asked is not None:
        found.append(live_rows(dataset, replayed, trial, outcomes, progress=progress))
    return {
        "trial": {
            **asdict(own),
            "split_ms": trial.past.at_ms,
            "end_ms": end_ms,
            "train_events": len(trial.past.train),
            "test_users": len(trial.truth.users),
            "held_out": len(trial.truth.item),
            "questions": 0 if asked is None else len(asked),
            "candidates": len(trial.candidates),
            "strata": found[-1].strata,
        },
        "rows": [row for one in found for row in one.rows],
        "gains": [gain for one in found for gain in one.gains],
        "skipped": found[0].skipped,
    }


def product_outcome(
    settings: Settings, dataset: Dataset, trial: Trial, seeds: Sequence[int], bars: Bars
) -> Tested:
    """Return the product's row of a table of models: its lists at the split.

    dataset: with the events after the split. The outcome says why there is no row: another
    protocol, or data from which the product cannot learn.
    """
    name, progress = Arm().name, StageBars(bars)
    if trial.settings.protocol != "time":
        return Tested(model=name, rows=[], tried=[], skipped=_ONE_SPLIT)
    end_ms = trial.past.at_ms + round(trial.settings.test_days * DAY_MS)
    run = run_served(settings, dataset, trial, end_ms, [Arm()], seeds, None, bars)
    try:
        outcomes = asyncio.run(stoppable(run))
    except DemoError as error:
        return Tested(model=name, rows=[], tried=[], skipped=str(error))
    rows = product_rows(name, trial, outcomes, progress=progress)
    return Tested(model=name, rows=rows, tried=[])


def _asked(dataset: Dataset, settings: PrequentialSettings) -> Questions:
    """Return the questions that a replay with these settings tests."""
    return questions(dataset, settings, *span(dataset.events, settings))


def show_served(report: dict[str, Any]) -> None:
    """Print a table for each mode, label and item type, then tiers and gains of all types."""
    from rich.table import Table

    facts = report["trial"]
    console.print(
        f"{facts['train_events']:,} events before the split; {facts['test_users']:,} test users, "
        f"{facts['questions']:,} live questions. Rows in bold: lists on the recommendations topic"
    )
    whole = [row for row in report["rows"] if row["segment"] == "all"]
    types = {row["item_type"] for row in whole}
    for (mode, label), meaning in LABELS.items():
        for item_type in sorted(types) if len(types) > 2 else ["all"]:
            rows = [
                row for row in whole
                if (row["mode"], row["label"], row["item_type"]) == (mode, label, item_type)
            ]  # fmt: skip
            if not rows:
                continue
            asked = f"{rows[0]['users']:,} users"
            if mode == "live":
                asked = f"{rows[0]['asked']:,} questions of {asked}"
            table = Table(title=f"{mode}, {item_type}, {asked}: {meaning}")
            table.add_column("model")
            for name in ("HR@10", "95 % by user", "NDCG@10", "MRR@100", "coverage", "by head"):
                table.add_column(name, justify="right")
            for row in sorted(rows, key=lambda row: -row["hr_at_10"]):
                low, high = row["hr_at_10_ci"]
                table.add_row(
                    row["model"], f"{row['hr_at_10']:.4f}", f"{low:.4f}-{high:.4f}",
                    f"{row['ndcg_at_10']:.4f}", f"{row['mrr']:.4f}", f"{row['coverage']:.3f}",
                    f"{row['by_head']:.0%}" if row["served"] else "",
                    style="bold" if row["served"] else None,
                )  # fmt: skip
            console.print(table)
            _show_tiers(
                f"{mode}, {label}, {item_type}",
                [
                    row
                    for row in report["rows"]
                    if row["segment"] in (ALL, *TIERS)
                    and (row["mode"], row["label"], row["item_type"]) == (mode, label, item_type)
                ],
            )
    if facts["strata"]:
        live = [row for row in report["rows"] if row["mode"] == "live"]
        show_strata(live, facts["strata"], facts["questions"])
    show_gains("paired by user", ("lists", "answers"), [
        (gain, (f"{gain['mode']}, {gain['label']}", gain["segment"])) for gain in report["gains"]
        if gain["item_type"] == ALL and gain["segment"] in (ALL, *TIERS, *STRATA)
    ])  # fmt: skip


def _show_tiers(lists: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print HR@10 on the answers of each tier, with the number of users who have one."""
    from rich.table import Table

    known = {(row["model"], row["segment"]): row for row in rows}
    users = {row["segment"]: row["users"] for row in rows}
    if len(users) < 2:  # live questions have no tiers
        return
    table = Table(title=f"{lists}: HR@10 by tier of the answer (users who have one)")
    table.add_column("model")
    for tier in TIERS:
        table.add_column(f"{tier} ({users.get(tier, 0):,})", justify="right")
    for model in dict.fromkeys(row["model"] for row in rows):
        cells = [known.get((model, tier)) for tier in TIERS]
        table.add_row(model, *(f"{row['hr_at_10']:.4f}" if row else "" for row in cells))
    console.print(table)
