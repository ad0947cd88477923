"""segue export: the history in the log as Parquet files."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors, progress_bars
from segue.terminal_text import printable

if TYPE_CHECKING:
    from segue.screen import Bars
    from segue.settings import Settings


def export(
    folder: Annotated[Path, typer.Argument(help="Folder for events.parquet and items.parquet.")],
    begin: Annotated[
        str, typer.Option("--from", help="earliest, last=90d, or a time: 2026-01-01T00:00Z.")
    ] = "earliest",
    end: Annotated[str, typer.Option("--to", help="latest, last=1d, or a time.")] = "latest",
    replace: Annotated[bool, typer.Option("--replace", help="Replace existing files.")] = False,
    log: Annotated[str, typer.Option(help="kafka or embedded.")] = "kafka",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the events and items in the log to Parquet files.

    It reads segue.events and the sources that workers read in place, with the workers' decoders.
    Erased users are left out. Times are log times. The files are the input of segue evaluate;
    [bold]segue evaluate --from-kafka[/] does both.

    Example: segue export history --from last=90d
    """
    settings = settings_of(config, flags, asks_broker=log == "kafka")
    with progress_bars(errors if as_json else console) as bars:
        found = exported(settings, folder, begin, end, bars, replace=replace, log=log)
    if as_json:
        typer.echo(json.dumps(found))
        return
    console.print(
        f"{found['events']:,} events and {found['items']:,} items in {printable(str(folder))}; "
        f"{found['refused']:,} records refused, {found['erased']:,} events of erased users left out"
    )


def exported(
    settings: "Settings",
    folder: Path,
    begin: str,
    end: str,
    bars: "Bars",
    *,
    replace: bool = False,
    log: str = "kafka",
) -> dict[str, Any]:
    """Export the history and show progress; ends the command with one line if that fails."""
    from segue.feeding import open_log
    from segue.history_export import ExportExists, NothingToExport, export_history
    from segue.state_folders import StateNotFound
    from segue.times import log_point
    from streams import AdminError, EmbeddedLogError, PositionError
    from streams.log_record import now_ms

    now = now_ms()
    first, last = log_point(begin, now, end="earliest"), log_point(end, now, end="latest")
    expected = (
        AdminError, EmbeddedLogError, ExportExists, NothingToExport, OSError, PositionError,
        StateNotFound, ValueError,
    )  # fmt: skip
    task = bars.add_task("read the log", total=None, note="")
    with explained(*expected), open_log(log, settings, create=False) as source:
        return asyncio.run(
            export_history(
                settings, source, folder, begin=first, end=last, replace=replace,
                progress=lambda done, total: bars.update(task, completed=done, total=total),
            )
        )  # fmt: skip
