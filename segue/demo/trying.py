"""Runs `segue try` from options to console: data, embedded Segue, lists, console."""

import asyncio
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from console.settings import RIGHTS, ConsoleSettings
from segue.compiling import CompileError, Compiling
from segue.demo.embedded_runtime import EmbeddedRuntime, embedded_runtime
from segue.demo.first_look import Budget, first_look, require_enough, try_settings
from segue.demo.material import Material, from_tables, in_one_folder, simulated
from segue.demo.own_files import OwnData
from segue.demo.runtime import DemoError
from segue.demo.steps import encode_texts
from segue.screen import SafeConsole, StageBars, progress_bars
from segue.serving_console import new_token, serve_console, tune_search
from segue.serving_metrics import PortError, bound_socket
from segue.settings import Settings
from segue.text_language import language_finding, without_misread_warning
from segue.threads import use_threads
from segue.times import today_ms
from simulation import WorldSettings
from state import CorruptArtifact, DamagedState, WrongState
from static_layer import TextModelError
from streams import AdminError, BulkWriteError, PositionError, SourceSettings
from streams.embedded import EmbeddedLogError
from streams.log_record import now_ms

__all__ = ["TRY_ERRORS", "TryOptions", "distinct_titles", "run_try"]

#: What ends the command with one line.
TRY_ERRORS = (
    AdminError, BulkWriteError, CompileError, CorruptArtifact, DamagedState, DemoError,
    EmbeddedLogError, OSError, PortError, PositionError, TextModelError, ValueError, WrongState,
)  # fmt: skip
#: Says that a folder is of `segue try`, and may be emptied by the next one.
MARKER = "segue-try.txt"
#: Vectors of texts and the compiled text model stay: they take longest, and do not change.
KEPT = ("text-vectors.db", "text-models")
#: The generated world. In English: the packaged text model reads no other language well.
WORLD = WorldSettings(
    items=400, users=800, events=25_000, reserve=4, markets=("US", "GB"), market_shares=(0.7, 0.3)
)
NAME = "console-1"


@dataclass(frozen=True, kw_only=True)
class TryOptions:
    """Folder of the run, and whether it ends after the lists.

    port: of the console; 0: a free one; None: the one in the settings, or a free one if it is in
          use.
    """

    folder: Path
    port: int | None = None
    serve: bool = True
    seed: int = 1


async def run_try(
    settings: Settings,
    data: OwnData | None,
    options: TryOptions,
    compiling: Compiling,
    screen: SafeConsole,
    show: Callable[[dict[str, Any]], None],
    started: float,
) -> None:
    """Train, pass the report to `show` once, and serve the console until a signal arrives.

    data: the user's files as they were read; None generates a world. compiling: what this run
    needs, started before. screen: where progress is shown. started: of the command, from
    time.monotonic. Raises one of TRY_ERRORS.
    """
    use_threads()
    settings = in_one_folder(settings, options.folder)
    shown = SourceSettings(topic=settings.topics.impressions, format="impressions")
    settings = replace(settings, sources=(shown,))
    budget = Budget(seed=options.seed)
    material = _material(data, options.seed)
    require_enough(material)
    _prepare(options.folder)
    # Before the models are trained, so that a port in use is said at once.
    bound = _bound(settings.console, options.port) if options.serve else None
    settings = try_settings(settings, material, budget)
    language = language_finding(settings, pl.DataFrame(pl.from_arrow(material.catalogue)))
    if language.verdict != "ok":
        screen.print(f"{language.found}; {language.fix}", highlight=False, soft_wrap=True)
    with progress_bars(screen) as bars:
        progress = StageBars(bars)
        await asyncio.to_thread(encode_texts, settings, material, progress)
        try:
            await asyncio.to_thread(compiling.wait, progress)
        except asyncio.CancelledError:
            compiling.close()  # or the thread would wait for the end
            raise
    async with embedded_runtime(settings, "the embedded log") as runtime:
        screen.print(f"Segue on the embedded log: {material.title}", highlight=False)
        with without_misread_warning(), progress_bars(screen) as bars:
            found = await first_look(runtime, material, budget, bars)
        report = {
            **found,
            "people": [asdict(person) for person in found["people"]],
            "columns": {} if data is None else _columns(data),
            "notes": [] if data is None else list(data.notes),
            "unused": {} if data is None else data.unused,
            "text_language": language.as_json(),
            "bad_rows": {} if data is None else {n: len(bad) for n, bad in data.bad.items()},
            "folder": str(options.folder),
            "console": None,
            "seconds": round(time.monotonic() - started, 1),
        }
        if bound is not None:
            await _serve(settings, runtime, bound, report, show)
        else:
            show(report)


def _prepare(folder: Path) -> None:
    """Empty the folder of an earlier run, or create it; raises DemoError for any other folder."""
    if folder.exists():
        if not folder.is_dir():
            raise DemoError(f"{folder} is a file; choose a folder with --folder")
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise DemoError(
                f"{folder} holds files that `segue try` did not write; choose another folder "
                f"with --folder"
            )
        for path in folder.iterdir():
            if path.name.startswith(KEPT):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(
        "Files of `segue try`. The next run in this folder deletes them.\n"
    )


def _columns(data: OwnData) -> dict[str, dict[str, str]]:
    return {
        file: {field: column.column for field, column in columns.items()}
        for file, columns in data.columns.items()
    }


def _material(data: OwnData | None, seed: int) -> Material:
    if data is None:
        world = replace(WORLD, end_ms=today_ms(now_ms()))
        made = simulated(world, seed=seed, test_days=0, live_rate=0, live_seconds=0)
        return replace(made, catalogue=distinct_titles(made.catalogue))
    items, events = (Path(file).name for file in data.columns)
    return from_tables(f"{events} on {items}", data.catalogue, data.events)


def distinct_titles(catalogue: pa.Table) -> pa.Table:
    """Number the items of one type that have the same title: On Yarn; On Yarn, Part 2.

    Generated titles repeat; a list of them would look as if it recommended an item twice.
    """
    seen: Counter[tuple[str, str]] = Counter()
    titles = []
    for item_type, title in zip(
        catalogue["item_type"].to_pylist(), catalogue["title"].to_pylist(), strict=True
    ):
        seen[item_type, title] += 1
        number = seen[item_type, title]
        titles.append(title if number == 1 else f"{title}, Part {number}")
    column = catalogue.schema.get_field_index("title")
    return catalogue.set_column(column, "title", pa.array(titles, pa.string()))


async def _serve(
    settings: Settings,
    runtime: EmbeddedRuntime,
    bound: socket.socket,
    report: Mapping[str, Any],
    show: Callable[[dict[str, Any]], None],
) -> None:
    """Serve the console next to the roles; ends with a signal."""
    own, made = settings.console, new_token("segue try", RIGHTS)
    settings = replace(settings, console=replace(own, tokens=(made.settings,)))
    tune_search()

    def started(address: str) -> None:
        show({**report, "console": f"{address}/#token={made.token}"})

    await serve_console(settings, NAME, started, runtime.log, bound)


def _bound(own: ConsoleSettings, port: int | None) -> socket.socket:
    """Return the console's socket: at a port, or at that of the settings, or at a free one."""
    try:
        return bound_socket(own.host, own.port if port is None else port)
    except PortError:
        if port is not None:
            raise
        return bound_socket(own.host, 0)
