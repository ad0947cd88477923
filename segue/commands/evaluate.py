"""segue evaluate: every model on the same held-out events, in one table."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, SetOption, explained, settings_of
from segue.screen import StageBars, console, errors, progress_bars

if TYPE_CHECKING:
    from evaluation.experiment import Outcome
    from evaluation.trial import Trial

MODELS = "popularity,popularity_decayed,text_knn,item_cf,segue"


def evaluate(
    events: Annotated[
        Path, typer.Argument(help="Parquet: user_id, item_id, item_type, timestamp (ms UTC).")
    ],
    items: Annotated[
        Path, typer.Argument(help="Parquet: item_id, item_type, and title, description, genres.")
    ],
    models: Annotated[
        str, typer.Option(help="Names, comma-separated, or all. See below.")
    ] = MODELS,
    protocol: Annotated[
        str,
        typer.Option(
            help="time, loo (leave-one-out), sampled (loo, drawn negatives), or prequential "
            "(a stream: each event is asked for, then learned from)."
        ),
    ] = "time",
    test_days: Annotated[
        float, typer.Option(help="time, prequential: days that are tested.")
    ] = 14.0,
    ask: Annotated[
        str,
        typer.Option(
            help="prequential: the `next` event of a user, or the `basket` of his day, asked at "
            "its beginning."
        ),
    ] = "next",
    step: Annotated[
        str,
        typer.Option(
            help="prequential: how often a continual model learns and is published: day, hour, or "
            "a number of events."
        ),
    ] = "day",
    asked: Annotated[
        int, typer.Option(help="prequential: test a random sample of questions; 0 tests all.")
    ] = 0,
    taught: Annotated[
        int,
        typer.Option(help="prequential: learn from a sample of so many questions a day; 0: all."),
    ] = 0,
    warmup_days: Annotated[
        float, typer.Option(help="prequential: days before the test that models learn from.")
    ] = 30.0,
    fit_days: Annotated[
        float,
        typer.Option(help="prequential: days between fits of item weights, unless frozen."),
    ] = 7.0,
    train_days: Annotated[
        float | None, typer.Option(help="Days before the split that models see; default all.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Leave out events from this day on, e.g. 2014-05-04.")
    ] = None,
    repeats: Annotated[
        str, typer.Option(help="exclude what a user had (discovery), or include it.")
    ] = "exclude",
    candidates: Annotated[
        str, typer.Option(help="Rank `all` items with text or a past, or the `trained` alone.")
    ] = "all",
    min_events: Annotated[
        int, typer.Option(help="Drop items with fewer events, before the split (as papers do).")
    ] = 0,
    where: Annotated[
        str | None, typer.Option(help="Keep events for which this SQL holds, e.g. 'src % 2 = 1'.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Column that settles the order of equal timestamps.")
    ] = None,
    users: Annotated[int, typer.Option(help="Test a random sample; 0 tests all users.")] = 0,
    seeds: Annotated[int, typer.Option(help="Seeds per model; their figures are averaged.")] = 1,
    seed: Annotated[int, typer.Option(help="First seed; also of samples and intervals.")] = 1,
    tune: Annotated[
        int, typer.Option(help="Configurations tried per model, before the split; 0 for none.")
    ] = 0,
    strong: Annotated[
        str, typer.Option(help="Event kinds that count as consumption, comma-separated.")
    ] = "stream",
    threads: Annotated[int, typer.Option(help="Threads of the models; 0 for all cores.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the rows to this file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw HR@10 to this file.png (extra: evaluate).")
    ] = None,
    segments: Annotated[
        bool, typer.Option(help="Show every segment, not all users alone.")
    ] = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Compare models on held-out events: full ranking, one split, intervals over users.

    The split comes first: a model is given the events before it and nothing else. Tuning (--tune)
    happens on a window before the split, with the same budget for every model.

    Examples: segue evaluate events.parquet items.parquet --test-days 30 --until 2014-05-04

    segue evaluate events.parquet items.parquet --models popularity,ease,segue --seeds 3 --tune 8

    segue evaluate events.parquet items.parquet --protocol loo --min-events 5 --candidates trained

    segue evaluate events.parquet items.parquet --users 4000 --json table.json --plot table.png

    segue evaluate events.parquet items.parquet --protocol prequential --ask next --step hour
    """
    from evaluation.dataset import DatasetError, read_dataset
    from evaluation.experiment import run
    from evaluation.measure import BadScores
    from evaluation.models import UnknownModel, chosen
    from evaluation.models import models as table
    from evaluation.text import TextVectors
    from evaluation.trial import TrialSettings, make_trial
    from segue.roles import text_settings
    from segue.times import day_ms
    from static_layer import TextModelError

    if repeats not in ("exclude", "include"):
        raise typer.BadParameter(f"expected --repeats exclude or include, got {repeats!r}")
    if candidates not in ("all", "trained"):
        raise typer.BadParameter(f"expected --candidates all or trained, got {candidates!r}")
    if seeds < 1:
        raise typer.BadParameter(f"expected at least one seed, got {seeds}")
    for file in (json_file, plot):
        if file is not None and not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {file.absolute().parent}")
    settings = settings_of(config, flags)
    wrong = (DatasetError, UnknownModel, BadScores, TextModelError, ValueError, OSError)
    if protocol == "prequential":
        from evaluation.prequential import ARMS, PrequentialSettings, SegueSettings
        from evaluation.prequential import run as replay
        from segue.freshness_table import draw_days, replay_report, show_replay

        with explained(*wrong), progress_bars() as bars:
            _use_threads(threads)
            dataset = read_dataset(
                events, items, strong_kinds=tuple(_names(strong)),
                where=where, order=order, min_events=min_events,
            )  # fmt: skip
            progress = StageBars(bars)
            replayed = replay(
                dataset,
                PrequentialSettings(
                    test_days=test_days,
                    end_ms=None if until is None else day_ms(until),
                    warmup_days=warmup_days,
                    ask=ask,  # type: ignore[arg-type]  # checked by the settings
                    step=step,
                    repeats=repeats == "include",
                    asked=asked,
                    taught=taught,
                    seed=seed,
                ),
                ARMS if models in ("all", MODELS) else _names(models),
                TextVectors(dataset.items, text_settings(settings), progress),
                seeds=range(seed, seed + seeds),
                progress=progress,
                ours=SegueSettings(fit_days=fit_days),
            )
        report = replay_report(replayed, command=" ".join(["segue", *sys.argv[1:]]))
        show_replay(report)
        _write(report, json_file, plot, draw_days)
        return
    with explained(*wrong), progress_bars() as bars:
        names = list(table()) if models == "all" else _names(models)
        fits = chosen(names)
        _use_threads(threads)
        dataset = read_dataset(
            events, items, strong_kinds=tuple(_names(strong)),
            where=where, order=order, min_events=min_events,
        )  # fmt: skip
        progress = StageBars(bars)
        trial = make_trial(
            dataset,
            TrialSettings(
                protocol=protocol,  # type: ignore[arg-type]  # checked by the settings
                test_days=test_days,
                train_days=train_days,
                end_ms=None if until is None else day_ms(until),
                repeats=repeats == "include",
                candidates=candidates,  # type: ignore[arg-type]
                users=users,
                seed=seed,
            ),
            TextVectors(dataset.items, text_settings(settings), progress),
        )
        outcomes = []
        for outcome in run(
            fits, trial, seeds=range(seed, seed + seeds), budget=tune, progress=progress
        ):
            outcomes.append(outcome)
            if outcome.skipped:
                errors.print(f"[yellow]{outcome.model} has no rows:[/] {outcome.skipped}")
    report = _report(trial, outcomes, command=" ".join(["segue", *sys.argv[1:]]))
    _show(report, segments=segments)
    _write(report, json_file, plot, _draw)
    if not report["rows"]:
        raise typer.Exit(1)


