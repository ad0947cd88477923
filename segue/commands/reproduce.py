"""segue reproduce: compare the papers' figures with ours, row by row, and write the page."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, SetOption, explained, settings_of
from segue.screen import StageBars, console, progress_bars

if TYPE_CHECKING:
    from evaluation.reproduction.run import World
    from segue.settings import Settings
    from static_layer import Progress

ITEMS, USERS, EVENTS, WORLD_SEED = 2_000, 6_000, 300_000, 1
"""The simulated world of the reproduction; its marks are the papers' (tests/simulation)."""


def reproduce(
    worlds: Annotated[
        list[str] | None, typer.Argument(help="simulated, lfm1m, amazon-fk; default: all.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with lfm1m/ and amazon-fk/; without it, both are skipped."),
    ] = None,
    figures: Annotated[
        Path, typer.Option("--json", help="Folder of the figures, one file per world.")
    ] = Path("benchmarks/reproduction"),
    page: Annotated[Path | None, typer.Option(help="Write the page with the figures.")] = None,
    only: Annotated[str, typer.Option(help="Rows, comma-separated; default: all.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Training runs per row.")] = 3,
    users: Annotated[
        int, typer.Option(min=0, help="Number of sampled test users; 0 for all.")
    ] = 4_000,
    again: Annotated[bool, typer.Option(help="Recompute rows that already have figures.")] = False,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of the models; 0 for all cores.")
    ] = 1,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Reproduce the papers' tables on the simulated world, and on real data if available.

    Each row is stored when it is complete. Rows that are stored for at least as many seeds are not
    recomputed. If all rows exist, --page only writes the page.

    Examples: segue reproduce --data ../shared/data --page benchmarks/REPRODUCTION.md

    segue reproduce simulated --only 2t,2t-hgnn --seeds 3 --again
    """
    from evaluation.dataset import DatasetError
    from evaluation.reproduction.page import page_of
    from evaluation.reproduction.run import names_of, run_rows
    from evaluation.reproduction.worlds import REAL, SIMULATED, plan_of
    from segue.threads import use_threads

    use_threads(threads)
    settings = settings_of(config, flags)
    figures.mkdir(parents=True, exist_ok=True)
    chosen = worlds or [SIMULATED, *(REAL if data is not None else ())]
    with explained(DatasetError, ValueError, OSError):
        for name in chosen:
            plan, file = plan_of(name), figures / f"{name}.json"
            report = _read(file)
            there = {
                row["row"]
                for row in report["rows"]
                if len(row["seeds"]) >= min(seeds, row["most_seeds"] or seeds)
            }
            asked = {part.strip() for part in only.split(",") if part.strip()} or names_of(plan)
            if unknown := asked - names_of(plan):
                raise ValueError(
                    f"expected rows of {', '.join(sorted(names_of(plan)))}; got {unknown}"
                )
            wanted = asked if again else asked - there
            if not wanted:
                continue
            with progress_bars() as bars:
                world = _world(name, data, users, settings, StageBars(bars))
                report |= _facts(world)
                for row in run_rows(world, range(1, seeds + 1), wanted=wanted.__contains__):
                    _store(file, report, row)
                    _show(name, row)
    if page is not None:
        found = {
            name: _read(figures / f"{name}.json")
            for name in (SIMULATED, *REAL)
            if (figures / f"{name}.json").exists()
        }
        notes = figures / "notes.md"
        said = notes.read_text(encoding="utf-8") if notes.exists() else ""
        page.write_text(page_of(found, said), encoding="utf-8")
        console.print(f"page: {page}")


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {"rows": []}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _store(file: Path, report: dict[str, Any], row: dict[str, Any]) -> None:
    """Replace an older row, or append the row; the file is complete at any time."""
    rows = [old for old in report["rows"] if old["row"] != row["row"]]
    place = next((n for n, old in enumerate(report["rows"]) if old["row"] == row["row"]), len(rows))
    report["rows"] = [*rows[:place], row, *rows[place:]]
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    aside.replace(file)


def _facts(world: "World") -> dict[str, Any]:
    """Return the parameters that all rows share."""
    from dataclasses import asdict

    trial = world.trial
    return {
        "world": world.plan.name,
        "types": list(world.plan.types),
        "test_days": world.plan.test_days,
        "example_days": world.plan.example_days,
        "train_events": len(trial.past.train),
        "test_users": len(trial.truth.users),
        "held_out": len(trial.truth.item),
        "candidates": len(trial.candidates),
        "hgnn": asdict(world.plan.hgnn.train),
        "paper": asdict(world.plan.paper.train),
        "paper_epochs": world.plan.paper_epochs,
    }


def _show(name: str, row: dict[str, Any]) -> None:
    parts = [
        f"{key.removesuffix('/all')} {figure['hr_at_10']:.4f}"
        for key, figure in row["figures"].items()
        if key.endswith("/all")
    ]
    console.print(f"{name} {row['row']}: HR@10 {', '.join(parts)} ({row['seconds']} s)")
    sys.stdout.flush()


def _world(
    name: str, data: Path | None, users: int, settings: "Settings", progress: "Progress"
) -> "World":
    from evaluation.dataset import read_dataset
    from evaluation.reproduction.models import People
    from evaluation.reproduction.run import make_world
    from evaluation.reproduction.worlds import SIMULATED, end_of, plan_of
    from evaluation.text import TextVectors
    from segue.roles import text_settings

    if name == SIMULATED:
        dataset, people = _simulated()
    elif data is None:
        raise ValueError(f"{name} is real data: name its folder with --data")
    else:
        dataset = read_dataset(data / name / "events.parquet", data / name / "items.parquet")
        people = People.unknown(len(dataset.users))
    return make_world(
        plan_of(name), dataset, TextVectors(dataset.items, text_settings(settings), progress),
        end_ms=end_of(name), users=users, people=people, progress=progress,
    )  # fmt: skip


def _simulated() -> tuple[Any, Any]:
    """The simulated world as a data set, and its users' attributes."""
    import numpy as np
    import polars as pl
    import pyarrow as pa

    from evaluation.dataset import dataset_of
    from evaluation.reproduction.models import People
    from simulation import World as Drawn
    from simulation import WorldSettings

    drawn = Drawn(
        WorldSettings(items=ITEMS, users=USERS, events=EVENTS, reserve=10), seed=WORLD_SEED
    )
    events = pl.DataFrame(pa.Table.from_batches(list(drawn.history())))
    dataset = dataset_of(events, pl.DataFrame(drawn.catalogue()))
    users = pl.DataFrame(drawn.users())
    known = pl.DataFrame({"user_id": dataset.users.tolist()}).join(
        users, on="user_id", how="left", maintain_order="left"
    )
    return dataset, People(
        country=known["country"].to_numpy().astype(np.str_),
        birth_year=known["birth_year"].to_numpy().astype(np.int16),
    )
