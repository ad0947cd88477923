"""segue try: lists for a generated world or your own files, on this machine only."""

import asyncio
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.options import JsonOption, SetOption, explained, settings_of
from segue.screen import StageBars, console, errors, log_warnings_only, marked, progress_bars


def try_out(
    events: Annotated[
        Path | None, typer.Option(help="Your events: CSV, JSON lines or Parquet.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="Their catalogue: CSV, JSON lines or Parquet.")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            "-f",
            metavar="FIELD=COLUMN",
            help="Column that is not guessed correctly, e.g. user_id=reader; for one file only: "
            "events.item_id=article. Repeat for more.",
        ),
    ] = None,
    item_type: Annotated[
        str, typer.Option(help="Type of all items, e.g. article; default: a column, or `item`.")
    ] = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Use the good rows even if there are bad ones.")
    ] = False,
    most_events: Annotated[
        int, typer.Option(min=0, help="Maximum number of your events, newest first; 0 uses all.")
    ] = 50_000,
    most_items: Annotated[
        int, typer.Option(min=0, help="Maximum number of items, most events first; 0 uses all.")
    ] = 3_000,
    folder: Annotated[
        Path, typer.Option(help="Folder for all files of this run; emptied at the start.")
    ] = Path("segue-try"),
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of the console; 0: a free one.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve the console until Ctrl-C.")
    ] = True,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the simulated world and of the models.")
    ] = 1,
    as_json: JsonOption = False,
    flags: SetOption = None,
) -> None:
    """Try Segue on this machine: personal lists for a generated world or your own files.

    It needs neither Kafka nor Java. It reads the history into an embedded log, trains the models,
    prints the lists of some users, and serves the console until Ctrl-C. All files are in --folder.

    Examples: segue try

    segue try --events reads.csv --items articles.csv

    segue try --events reads.csv --items articles.csv -f user_id=reader -f timestamp=read_on

    segue try --json --no-serve
    """
    if (events is None) != (items is None):
        raise typer.BadParameter("--events and --items must be given together")
    started = time.monotonic()
    screen = errors if as_json else console
    settings = settings_of(None, flags)
    log_warnings_only()
    shown: list[dict[str, Any]] = []

    def show(report: dict[str, Any]) -> None:
        shown.append(report)
        if as_json:
            typer.echo(json.dumps(report))
        else:
            _show(report)

    try:
        # The files first: what is wrong with them is said before the models are imported.
        data = None
        if events is not None and items is not None:
            from segue.demo.own_files import FILE_ERRORS, TryFiles, how_it_was_read, read_files
            from streams.log_record import now_ms

            files = TryFiles(
                events=events, items=items, fields=tuple(field or ()), item_type=item_type,
                skip_bad=skip_bad, most_events=most_events, most_items=most_items,
            )  # fmt: skip
            with explained(*FILE_ERRORS), progress_bars(screen) as bars:
                data = read_files(files, settings.events, now_ms(), StageBars(bars))
            screen.print(how_it_was_read(data), highlight=False, soft_wrap=True)
        from segue.compiling import Compiling

        # Before the models are imported, which takes several seconds.
        with closing(Compiling()) as compiling:
            from segue.demo.runtime import stoppable
            from segue.demo.trying import TRY_ERRORS, TryOptions, run_try

            options = TryOptions(folder=folder, port=port, serve=serve, seed=seed)
            run = run_try(settings, data, options, compiling, screen, show, started)
            with explained(*TRY_ERRORS):
                asyncio.run(stoppable(run))
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.print(f"stopped; the files are in {folder}", highlight=False, soft_wrap=True)
        raise typer.Exit(0 if shown else 130) from None


def _show(report: dict[str, Any]) -> None:
    from segue.demo.report import show_people

    show_people(report["people"], console)
    console.print(
        f"{report['events']:,} events of {report['users']:,} users on {report['items']:,} items; "
        f"ready after {report['seconds']:.0f} s. Files: {report['folder']}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if report["console"]:
        console.print(
            marked("console: [bold]{}[/]   Ctrl-C stops it", report["console"]),
            highlight=False, soft_wrap=True,
        )  # fmt: skip
