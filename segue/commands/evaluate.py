"""segue evaluate: compare models on the same held-out events, in one table."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, SetOption, explained, settings_of
from segue.screen import StageBars, console, errors, marked, progress_bars

if TYPE_CHECKING:
    from evaluation.dataset import Dataset
    from evaluation.experiment import Outcome
    from evaluation.trial import Trial
    from segue.screen import Bars
    from segue.settings import Settings

MODELS = "popularity,popularity_decayed,text_knn,item_cf,segue"


def evaluate(
    context: typer.Context,
    events: Annotated[
        Path | None,
        typer.Argument(help="Parquet: user_id, item_id, item_type, timestamp (ms UTC)."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Argument(help="Parquet: item_id, item_type, and title, description, genres."),
    ] = None,
    from_kafka: Annotated[
        bool,
        typer.Option(
            "--from-kafka", help="Read the history in the log instead of files (segue export)."
        ),
    ] = False,
    since: Annotated[
        str, typer.Option(help="from-kafka: earliest, last=90d, or a time.")
    ] = "earliest",
    models: Annotated[
        str, typer.Option(help="Names, comma-separated, or all (evaluation/PROTOCOLS.md).")
    ] = MODELS,
    protocol: Annotated[
        str,
        typer.Option(
            help="time, loo (leave-one-out), sampled (loo with sampled negatives), or "
            "prequential (a stream: live counters predict each event)."
        ),
    ] = "time",
    test_days: Annotated[float, typer.Option(help="time, prequential: test days.")] = 14.0,
    ask: Annotated[
        str,
        typer.Option(
            help="prequential: predict a user's `next` event, or the `basket` of a day at its "
            "start."
        ),
    ] = "next",
    asked: Annotated[
        int,
        typer.Option(
            min=0, help="prequential, live: test a random sample of queries; 0 tests all."
        ),
    ] = 0,
    every: Annotated[
        float,
        typer.Option(
            help="prequential, live: ask for the events of so many seconds together, at their "
            "start: fewer moments, faster. 0: at each event."
        ),
    ] = 0.0,
    train_days: Annotated[
        float | None, typer.Option(help="Training days before the split; default all.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Ignore events from this day on, e.g. 2014-05-04.")
    ] = None,
    repeats: Annotated[
        str,
        typer.Option(help="exclude items that a user already had (discovery), or include them."),
    ] = "exclude",
    candidates: Annotated[
        str, typer.Option(help="Rank `all` items with text or events, or only the `trained` ones.")
    ] = "all",
    min_events: Annotated[
        int,
        typer.Option(min=0, help="Drop items with fewer events, before the split (as papers do)."),
    ] = 0,
    where: Annotated[
        str | None,
        typer.Option(help="Keep events that match this SQL condition, e.g. 'src % 2 = 1'."),
    ] = None,
    order: Annotated[str | None, typer.Option(help="Column that orders equal timestamps.")] = None,
    users: Annotated[int, typer.Option(min=0, help="Test a random sample; 0 tests all users.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Seeds per model; figures are averaged over them.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="First seed; also used for samples and intervals.")
    ] = 1,
    tune: Annotated[
        int,
        typer.Option(min=0, help="Configurations tried per model, before the split; 0 for none."),
    ] = 0,
    strong: Annotated[
        str, typer.Option(help="Event kinds that count as consumption, comma-separated.")
    ] = "stream",
    served: Annotated[
        bool,
        typer.Option(
            "--served",
            help="time: run the product on the data (embedded log) and score the lists on the "
            "recommendations topic.",
        ),
    ] = False,
    kafka: Annotated[
        bool,
        typer.Option(
            "--kafka",
            help="served: on the Kafka at KAFKA_BOOTSTRAP_SERVERS, else on a local one that is "
            "started (Java 17 and Maven), instead of the embedded log.",
        ),
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="served: also play the test days, with lists before each event (--asked).",
        ),
    ] = False,
    without: Annotated[
        str,
        typer.Option(
            help="served: also measure without these parts, comma-separated: head, hgnn (text "
            "alone), hgnn:scalars (two scalars for each vector), sequence (no sequence tower). All "
            "but the first train again."
        ),
    ] = "",
    learn: Annotated[
        str,
        typer.Option(
            help="live: also measure with a trainer that learns while the test is played, "
            "comma-separated: weekly, daily, hourly, continual (after trainer.min_examples events, "
            "an hour at most)."
        ),
    ] = "",
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of the models; 0 for all cores.")
    ] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the rows to this file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw HR@10 to this file.png (extra: evaluate).")
    ] = None,
    segments: Annotated[bool, typer.Option(help="Show every segment, not only all users.")] = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Compare models on held-out events: full ranking, one split, intervals over users.

    Models see only events before the split. Tuning (--tune) uses a window before the split, with
    the same budget for every model.

    Examples: segue evaluate events.parquet items.parquet --test-days 30 --until 2014-05-04

    segue evaluate events.parquet items.parquet --models popularity,ease,segue --seeds 3 --tune 8

    segue evaluate events.parquet items.parquet --protocol loo --min-events 5 --candidates trained

    segue evaluate events.parquet items.parquet --users 4000 --json table.json --plot table.png

    segue evaluate events.parquet items.parquet --protocol prequential --ask basket

    segue evaluate events.parquet items.parquet --served --live --asked 2000 --without head,hgnn

    segue evaluate events.parquet items.parquet --served --live --learn daily,hourly,continual

    segue evaluate --from-kafka --since last=90d --served

    segue evaluate events.parquet items.parquet --served --kafka
    """
    from evaluation.dataset import DatasetError, read_dataset
    from evaluation.experiment import run
    from evaluation.measure import BadScores
    from evaluation.models import PRODUCT, UnknownModel, chosen
    from evaluation.models import models as table
    from evaluation.text import TextVectors
    from evaluation.trial import TrialSettings, make_trial
    from segue.demo.runtime import DemoError
    from segue.quality_table import draw_models, models_report, show_models
    from segue.roles import text_settings
    from segue.threads import use_threads
    from segue.times import day_ms
    from static_layer import TextModelError
    from streams import AdminError, BulkWriteError
    from streams.distribution import BrokerError

    _require(
        repeats in ("exclude", "include"), f"expected --repeats exclude or include, got {repeats!r}"
    )
    _require(
        candidates in ("all", "trained"),
        f"expected --candidates all or trained, got {candidates!r}",
    )
    _require(seeds >= 1, f"expected at least one seed, got {seeds}")
    _require(
        served or not (live or without or kafka), "--live, --without and --kafka need --served"
    )
    _require(not (kafka and learn), "--kafka takes no --learn")
    _require(live or not learn, "--learn needs --live")
    _require(not (served and (tune or plot)), "--served takes neither --tune nor --plot")
    for file in (json_file, plot):
        if file is not None:
            folder = file.absolute().parent
            _require(folder.is_dir(), f"there is no folder {folder}")
    settings = settings_of(config, flags, asks_broker=from_kafka)
    if from_kafka:
        _require(events is None and items is None, "--from-kafka takes no files")
        folder = Path(context.with_resource(TemporaryDirectory(prefix="segue-history-")))
        events, items = _history(settings, folder, since)
    if events is None or items is None:
        raise typer.BadParameter("expected EVENTS and ITEMS, or --from-kafka")
    wrong = (
        AdminError, BadScores, BrokerError, BulkWriteError, DatasetError, DemoError, OSError,
        TextModelError, UnknownModel, ValueError,
    )  # fmt: skip
    if protocol == "prequential":
        from evaluation.prequential import ARMS, PrequentialSettings
        from evaluation.prequential import run as replay
        from segue.freshness_table import draw_days, replay_report, show_replay

        with explained(*wrong), progress_bars() as bars:
            use_threads(threads)
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
                    ask=ask,  # type: ignore[arg-type]  # checked by the settings
                    repeats=repeats == "include",
                    every_s=every,
                    asked=asked,
                    seed=seed,
                ),
                ARMS if models in ("all", MODELS) else _names(models),
                progress=progress,
            )
        report = replay_report(replayed, command=" ".join(["segue", *sys.argv[1:]]))
        show_replay(report)
        _write(report, json_file, plot, draw_days)
        return
    with explained(*wrong), progress_bars() as bars:
        names = [*table(), PRODUCT] if models == "all" else _names(models)
        fits = chosen(names)
        use_threads(threads)
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
        every_seed = range(seed, seed + seeds)
        if served:
            report = _served_report(
                settings, dataset, trial, bars,
                without=_names(without), learn=_names(learn), seeds=every_seed, live=live,
                kafka=kafka, asked=asked, every_s=every,
                baselines=None if models == MODELS else names,
            )  # fmt: skip
        else:
            tested = list(run(fits, trial, seeds=every_seed, budget=tune, progress=progress))
            if PRODUCT in names:
                tested.append(_product(settings, dataset, trial, every_seed, bars))
            report = models_report(trial, tested)
    report = {"command": " ".join(["segue", *sys.argv[1:]]), **report}
    for model, reason in report["skipped"].items():
        errors.print(marked("[yellow]{} has no rows:[/] {}", model, reason))
    if served:
        _show_served(report)
    else:
        show_models(report, segments=segments)
    _write(report, json_file, plot, draw_models)
    if not report["rows"]:
        raise typer.Exit(1)


