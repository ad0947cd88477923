"""segue bench index, filters: what searches cost."""

from pathlib import Path
from typing import Annotated

import typer

from segue.commands.bench.app import app
from segue.options import explained
from segue.screen import console


@app.command(epilog="Example: segue bench filters --items 100000")
def filters(
    items: Annotated[int, typer.Option(min=1, help="Items in the index.")] = 200_000,
    list_items: Annotated[int, typer.Option(min=1, help="Items of the world of lists.")] = 20_000,
    repeat: Annotated[int, typer.Option(min=3, help="Pairs of batches of each kind.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the items and the models.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-filters.json"
    ),
) -> None:
    """What policies cost: filtered search against exact search, lists with rules against none."""
    from benchmarks.filters import FiltersPlan, run, show

    plan = FiltersPlan(items=items, list_items=list_items, repeat=repeat, seed=seed)
    with explained(ValueError):
        show(run(plan, json_file))
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench index --items 200000 --minutes 0.5")
def index(
    items: Annotated[int, typer.Option(min=1, help="Items in the index.")] = 1_000_000,
    churn: Annotated[float, typer.Option(help="Share of the items replaced per minute.")] = 0.01,
    minutes: Annotated[float, typer.Option(help="Length of the measurement.")] = 2.0,
    rate: Annotated[float, typer.Option(help="Searches per second.")] = 40.0,
    batch: Annotated[int, typer.Option(min=1, help="Queries per search.")] = 1,
    width: Annotated[int, typer.Option(min=1, help="Width of the towers.")] = 128,
    storage: Annotated[str, typer.Option(help="float32, fp16, int8, int4.")] = "int4",
    curve: Annotated[
        bool, typer.Option("--curve", help="Measure time and recall by size and storage instead.")
    ] = False,
    size: Annotated[
        list[int] | None, typer.Option(help="Items for --curve; repeat for more rows.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="For --curve: part of a kind's name; empty for all kinds.")
    ] = "",
    filtered: Annotated[
        bool, typer.Option("--filter", help="Measure filtered searches instead, of all shares.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of items and queries.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-index.json"
    ),
) -> None:
    """Searches while the catalogue changes: recall, deleted items, latency, memory; one core.

    Exits with status 1 if a deleted item was returned.
    """
    from benchmarks import filters, index_churn, index_curve
    from dynamic_layer import IndexSettings

    if filtered:
        shares = filters.FiltersPlan(items=items, width=width, changed=churn, repeat=0, seed=seed)
        filters.show(filters.run(shares, json_file))
        console.print(f"figures: {json_file}")
        return
    if curve:
        sizes = size or [10_000, 30_000, 100_000, 300_000, 1_000_000]
        index_curve.show(index_curve.run(sizes, [width], seed, json_file, kind))
        console.print(f"figures: {json_file}")
        return
    kinds = {kind: IndexSettings(storage=kind) for kind in ("float32", "fp16", "int8", "int4")}
    if storage not in kinds:
        raise typer.BadParameter(f"expected --storage to be one of {', '.join(kinds)}")
    plan = index_churn.ChurnPlan(
        items=items, width=width, churn=churn, minutes=minutes, rate=rate, batch=batch,
        seed=seed, settings=kinds[storage],
    )  # fmt: skip
    report = index_churn.run(plan, json_file)
    index_churn.show(report)
    console.print(f"figures: {json_file}")
    if report["deleted_returned"]:
        raise typer.Exit(1)
