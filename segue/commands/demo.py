"""segue demo: the whole system on one machine."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors, marked, progress_bars


def demo(
    events: Annotated[
        Path | None,
        typer.Option(help="Parquet file with your own events, instead of the simulated world."),
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Parquet file with their catalogue.")] = None,
    test_days: Annotated[float, typer.Option(help="Days held out to evaluate the models.")] = 14.0,
    until: Annotated[
        str | None, typer.Option(help="Ignore your events from this day on, e.g. 2014-05-04.")
    ] = None,
    item_types: Annotated[
        str, typer.Option(help="Item types of the simulated world, comma-separated.")
    ] = "podcast,audiobook",
    types: Annotated[
        int,
        typer.Option(help="Number of types of unequal size, as in a shop; replaces --item-types."),
    ] = 0,
    world_items: Annotated[int, typer.Option(help="Items in the simulated world.")] = 5_000,
    world_users: Annotated[int, typer.Option(help="Users in the simulated world.")] = 20_000,
    world_events: Annotated[int, typer.Option(help="Events in the world's history.")] = 1_000_000,
    live_seconds: Annotated[
        float, typer.Option(help="Duration of live traffic in seconds.")
    ] = 30.0,
    live_rate: Annotated[float, typer.Option(help="Live events per second.")] = 100.0,
    hgnn_epochs: Annotated[int, typer.Option(help="Epochs of the HGNN's training.")] = 10,
    hgnn_seconds: Annotated[
        float, typer.Option(help="Emergency stop of the HGNN's training; 0 for none.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the simulated world and of the models.")] = 1,
    log: Annotated[
        str, typer.Option(help="auto, kafka, or embedded (one process, no Java).")
    ] = "auto",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep Kafka, worker and trainer running.")
    ] = False,
    stop: Annotated[
        bool,
        typer.Option(
            "--stop",
            help="Stop what --keep left running in the data folder, or else in another data "
            "folder started from this directory.",
        ),
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Run everything: catalogue, 90 days of history, graph, HGNN, two-tower, live traffic.

    The demo uses the Kafka at KAFKA_BOOTSTRAP_SERVERS, else a local Kafka that it starts (Java 17
    and Maven), else the embedded log. It writes the figures to demo-report.json in the data folder.

    Examples: segue demo, segue demo --keep, segue demo --world-events 100000 --live-seconds 10,
    segue demo --types 40 --world-items 100000,
    segue demo --events events.parquet --items items.parquet --test-days 30
    """
    from segue.demo.flow import DemoOptions, demo_settings, run_demo
    from segue.demo.material import from_parquet, simulated
    from segue.demo.opening import kept_demos, open_runtime, stop_kept
    from segue.demo.report import show, write_report
    from segue.demo.runtime import DemoError, stoppable
    from segue.settings import Settings
    from segue.threads import use_threads
    from segue.times import day_ms, today_ms
    from simulation import Behaviour, WorldSettings, departments
    from state import CorruptArtifact, WrongState
    from static_layer import TextModelError
    from streams import AdminError, BulkWriteError
    from streams.distribution import BrokerError
    from streams.wall_clock import now_ms

    # Standard output is for the report alone, where a program reads it.
    screen = errors if as_json else console
    base = settings_of(config, flags)
    reports = base.folder
    base = replace(base, data=str(base.folder / "demo"))
    if stop:
        stopped = [base.folder] if stop_kept(base.folder) else []
        if not stopped and reports == Settings().folder:
            stopped = [folder for folder in kept_demos(Path.cwd()) if stop_kept(folder)]
        for folder in stopped:
            console.print(f"stopped the demo in {folder}", highlight=False, soft_wrap=True)
        if not stopped:
            console.print("nothing was running")
        return
    if log not in ("auto", "kafka", "embedded"):
        raise typer.BadParameter(f"expected auto, kafka or embedded, got {log!r}")
    if (events is None) != (items is None):
        raise typer.BadParameter("--events and --items must be given together")
    options = DemoOptions(
        test_days=test_days,
        live_seconds=live_seconds,
        seed=seed,
        hgnn_epochs=hgnn_epochs,
        hgnn_seconds=hgnn_seconds,
    )
    use_threads()
    expected = (
        ValueError, OSError, DemoError, BrokerError, AdminError, BulkWriteError, CorruptArtifact,
        TextModelError, WrongState,
    )  # fmt: skip

    async def run() -> dict[str, Any]:
        with screen.status("preparing the data"):
            if events and items:
                material = from_parquet(
                    events, items, test_days=test_days,
                    until_ms=None if until is None else day_ms(until),
                    live_rate=live_rate, live_seconds=live_seconds,
                )  # fmt: skip
            else:
                names = tuple(t.strip() for t in item_types.split(",") if t.strip())
                behaviours: tuple[Behaviour, ...] = ()
                if types:
                    names, behaviours = departments(types)
                world = WorldSettings(
                    item_types=names, behaviours=behaviours,
                    items=world_items, users=world_users, events=world_events,
                    # At midnight: a seed gives the same world at any hour of the day.
                    end_ms=today_ms(now_ms()),
                )  # fmt: skip
                material = simulated(
                    world, seed=seed, test_days=test_days,
                    live_rate=live_rate, live_seconds=live_seconds,
                )  # fmt: skip
        settings = demo_settings(base, material, options)
        async with open_runtime(settings, log, keep=keep) as runtime:
            screen.print(f"Segue on {runtime.name}: {material.title}")
            if settings.static.text.backend != base.static.text.backend:
                screen.print(
                    f"{material.catalogue.num_rows:,} items: the static text model encodes them, "
                    f"which is coarser and a hundred times as fast. For the whole model: "
                    f"--set static.text.backend=onnx",
                    highlight=False,
                )
            with progress_bars(screen) as bars:
                return await run_demo(runtime, material, options, bars)

    with explained(*expected):
        report = asyncio.run(stoppable(run()))
    write_report(report, reports / "demo-report.json")
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show(report, console)
        console.print(f"figures: {reports / 'demo-report.json'}")
    if keep:
        own = "" if reports == Settings().folder else f" --set data={reports}"
        config = base.folder / "segue.toml"
        errors.print(
            f"still running; in a browser: segue console --config {config}\n"
            f"in a terminal: segue status --config {config}\nstop with: segue demo --stop{own}",
            highlight=False,
        )
    if report["applied"] + report["dead_lettered"] != report["records_in"]:
        errors.print(marked("[red]error:[/] some records were neither applied nor dead-lettered"))
        raise typer.Exit(1)
