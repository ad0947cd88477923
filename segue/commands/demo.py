"""segue demo: the whole system on one machine."""

import asyncio
import json
import signal
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors, progress_bars


def demo(
    events: Annotated[
        Path | None, typer.Option(help="Parquet with your own events, instead of the world.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Parquet with their catalogue.")] = None,
    test_days: Annotated[float, typer.Option(help="Days held out to judge the models.")] = 14.0,
    until: Annotated[
        str | None, typer.Option(help="Leave out your events from this day on, e.g. 2014-05-04.")
    ] = None,
    item_types: Annotated[
        str, typer.Option(help="Item types of the world, comma-separated.")
    ] = "podcast,audiobook",
    world_items: Annotated[int, typer.Option(help="Items in the world.")] = 5_000,
    world_users: Annotated[int, typer.Option(help="Users in the world.")] = 20_000,
    world_events: Annotated[int, typer.Option(help="Events in the world's past.")] = 1_000_000,
    live_seconds: Annotated[float, typer.Option(help="Seconds of live traffic.")] = 60.0,
    live_rate: Annotated[float, typer.Option(help="Live events per second.")] = 100.0,
    hgnn_seconds: Annotated[float, typer.Option(help="Longest training of the HGNN.")] = 90.0,
    seed: Annotated[int, typer.Option(help="Seed of the world and of the models.")] = 1,
    log: Annotated[
        str, typer.Option(help="auto, kafka, or embedded (one process, no Java).")
    ] = "auto",
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave Kafka, worker and trainer running.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what --keep left running.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Run everything: catalogue, 90 days of history, graph, HGNN, two-tower, live traffic.

    Kafka is the one named by KAFKA_BOOTSTRAP_SERVERS, else a local one started for the demo
    (Java 17 and Maven), else the embedded log. The figures go to demo-report.json in the data
    folder.

    Examples: segue demo, segue demo --keep, segue demo --world-events 100000 --live-seconds 10,
    segue demo --events events.parquet --items items.parquet --test-days 30
    """
    from segue.demo.flow import DemoOptions, demo_settings, run_demo
    from segue.demo.material import from_parquet, simulated
    from segue.demo.opening import open_runtime, stop_kept
    from segue.demo.report import show, write_report
    from segue.demo.runtime import DemoError
    from segue.roles import now_ms
    from segue.times import day_ms
    from simulation import WorldSettings
    from state import CorruptArtifact, WrongState
    from streams import AdminError, BulkWriteError
    from streams.distribution import BrokerError

    base = settings_of(config, flags)
    reports = base.folder
    base = replace(base, data=str(base.folder / "demo"))
    if stop:
        console.print("stopped" if stop_kept(base) else "nothing was running")
        return
    if log not in ("auto", "kafka", "embedded"):
        raise typer.BadParameter(f"expected auto, kafka or embedded, got {log!r}")
    if (events is None) != (items is None):
        raise typer.BadParameter("--events and --items belong together")
    options = DemoOptions(
        test_days=test_days, live_seconds=live_seconds, seed=seed, hgnn_seconds=hgnn_seconds
    )
    expected = (
        ValueError, OSError, DemoError, BrokerError, AdminError, BulkWriteError, CorruptArtifact,
        WrongState,
    )  # fmt: skip

    async def run() -> dict[str, Any]:
        with console.status("preparing the data"):
            if events and items:
                material = from_parquet(
                    events, items, test_days=test_days,
                    until_ms=None if until is None else day_ms(until),
                    live_rate=live_rate, live_seconds=live_seconds,
                )  # fmt: skip
            else:
                world = WorldSettings(
                    item_types=tuple(t.strip() for t in item_types.split(",") if t.strip()),
                    items=world_items, users=world_users, events=world_events, end_ms=now_ms(),
                )  # fmt: skip
                material = simulated(
                    world, seed=seed, test_days=test_days,
                    live_rate=live_rate, live_seconds=live_seconds,
                )  # fmt: skip
        settings = demo_settings(base, material, options)
        async with open_runtime(settings, log, keep=keep) as runtime:
            console.print(f"Segue on {runtime.name}: {material.title}")
            with progress_bars() as bars:
                return await run_demo(runtime, material, options, bars)

    async def stoppable(job: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        """End like Ctrl-C on SIGTERM, so that nothing is left running."""
        task = asyncio.ensure_future(job)
        asked = asyncio.Event()

        def end() -> None:
            asked.set()
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        try:
            return await task
        except asyncio.CancelledError as error:
            if not asked.is_set():
                raise
            raise DemoError("stopped by a signal; nothing is left running") from error

    with explained(*expected):
        report = asyncio.run(stoppable(run()))
    write_report(report, reports / "demo-report.json")
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show(report, console)
        console.print(f"figures: {reports / 'demo-report.json'}")
    if keep:
        config = base.folder / "segue.toml"
        errors.print(
            f"still running; in a browser: segue console --config {config}\n"
            f"in a terminal: segue status --config {config}\nstop with: segue demo --stop",
            highlight=False,
        )
    if report["applied"] + report["dead_lettered"] != report["records_in"]:
        errors.print("[red]error:[/] some records were neither applied nor dead-lettered")
        raise typer.Exit(1)
