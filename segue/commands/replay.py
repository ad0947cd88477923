"""segue replay: build a new state from the log with the worker's code."""

import asyncio
import contextlib
import json
from typing import Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import Bars, console, progress_bars


def replay(
    into: Annotated[str, typer.Option("--into", help="Name of the new state.")],
    begin: Annotated[
        str, typer.Option("--from", help="earliest, last=7d, or a time: 2026-01-01T00:00Z.")
    ] = "earliest",
    end: Annotated[
        str,
        typer.Option(
            "--to", help="latest, a time, last=1h, or state=NAME: the position of that state."
        ),
    ] = "latest",
    replace: Annotated[
        bool, typer.Option("--replace", help="First remove a replay of this name.")
    ] = False,
    log: Annotated[str, typer.Option(help="kafka or embedded.")] = "kafka",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Rebuild a state from the log at full speed, next to the live one.

    It runs the worker's code, so that the same records give the same state; compare states with
    [bold]segue state diff[/]. Nothing is written to any topic, consumer group, live state or
    checkpoint; the new state is in <data>/replays/NAME.

    Times are log times: when the log appended the record (LogAppendTime), not when the event
    happened. They select offsets of the events. Catalogue and users hold the latest value of each
    key; they are read from the beginning up to the given end.

    A replay that does not start at the original beginning of the log holds only the records that
    were read. The output, its replay.json and its commit record say so.

    Example: segue replay --from last=7d --into last-week
    """
    from segue.feeding import open_log
    from segue.replaying import ReplayExists
    from segue.replaying import replay as replay_log
    from segue.state_folders import StateNotFound
    from segue.times import log_point
    from state import CorruptArtifact, WrongState
    from streams import AdminError, EmbeddedLogError, PositionError
    from streams.log_record import now_ms

    settings = settings_of(config, flags)
    now = now_ms()
    first, last = log_point(begin, now, end="earliest"), log_point(end, now, end="latest")
    expected = (
        AdminError, CorruptArtifact, EmbeddedLogError, PositionError, ReplayExists, StateNotFound,
        ValueError, WrongState,
    )  # fmt: skip
    with (
        explained(*expected),
        open_log(log, settings, create=False) as source,
        contextlib.nullcontext() if as_json else progress_bars() as bars,
    ):
        work = replay_log(
            settings, source, into, begin=first, end=last, replace=replace, now_ms=now,
            progress=_Progress(bars),
        )  # fmt: skip
        summary = asyncio.run(work)
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _show(summary)


class _Progress:
    """A bar for each partition."""

    def __init__(self, bars: Bars | None) -> None:
        self._bars = bars
        self._tasks: dict[int, Any] = {}

    def __call__(self, partition: int, done: int, total: int) -> None:
        if self._bars is None:
            return
        if partition not in self._tasks:
            self._tasks[partition] = self._bars.add_task(
                f"replay partition {partition}", total=total, note=""
            )
        self._bars.update(self._tasks[partition], completed=done, total=total)


def _show(summary: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"replay {summary['name']}: {summary['from']} to {summary['to']}")
    for head in ("partition", "topic", "offsets", "records of the partition", "missing"):
        table.add_column(head, justify="left" if head == "topic" else "right")
    for partition, part in summary["partitions"].items():
        for row, (topic, (first, end)) in enumerate(part["offsets"].items()):
            gaps = ", ".join(f"{a:,} to {b - 1:,}" for a, b in part["missing"].get(topic, ()))
            table.add_row(
                "" if row else partition, topic, f"{first:,} to {end:,}",
                "" if row else f"{part['records']:,}", gaps or "-",
            )  # fmt: skip
    console.print(table)
    refused = sum(summary["dead_letters"].values())
    console.print(
        f"{summary['records']:,} records, {summary['events']:,} of them events, in "
        f"{summary['seconds']:,.1f} s: {summary['events_per_second']:,} events/s; "
        f"{refused:,} could not be applied"
    )
    if not summary["whole"]:
        console.print(
            "this state covers only part of the log: the offsets named as missing are not in it",
            style="yellow",
        )
    console.print(f"the state is in {summary['folder']}", soft_wrap=True)
