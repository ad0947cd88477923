"""segue static: build the static bundle once or on a schedule."""

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.log_format import LogAs
from segue.options import (
    ConfigOption,
    JsonOption,
    LogFormatOption,
    SetOption,
    explained,
    settings_of,
)
from segue.screen import StageBars, console, errors, marked, progress_bars
from segue.times import seconds_of

if TYPE_CHECKING:
    from segue.settings import Settings
    from segue.static_job import BuildTally
    from segue.times import LogPoint

app = typer.Typer(
    no_args_is_help=True,
    help="Build item vectors: graph, text vectors and HGNN from the workers' checkpoints.",
    epilog="Example: segue static build",
)

Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]


Recipe = Annotated[
    str, typer.Option(help="default (the static.* settings) or paper (as in the papers).")
]


Ray = Annotated[
    str,
    typer.Option(help="Run on a Ray cluster: its host:port, auto, or local (sets ray.address)."),
]


@app.command(epilog="Example: segue static build --set static.train.epochs=20")
def build(
    seed: Seed = 1,
    recipe: Recipe = "",
    ray: Ray = "",
    until: Annotated[
        str,
        typer.Option(
            help="Build from the log up to this point, without checkpoints: last=14d, or a log "
            "time."
        ),
    ] = "",
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Merge the latest checkpoints, train the HGNN, publish and announce the bundle.

    For the first build on a topic with a long history, use [bold]--until[/] before any worker runs.
    Events before that point form the graph. Events after it are left for the trainer, which must
    not learn from events that are in the graph.

    Under torchrun (torchrun --nproc-per-node 2 -m segue static build) the processes train together,
    and the first one writes the bundle.
    """
    from segue.folders import require_folders_of
    from segue.times import log_point
    from streams.log_record import now_ms

    chosen = _flags({"static.recipe": recipe, "ray.address": ray})
    log = LogAs(role="static", format=log_format)
    settings = settings_of(config, [*(flags or ()), *chosen], log)
    require_folders_of("static", settings)
    point = log_point(until, now_ms(), end="latest") if until else None
    metrics = _build(settings, seed, point)
    if metrics is None:
        return
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        console.print(marked("published static bundle [bold]{}[/]", metrics["name"]))
        console.print_json(json.dumps(metrics["metrics"]))


@app.command(epilog="Example: segue static schedule --every 6h")
def schedule(
    every: Annotated[str, typer.Option(help="Time between starts, such as 30m, 6h, 1d.")],
    seed: Seed = 1,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Serve Prometheus metrics on this port of --metrics-host."
        ),
    ] = None,
    metrics_host: Annotated[
        str,
        typer.Option(help="Listen address for Prometheus; the default accepts only this machine."),
    ] = "127.0.0.1",
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Build at once and at each interval; a failed run is reported, and the schedule continues."""
    from segue.folders import require_folders_of
    from segue.serving_metrics import serve_metrics
    from segue.static_job import BuildTally
    from streams.log_record import now_ms
    from streams.pulse import Pulse

    log = LogAs(role="static", format=log_format)
    settings, interval = settings_of(config, flags, log), seconds_of(every)
    require_folders_of("static", settings)
    tally = BuildTally()
    if metrics_port is not None:
        serve_metrics(metrics_port, metrics_host, tally.registry, Pulse())
    while True:
        started, succeeded = time.monotonic(), True
        try:
            _build(settings, seed, tally=tally)
        except typer.Exit:
            succeeded = False
            errors.print(f"next run starts in {every}", style="yellow")
        tally.ended(
            succeeded=succeeded, seconds=time.monotonic() - started,
            now_ms=now_ms(),
        )  # fmt: skip
        time.sleep(max(0.0, interval - (time.monotonic() - started)))


@app.command(epilog="Example: segue static compare events.parquet items.parquet --split 2014-04-04")
def compare(
    events: Annotated[Path, typer.Argument(help="Events in the canonical format (Parquet).")],
    items: Annotated[Path, typer.Argument(help="Items in the canonical format (Parquet).")],
    split: Annotated[str, typer.Option(help="First test day, UTC, e.g. 2014-04-04.")],
    test_days: Annotated[float, typer.Option(help="Number of test days.")] = 30.0,
    example_days: Annotated[
        float,
        typer.Option(
            help="Training days of the two-tower before the split; the graph ends at their start."
        ),
    ] = 60.0,
    recipes: Annotated[
        list[str] | None, typer.Option("--recipe", help="default, paper; repeat for more.")
    ] = None,
    samplers: Annotated[
        list[str] | None,
        typer.Option(
            "--sampler", help="torch, dgl; repeat for both; default static.train.sampler."
        ),
    ] = None,
    tune_text: Annotated[
        list[int] | None,
        typer.Option(
            help="Number of last layers of the text encoder that train with the HGNN; repeat for "
            "more."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training runs per recipe.")] = 2,
    two_tower: Annotated[
        bool, typer.Option(help="Also train the two-tower with and without the HGNN vectors.")
    ] = True,
    users: Annotated[
        int, typer.Option(min=0, help="Test users per type, a sample; 0: all.")
    ] = 4_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Output file for the figures.")
    ] = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Compare HR@10 of the HGNN's vectors, alone and in the two-tower, with that of text vectors.

    The graph uses the events before the two-tower's examples; the examples are before the split;
    the test is after it. Ranking is full and excludes each user's own items. The type `cold` ranks
    only the items without an event before the split. The two-tower is tested without live
    popularity.
    """
    from dataclasses import asdict, replace
    from itertools import product

    from evaluation import DatasetError, Protocol, read_dataset, time_split
    from segue.roles import make_encoder
    from segue.static_trial import DAY_MS, TrialPlan, run_trial, static_bundle, table
    from segue.threads import use_threads
    from static_layer import TextModelError

    use_threads()
    rows: list[dict[str, object]] = []
    with explained(ValueError, DatasetError, TextModelError):
        dataset = read_dataset(events, items)
        day = datetime.fromisoformat(split)
        at_ms = round((day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() * 1000)
        end_ms = at_ms + round(test_days * DAY_MS)
        parts = time_split(dataset.events, test_days=test_days, end_ms=end_ms)
        plan = TrialPlan(
            example_days=example_days, protocol=Protocol(max_users=users), two_tower=two_tower
        )
        layers = [str(number) for number in tune_text or []]
        for recipe, named, tuned in product(
            recipes or ["default"], samplers or [""], layers or [""]
        ):
            given = {
                "static.recipe": recipe,
                "static.train.sampler": named,
                "static.train.tune_text": tuned,
            }
            settings = settings_of(config, [*(flags or ()), *_flags(given)])
            sampler, learns = settings.static.train.sampler, settings.static.train.tune_text
            popularity = replace(settings.dynamic.popularity, weights=(0.0,))
            dynamic = replace(settings.dynamic, popularity=popularity)
            encoder, results = make_encoder(settings), {}
            for seed in range(1, seeds + 1):
                with progress_bars() as bars:
                    bundle = static_bundle(
                        dataset, parts, plan, settings.static, seed=seed, encoder=encoder,
                        progress=StageBars(bars),
                    )  # fmt: skip
                results[seed] = run_trial(dataset, parts, plan, bundle, dynamic=dynamic, seed=seed)
                run = {"recipe": recipe, "sampler": sampler, "tune_text": learns, "seed": seed}
                rows += [{**run, **asdict(row)} for row in results[seed]]
            encoder.close()
            title = f"{recipe}, {sampler} sampler" + (f", {learns} text layers" if learns else "")
            console.print(table(title, results))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"split": split, "rows": rows}, indent=2))


def _flags(given: dict[str, str]) -> list[str]:
    """Return the settings that dedicated options set; an empty option is not set."""
    return [f"{path}={value}" for path, value in given.items() if value]


def _build(
    settings: "Settings",
    seed: int,
    until: "LogPoint | None" = None,
    tally: "BuildTally | None" = None,
) -> dict[str, object] | None:
    """Run the job; returns None in a torchrun process other than the first."""
    from agents.outputs import ProducerOutputs
    from segue.rights import require_rights_of
    from segue.static_job import help_static_job, run_static_job
    from segue.threads import use_threads
    from state import LONG, CorruptArtifact, DamagedState, StoreUnavailable, WrongState
    from static_layer import ClusterFailed, TextModelError, process_group
    from streams import AdminError, PositionError

    use_threads()
    store = settings.store(LONG)
    if tally is not None:
        tally.store.watch(store)

    async def run() -> dict[str, object]:
        with progress_bars() as bars:
            async with ProducerOutputs(settings.kafka) as outputs:
                bundle = await run_static_job(
                    settings,
                    outputs,
                    seed=seed,
                    progress=StageBars(bars),
                    until=until,
                    store=store,
                )
        return {"name": bundle.name, "metrics": bundle.manifest["metrics"]}

    expected = (
        ValueError, CorruptArtifact, DamagedState, StoreUnavailable, WrongState, ClusterFailed,
        AdminError, PositionError, TextModelError,
    )  # fmt: skip
    with explained(*expected), process_group() as processes:
        if processes.rank:
            help_static_job(settings, seed=seed)
            return None
        require_rights_of("static", settings)
        return asyncio.run(run())
