"""segue bench static, samplers, trainer, types, adoption, newcomers, explore: what models cost."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from segue.commands.bench.app import app
from segue.options import explained
from segue.screen import StageBars, console, progress_bars


@app.command(epilog="Example: segue bench newcomers --newcomers 10 --users 3000 --events 60000")
def newcomers(
    newcomers: Annotated[int, typer.Option(min=1, help="New items, one after another.")] = 30,
    asked: Annotated[
        int, typer.Option(min=1, help="Users of each kind that are queried for each item.")
    ] = 8,
    items: Annotated[int, typer.Option(min=1, help="Items in the simulated world.")] = 2_000,
    users: Annotated[int, typer.Option(min=1, help="Users in the simulated world.")] = 5_000,
    events: Annotated[int, typer.Option(min=1, help="Events in the world's history.")] = 200_000,
    deadline: Annotated[float, typer.Option(help="Seconds to wait for an item.")] = 5.0,
    hgnn_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the HGNN's training.")] = 10,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the simulated world and of the models.")
    ] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-newcomers.json"
    ),
) -> None:
    """New items that only have a catalogue record: time until suitable users receive them.

    A worker and a trainer on a simulated world; an external consumer reads the recommendations.
    Uses the broker of KAFKA_BOOTSTRAP_SERVERS, or starts one (Java 17 and Maven) and stops it.
    """
    from benchmarks.newcomers import NewcomersPlan, run, show
    from segue.demo.runtime import DemoError
    from streams import AdminError, BulkWriteError
    from streams.distribution import BrokerError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = NewcomersPlan(
        newcomers=newcomers, asked=asked, items=items, users=users, events=events,
        deadline_s=deadline, hgnn_epochs=hgnn_epochs, seed=seed,
    )  # fmt: skip
    with explained(ValueError, DemoError, BrokerError, AdminError, BulkWriteError):
        report = run(plan, json_file)
    show(report)
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench explore --seed 2")
def explore(
    launches: Annotated[int, typer.Option(min=1, help="New items a day.")] = 5,
    share: Annotated[float, typer.Option(help="Share of the places that explore.")] = 0.01,
    items: Annotated[int, typer.Option(min=1, help="Items in the simulated world.")] = 2_000,
    users: Annotated[int, typer.Option(min=1, help="Users in the simulated world.")] = 5_000,
    events: Annotated[int, typer.Option(min=1, help="Events in the world's history.")] = 200_000,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs of policies to compare offline.")] = 100,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the simulated world and of the models.")
    ] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-explore.json"
    ),
) -> None:
    """What exploration gives new items and what it costs; whether off-policy estimates are right.

    Two days of a simulated world in this process; needs no broker.
    """
    from benchmarks.explore import ExplorePlan, run, show
    from segue.demo.runtime import DemoError

    plan = ExplorePlan(
        launches=launches, share=share, items=items, users=users, events=events, pairs=pairs,
        seed=seed,
    )  # fmt: skip
    with explained(ValueError, DemoError):
        report = run(plan, json_file)
    show(report)
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench static --items 100000 --edges 2000000")
def static(
    items: Annotated[
        list[int] | None, typer.Option(help="Items in the catalogue; repeat for more rows.")
    ] = None,
    edges: Annotated[
        list[int] | None, typer.Option(help="Edges of the graph, one value per --items.")
    ] = None,
    fan_out: Annotated[int, typer.Option(min=1, help="Neighbours per relation and layer.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Edges per step.")] = 4096,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the graph and of the training.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-static.json"
    ),
    plot: Annotated[
        Path | None, typer.Option(help="Draw time and memory by size (extra: evaluate).")
    ] = None,
) -> None:
    """The static job from checkpoints to item vectors, one epoch: time and memory by stage."""
    from benchmarks import static_curve
    from benchmarks.static_scale import StaticPlan, run, show

    sizes = items or [10_000, 100_000]
    numbers = edges or [20 * size for size in sizes]
    if len(sizes) != len(numbers):
        raise typer.BadParameter(f"{len(sizes)} times --items, but {len(numbers)} times --edges")
    plans = [
        StaticPlan(
            items=size, edges=number, fan_outs=(fan_out, fan_out), batch_size=batch_size,
            threads=threads, seed=seed,
        )
        for size, number in zip(sizes, numbers, strict=True)
    ]  # fmt: skip
    report = run(plans, json_file)
    show(report)
    static_curve.show(report["rows"])
    console.print(f"figures: {json_file}")
    if plot is not None:
        static_curve.draw(report["rows"], plot)
        console.print(f"plot: {plot}")


@app.command(epilog="Example: segue bench samplers --items 100000 --edges 2000000")
def samplers(
    items: Annotated[int, typer.Option(min=1, help="Items in the graph.")] = 100_000,
    edges: Annotated[int, typer.Option(min=1, help="Edges of the graph.")] = 2_000_000,
    fan_out: Annotated[int, typer.Option(min=1, help="Neighbours per relation and layer.")] = 10,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Edges per step: twice as many targets.")
    ] = 1024,
    steps: Annotated[int, typer.Option(min=1, help="Steps that are timed.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the graph and of sampling.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-samplers.json"
    ),
) -> None:
    """Compare the HGNN's two neighbour samplers (torch and DGL) on the same graph."""
    from benchmarks.static_scale import StaticPlan, run_samplers, show_samplers

    plan = StaticPlan(
        items=items, edges=edges, fan_outs=(fan_out, fan_out), batch_size=batch_size,
        threads=threads, seed=seed,
    )  # fmt: skip
    show_samplers(run_samplers(plan, steps, json_file))
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench trainer --recipe paper --repeat 3")
def trainer(
    recipe: Annotated[str, typer.Option(help="default or paper.")] = "default",
    items: Annotated[int, typer.Option(min=1, help="Items in the catalogue.")] = 20_000,
    history: Annotated[int, typer.Option(min=1, help="Entries of a history.")] = 50,
    steps: Annotated[int, typer.Option(min=1, help="Steps per slice.")] = 40,
    repeat: Annotated[int, typer.Option(min=3, help="Slices of each, alternating.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of vectors and examples.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-trainer.json"
    ),
) -> None:
    """Examples per second of the trainer on one core, compared with the bare matrix products.

    The ratio of the two matters: it depends less on the machine than the figures.
    """
    from benchmarks.trainer import TrainerPlan, run, show

    plan = TrainerPlan(
        recipe=recipe, items=items, history=history, steps=steps, repeat=repeat, seed=seed
    )
    with explained(ValueError):
        report = run(plan, json_file)
    show(report)
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench types --items 5000")
def types(
    number: Annotated[
        list[int] | None,
        typer.Option("--types", help="Item types; repeat for more rows. [1, 2, 5, 40]"),
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Items in the catalogue.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users with a history.")] = 4_000,
    repeat: Annotated[int, typer.Option(min=1, help="Batches of lists.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world and the models.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-types.json"
    ),
) -> None:
    """Cost of the number of item types: the same items, edges and events in 1 to 40 types.

    Graph, HGNN, towers, bundle and lists over all types, with ratios to two types.
    """
    from benchmarks.types import TypesPlan, run, show

    plan = TypesPlan(
        types=tuple(number or TypesPlan.types), items=items, users=users, repeat=repeat, seed=seed
    )
    with explained(ValueError):
        show(run(plan, json_file))
    console.print(f"figures: {json_file}")


@app.command("live-graph", epilog="Example: segue bench live-graph --items 5000 --users 2000")
def live_graph(
    data: Annotated[
        str | None, typer.Argument(help="Folder of a data set; a drawn world without it.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Items in the catalogue.")] = 12_500,
    users: Annotated[int, typer.Option(min=1, help="Users with a history.")] = 5_000,
    rate: Annotated[int, typer.Option(min=1, help="Events a second.")] = 2_000,
    every_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two deltas.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="Deltas of changed rows.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world and the model.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-live-graph.json"
    ),
) -> None:
    """Cost of the live graph beside a stream of events, and how late vectors follow it."""
    from benchmarks.live_graph import LiveGraphPlan, run, show

    plan = LiveGraphPlan(
        data=data, items=items, users=users, rate=rate, every_s=every_s, rounds=rounds, seed=seed
    )
    with explained(ValueError):
        show(run(plan, json_file))
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench adoption --seed 1 --switches 1")
def adoption(
    world: Annotated[str, typer.Argument(help="simulated, lfm1m or amazon-fk.")] = "simulated",
    data: Annotated[Path, typer.Option(help="Folder with lfm1m/ and amazon-fk/.")] = Path(
        "../shared/data"
    ),
    first: Annotated[float, typer.Option(help="Last day of the first graph.")] = 45.0,
    snapshot: Annotated[float, typer.Option(help="Last day of the second graph.")] = 72.0,
    every: Annotated[
        float, typer.Option(help="Days between later graphs, and of each test.")
    ] = 3.0,
    switches: Annotated[int, typer.Option(min=1, help="Number of switches.")] = 3,
    lag: Annotated[float, typer.Option(help="Days from a snapshot to its switch.")] = 0.25,
    arm: Annotated[
        list[str] | None, typer.Option(help="Way of switching; repeat for more. [all]")
    ] = None,
    fresh_start: Annotated[
        bool, typer.Option("--fresh-start", help="Use another seed for each HGNN.")
    ] = False,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed of world and models; repeat for more. [1, 2, 3]")
    ] = None,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-adoption.json"
    ),
) -> None:
    """HR@10 just after a switch to a new static bundle versus just before, per method."""
    from benchmarks.adoption import AdoptionPlan, run, show
    from evaluation.dataset import DatasetError

    with explained(ValueError, DatasetError, OSError), progress_bars() as bars:
        plan = AdoptionPlan(
            world=world, data=data, seeds=tuple(seed or AdoptionPlan.seeds), first=first,
            arms=tuple(arm or AdoptionPlan.arms), snapshot=snapshot, every=every,
            switches=switches, lag=lag, fresh_start=fresh_start,
        )  # fmt: skip
        report = run(plan, json_file, StageBars(bars))
    show(report)
    console.print(f"figures: {json_file}")
