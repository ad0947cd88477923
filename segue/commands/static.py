"""segue static: build the static bundle once, or keep building it."""

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
from segue.screen import StageBars, console, errors, progress_bars
from segue.times import seconds_of

if TYPE_CHECKING:
    from segue.settings import Settings
    from segue.times import LogPoint

app = typer.Typer(
    no_args_is_help=True,
    help="The static layer: graph, text vectors and HGNN from the workers' checkpoints.",
)

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


Recipe = Annotated[
    str, typer.Option(help="default (ours, static.* settings) or paper (the papers' form).")
]


Ray = Annotated[
    str,
    typer.Option(help="Run on a Ray cluster: its host:port, auto, or local (sets ray.address)."),
]


@app.command(epilog="Example: segue static build --set static.train.max_seconds=600")
def build(
    seed: Seed = 1,
    recipe: Recipe = "",
    ray: Ray = "",
    until: Annotated[
        str,
        typer.Option(
            help="Build from the log up to here, without checkpoints: last=14d, or a log time."
        ),
    ] = "",
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Merge the latest checkpoints, train the HGNN, publish and announce the bundle.

    The first build on a topic that has been written to for long: with [bold]--until[/], before
    any worker runs. The events before that point make the graph; those after it are left for the
    trainer, who may not learn from events that are in the graph.

    Under torchrun (torchrun --nproc-per-node 2 -m segue static build) the processes train together,
    and the first one writes.
    """
    from segue.roles import now_ms
    from segue.times import log_point

    chosen = _flags({"static.recipe": recipe, "ray.address": ray})
    log = LogAs(role="static", format=log_format)
    settings = settings_of(config, [*(flags or ()), *chosen], log)
    point = log_point(until, now_ms(), end="latest") if until else None
    metrics = _build(settings, seed, point)
    if metrics is None:
        return
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        console.print(f"published static bundle [bold]{metrics['name']}[/]")
        console.print_json(json.dumps(metrics["metrics"]))


@app.command(epilog="Example: segue static schedule --every 6h")
def schedule(
    every: Annotated[str, typer.Option(help="Time from start to start, such as 30m, 6h, 1d.")],
    seed: Seed = 1,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve Prometheus metrics on this port of --metrics-host.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address for Prometheus; the default is reached from here alone.")
    ] = "127.0.0.1",
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Build now and then again and again; a run that fails is reported and the next one comes."""
    from segue.build_tally import BuildTally

    log = LogAs(role="static", format=log_format)
    settings, interval = settings_of(config, flags, log), seconds_of(every)
    tally = BuildTally()
    if metrics_port is not None:
        from prometheus_client import start_http_server

        start_http_server(metrics_port, metrics_host, tally.registry)
    while True:
        started, succeeded = time.monotonic(), True
        try:
            _build(settings, seed)
        except typer.Exit:
            succeeded = False
            errors.print(f"[yellow]the next run starts in {every}[/]")
        tally.ended(
            succeeded=succeeded, seconds=time.monotonic() - started,
            now_ms=time.time_ns() // 1_000_000,
        )  # fmt: skip
        time.sleep(max(0.0, interval - (time.monotonic() - started)))


@app.command(epilog="Example: segue static compare events.parquet items.parquet --split 2014-04-04")
def compare(
    events: Annotated[Path, typer.Argument(help="Events in the canonical form (Parquet).")],
    items: Annotated[Path, typer.Argument(help="Items in the canonical form (Parquet).")],
    split: Annotated[str, typer.Option(help="The first test day, UTC: 2014-04-04.")],
    test_days: Annotated[float, typer.Option(help="Days that are tested.")] = 30.0,
    example_days: Annotated[
        float, typer.Option(help="Days before the split for the two-tower; the graph ends there.")
    ] = 60.0,
    recipes: Annotated[
        list[str] | None, typer.Option("--recipe", help="default, paper; repeat for more.")
    ] = None,
    samplers: Annotated[
        list[str] | None,
        typer.Option("--sampler", help="torch, dgl; repeat for both; static.train.sampler else."),
    ] = None,
    tune_text: Annotated[
        list[int] | None,
        typer.Option(
            help="Last layers of the text encoder that learn with the HGNN; repeat for more."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each recipe.")] = 2,
    two_tower: Annotated[
        bool, typer.Option(help="Also train the two-tower with and without the vectors.")
    ] = True,
    users: Annotated[int, typer.Option(help="Test users of each type, a sample; 0: all.")] = 4_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """HR@10 of the HGNN's vectors, alone and in the two-tower, beside the text vectors.

    The graph is made of the events before the two-tower's examples, these come before the split,
    the test after it. Full ranking, each user's own items excluded. The type `cold` ranks the
    items without an event before the split among themselves. The two-tower is tested on taste
    alone, without live popularity.
    """
    from dataclasses import asdict, replace
    from itertools import product

    from evaluation import DatasetError, Protocol, read_dataset, time_split
    from segue.roles import make_encoder
    from segue.static_trial import DAY_MS, TrialPlan, run_trial, static_bundle, table

    rows: list[dict[str, object]] = []
    with explained(ValueError, DatasetError):
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
    """Return the settings that options of their own stand for; an empty one was not given."""
    return [f"{path}={value}" for path, value in given.items() if value]


def _build(
    settings: "Settings", seed: int, until: "LogPoint | None" = None
) -> dict[str, object] | None:
    """Run the job; None in a process of torchrun's that only helps the first one."""
    from agents.outputs import ProducerOutputs
    from segue.rights import require_rights_of
    from segue.static_job import help_static_job, run_static_job
    from state import CorruptArtifact, WrongState
    from static_layer import ClusterFailed, process_group
    from streams import AdminError, PositionError

    async def run() -> dict[str, object]:
        with progress_bars() as bars:
            async with ProducerOutputs(settings.kafka) as outputs:
                bundle = await run_static_job(
                    settings, outputs, seed=seed, progress=StageBars(bars), until=until
                )
        return {"name": bundle.name, "metrics": bundle.manifest["metrics"]}

    expected = (
        ValueError, CorruptArtifact, WrongState, ClusterFailed, AdminError, PositionError
    )  # fmt: skip
    with explained(*expected), process_group() as processes:
        if processes.rank:
            help_static_job(settings, seed=seed)
            return None
        require_rights_of("static", settings)
        return asyncio.run(run())
