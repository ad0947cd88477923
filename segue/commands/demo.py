"""segue demo: the whole system on one machine."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors, marked, progress_bars

if TYPE_CHECKING:
    from segue.settings import Settings
    from simulation import WorldSettings

#: Items, users and events of the simulated worlds.
DEMO_SIZES, SHOP_SIZES = (5_000, 20_000, 1_000_000), (1_500, 3_000, 100_000)
SHOP_TYPES = ("book", "game")
#: In English: the packaged text model reads no other language well.
SHOP_MARKETS, SHOP_SHARES = ("US", "GB", "AU"), (0.5, 0.3, 0.2)


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
        typer.Option(
            min=0, help="Number of types of unequal size, as in a shop; replaces --item-types."
        ),
    ] = 0,
    shop: Annotated[
        bool,
        typer.Option(
            "--shop",
            help="A shop with rules for its lists: stock runs out and an item is taken down live.",
        ),
    ] = False,
    world_items: Annotated[
        int | None,
        typer.Option(min=1, help="Items in the simulated world. Default: 5000; a shop: 1500."),
    ] = None,
    world_users: Annotated[
        int | None, typer.Option(min=1, help="Its users. Default: 20000; a shop: 3000.")
    ] = None,
    world_events: Annotated[
        int | None,
        typer.Option(min=1, help="Events in its history. Default: 1000000; a shop: 100000."),
    ] = None,
    live_seconds: Annotated[
        float | None,
        typer.Option(
            help="Duration of live traffic in seconds. Default: 20; --events, --shop: 30."
        ),
    ] = None,
    live_rate: Annotated[float, typer.Option(help="Live events per second.")] = 100.0,
    hgnn_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Epochs of the HGNN's training. Default: 5; --events, --types: 10."
        ),
    ] = None,
    hgnn_seconds: Annotated[
        float, typer.Option(help="Emergency stop of the HGNN's training; 0 for none.")
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the simulated world and of the models.")
    ] = 1,
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

    With --shop: products with stock, price, creator and markets, under a policy. A consumer counts
    the lists that hold an item more than a second after it left; status 1 if there is one.

    The demo uses the Kafka at KAFKA_BOOTSTRAP_SERVERS, else a local Kafka that it starts (Java 17
    and Maven), else the embedded log. It writes the figures to demo-report.json in the data folder.

    Examples: segue demo --keep

    segue demo --world-events 100000 --live-seconds 10

    segue demo --types 40 --world-items 100000

    segue demo --shop --live-rate 2000

    segue demo --events events.parquet --items items.parquet --test-days 30
    """
    base = settings_of(config, flags)
    reports = base.folder
    base = replace(base, data=str(base.folder / "demo"))
    if stop:
        _stop(base, reports)
        return

    # After `--stop`, which needs none of them: they take seconds.
    from segue.demo.flow import DemoOptions, demo_settings, run_demo
    from segue.demo.material import from_parquet, simulated
    from segue.demo.opening import open_runtime
    from segue.demo.report import show, write_report
    from segue.demo.runtime import stoppable
    from segue.settings import Settings
    from segue.threads import use_threads
    from segue.times import day_ms, today_ms
    from simulation import Behaviour, WorldSettings, departments
    from streams.log_record import now_ms

    # Standard output is for the report alone, where a program reads it.
    screen = errors if as_json else console
    if log not in ("auto", "kafka", "embedded"):
        raise typer.BadParameter(f"expected auto, kafka or embedded, got {log!r}")
    if (events is None) != (items is None):
        raise typer.BadParameter("--events and --items must be given together")
    sizes = SHOP_SIZES if shop else DEMO_SIZES
    world = WorldSettings(
        items=sizes[0] if world_items is None else world_items,
        users=sizes[1] if world_users is None else world_users,
        events=sizes[2] if world_events is None else world_events,
        # At midnight: a seed gives the same world at any hour of the day.
        end_ms=today_ms(now_ms()),
    )
    # A newcomer waits for the world of the default; five epochs more change little in its lists.
    own_data = events is not None
    if live_seconds is None:
        live_seconds = 30.0 if own_data or shop else 20.0
    if hgnn_epochs is None:
        hgnn_epochs = 10 if own_data or types else 5
    if shop:
        if events or keep or types:
            raise typer.BadParameter("--shop takes no --events, --keep or --types")
        _shop(base, world, reports, log, live_seconds, live_rate, seed, as_json=as_json)
        return
    options = DemoOptions(
        test_days=test_days,
        live_seconds=live_seconds,
        seed=seed,
        hgnn_epochs=hgnn_epochs,
        hgnn_seconds=hgnn_seconds,
    )
    use_threads()

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
                made = replace(world, item_types=names, behaviours=behaviours)
                material = simulated(
                    made, seed=seed, test_days=test_days,
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

    with explained(*_faults()):
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


def _faults() -> tuple[type[Exception], ...]:
    """Return what can go wrong in a demo without a fault of Segue."""
    from segue.demo.runtime import DemoError
    from state import CorruptArtifact, WrongState
    from static_layer import TextModelError
    from streams import AdminError, BulkWriteError
    from streams.distribution import BrokerError

    return (
        ValueError, OSError, DemoError, BrokerError, AdminError, BulkWriteError, CorruptArtifact,
        TextModelError, WrongState,
    )  # fmt: skip


def _stop(base: "Settings", reports: Path) -> None:
    """Stop the demo of a data folder; without one of its own, those that this directory started."""
    from segue.demo.kept import kept_demos, stop_kept
    from segue.settings import Settings

    stopped = [base.folder] if stop_kept(base.folder) else []
    if not stopped and reports == Settings().folder:
        stopped = [folder for folder in kept_demos(Path.cwd()) if stop_kept(folder)]
    for folder in stopped:
        console.print(f"stopped the demo in {folder}", highlight=False, soft_wrap=True)
    if not stopped:
        console.print("nothing was running")


def _shop(
    base: "Settings", world: "WorldSettings", reports: Path, log: str, live_seconds: float,
    live_rate: float, seed: int, *, as_json: bool,
) -> None:  # fmt: skip
    """Run `segue demo --shop`."""
    from dynamic_layer import PolicyError
    from segue.demo.first_look import Budget, try_settings
    from segue.demo.opening import open_runtime
    from segue.demo.report import show_shop, write_report
    from segue.demo.runtime import stoppable
    from segue.demo.shop import ShopOptions, broken, run_shop, shop_material
    from segue.threads import use_threads

    screen = errors if as_json else console
    options = ShopOptions(live_seconds=live_seconds, live_rate=live_rate, seed=seed)
    use_threads()

    async def run() -> dict[str, Any]:
        with screen.status("preparing the data"):
            shop = replace(
                world, item_types=SHOP_TYPES, markets=SHOP_MARKETS, market_shares=SHOP_SHARES
            )
            material = shop_material(shop, options)
        settings = try_settings(base, material, Budget(seed=seed))
        async with open_runtime(settings, log, keep=False) as runtime:
            screen.print(f"Segue on {runtime.name}: {material.title}")
            with progress_bars(screen) as bars:
                return await run_shop(runtime, material, options, bars)

    with explained(*_faults(), PolicyError):
        report = asyncio.run(stoppable(run()))
    write_report(report, reports / "shop-report.json")
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show_shop(report, console)
        console.print(f"figures: {reports / 'shop-report.json'}")
    wrong = broken(report)
    for line in wrong:
        errors.print(marked("[red]error:[/] {}", line))
    if wrong:
        raise typer.Exit(1)