def _history(settings: "Settings", folder: Path, since: str) -> tuple[Path, Path]:
    """Export the history in the log to a folder; returns the two files."""
    from segue.commands.export import exported
    from segue.history_export import EVENTS, ITEMS

    with progress_bars() as bars:
        found = exported(settings, folder, since, "latest", bars)
    console.print(
        f"{found['events']:,} events and {found['items']:,} items from the log; "
        f"{found['refused']:,} records refused"
    )
    return folder / EVENTS, folder / ITEMS


def _served_report(
    settings: "Settings",
    dataset: "Dataset",
    trial: "Trial",
    bars: "Bars",
    *,
    without: list[str],
    learn: list[str],
    seeds: range,
    live: bool,
    kafka: bool,
    asked: int,
    every_s: float,
    baselines: list[str] | None,
) -> dict[str, Any]:
    """Measure the running product in every mode; baselines: None for the default ones."""
    from segue.served.arms import arms_of
    from segue.served.command import BASELINES, ServedOptions, evaluate_served

    options = ServedOptions(
        arms=arms_of(without, learn), seeds=seeds, live=live, kafka=kafka,
        asked=asked, every_s=every_s,
        baselines=BASELINES if baselines is None else baselines,
    )  # fmt: skip
    return evaluate_served(settings, dataset, trial, options, bars)


def _show_served(report: dict[str, Any]) -> None:
    from segue.served.command import show_served

    show_served(report)


def _product(
    settings: "Settings", dataset: "Dataset", trial: "Trial", seeds: range, bars: "Bars"
) -> "Outcome":
    from segue.served.command import product_outcome

    return product_outcome(settings, dataset, trial, seeds, bars)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise typer.BadParameter(otherwise)


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