def _write(
    report: dict[str, Any],
    json_file: Path | None,
    plot: Path | None,
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
        console.print(f"rows: {json_file}")
    if plot is not None:
        draw(report, plot)
        console.print(f"plot: {plot}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _use_threads(threads: int) -> None:
    import torch

    if threads > 0:
        torch.set_num_threads(threads)


def _report(trial: "Trial", outcomes: list["Outcome"], *, command: str) -> dict[str, Any]:
    """The rows, and what is needed to make them again."""
    from dataclasses import asdict

    return {
        "command": command,
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


def _show(report: dict[str, Any], *, segments: bool) -> None:
    from rich.table import Table

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
        table = Table(title=f"{item_type}, {segment}: {rows[0]['users']:,} users")
        table.add_column("model")
        for name in ("HR@10", "95 %", "NDCG@10", "MRR@100", "Recall@100", "coverage", "seconds"):
            table.add_column(name, justify="right")
        for row in sorted(rows, key=lambda row: -row["hr_at_10"]):
            low, high = row["hr_at_10_ci"]
            table.add_row(
                row["model"], f"{row['hr_at_10']:.4f}", f"{low:.4f}-{high:.4f}",
                f"{row['ndcg_at_10']:.4f}", f"{row['mrr']:.4f}", f"{row['recall_at_100']:.4f}",
                f"{row['coverage']:.3f}", f"{row['seconds']:.1f}",
            )  # fmt: skip
        console.print(table)


def _draw(report: dict[str, Any], file: Path) -> None:
    """HR@10 with its interval, a panel per item type."""
    from segue.plots import drawn

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
