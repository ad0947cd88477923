"""segue static: build the static bundle once, or keep building it."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import StageBars, console, errors, progress_bars
from segue.times import seconds_of

if TYPE_CHECKING:
    from segue.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="The static layer: graph, text vectors and HGNN from the workers' checkpoints.",
)

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


@app.command(epilog="Example: segue static build --set static.train.max_seconds=600")
def build(
    seed: Seed = 1,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Merge the latest checkpoints, train the HGNN, publish and announce the bundle."""
    settings = settings_of(config, flags)
    metrics = _build(settings, seed)
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        console.print(f"published static bundle [bold]{metrics['name']}[/]")
        console.print_json(json.dumps(metrics["metrics"]))


@app.command(epilog="Example: segue static schedule --every 6h")
def schedule(
    every: Annotated[str, typer.Option(help="Time from start to start, such as 30m, 6h, 1d.")],
    seed: Seed = 1,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Build now and then again and again; a run that fails is reported and the next one comes."""
    settings, interval = settings_of(config, flags), seconds_of(every)
    while True:
        started = time.monotonic()
        try:
            _build(settings, seed)
        except typer.Exit:
            errors.print(f"[yellow]the next run starts in {every}[/]")
        time.sleep(max(0.0, interval - (time.monotonic() - started)))


def _build(settings: "Settings", seed: int) -> dict[str, object]:
    from agents.outputs import ProducerOutputs
    from segue.static_job import run_static_job
    from state import CorruptArtifact, WrongState

    async def run() -> dict[str, object]:
        with progress_bars() as bars:
            async with ProducerOutputs(settings.kafka) as outputs:
                bundle = await run_static_job(
                    settings, outputs, seed=seed, progress=StageBars(bars)
                )
        return {"name": bundle.name, "metrics": bundle.manifest["metrics"]}

    with explained(ValueError, CorruptArtifact, WrongState):
        return asyncio.run(run())
