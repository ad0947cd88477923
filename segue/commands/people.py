"""segue status, segue recommend, segue search: inspect a running system."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    explained,
    settings_of,
    usable_id,
)
from segue.screen import clock_time, console

if TYPE_CHECKING:
    from segue.settings import Settings


def status(
    as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None
) -> None:
    """Show lag, age of the last applied record, checkpoints and generations.

    Example: segue status --json
    """
    settings = settings_of(config, flags, asks_broker=True)
    from segue.system_status import system_status
    from state import StoreUnavailable
    from streams import AdminError

    with explained(AdminError, StoreUnavailable):
        found = asyncio.run(system_status(settings))
    if as_json:
        typer.echo(json.dumps(found))
        return
    _show_status(found)


def recommend(
    user: Annotated[str | None, typer.Argument(help="User id.", callback=usable_id)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the lists.")] = 60.0,
    everybody: Annotated[
        bool, typer.Option("--all", help="Write a list for every user with a history to a file.")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="Parquet file of --all.")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--types", help="Item type, with --all; default: all types.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=500, help="Items, with --all.")] = 10,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show a user's history and the lists that workers answer now, with titles.

    The history comes from the latest checkpoint and the log after it. While no list arrives, the
    command says every 15 s on stderr what is missing. It exits with status 3 if none arrives in
    time.

    With --all it makes lists for all users with a history, for mailings, from a replica of the
    states. No worker is asked.

    Example: segue recommend user-000001
    """
    if everybody:
        if user is not None or to is None:
            raise typer.BadParameter("expected --all --to FILE and no user")
        _recommend_all(settings_of(config, flags, asks_broker=True), to, tuple(types or ()), k)
        return
    if user is None or to is not None or types:
        raise typer.BadParameter("expected a user, or --all --to FILE")
    settings = settings_of(config, flags, asks_broker=True)
    from segue.user_view import user_view
    from state import CorruptArtifact, DamagedState, StoreUnavailable, WrongState
    from streams import AdminError, PositionError

    expected = (
        AdminError, CorruptArtifact, DamagedState, PositionError, StoreUnavailable, WrongState,
        TimeoutError,
    )  # fmt: skip
    with explained(*expected):
        found = asyncio.run(user_view(settings, user, timeout, _tell))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show_user(found)
    raise typer.Exit(0 if found["lists"] else 3)


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _recommend_all(settings: "Settings", file: Path, types: tuple[str, ...], k: int) -> None:
    from console.serving import Wanted
    from segue.folders import folder_of
    from segue.mailing import write_lists
    from segue.screen import progress_bars
    from segue.serving_console import open_replica, tune_search
    from state import CorruptArtifact, DamagedState, StoreUnavailable, WrongState
    from streams import AdminError, PositionError

    tune_search()
    expected = (
        AdminError, CorruptArtifact, DamagedState, OSError, PositionError, StoreUnavailable,
        WrongState,
    )  # fmt: skip
    replica, serving = open_replica(settings, folder_of(settings, "consoles", "mailing"))
    with explained(*expected), progress_bars() as bars:
        task = bars.add_task("lists", total=None, note="")

        def progress(done: int, users: int) -> None:
            bars.update(task, completed=done, total=users)

        wanted = Wanted(types=tuple(sorted(set(types))), k=k)
        users = asyncio.run(write_lists(replica, serving, file, wanted, progress))
    console.print(f"lists of {users:,} users: {file}", highlight=False)


def search(
    text: Annotated[str, typer.Argument(help="Search text.")],
    types: Annotated[
        list[str] | None, typer.Option("--types", help="Item type; repeat for more. Default: all.")
    ] = None,
    k: Annotated[
        int, typer.Option("-k", "--k", min=1, max=500, help="Maximum number of items.")
    ] = 10,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show the items that are nearest to a text, by type.

    The text is encoded like the description of a new item, with the bundle that workers serve.

    Example: segue search "sailing on the sea" --types audiobook --k 5
    """
    if not text.strip():
        raise typer.BadParameter("expected a search text, got only white space")
    settings = settings_of(config, flags, asks_broker=True)
    from segue.searching import search_view
    from state import CorruptArtifact, StoreUnavailable
    from static_layer import TextModelError
    from streams import AdminError

    with explained(AdminError, CorruptArtifact, StoreUnavailable, TextModelError, ValueError):
        found = asyncio.run(search_view(settings, text, tuple(types or ()), k))
    if as_json:
        typer.echo(json.dumps(found))
        return
    _show_found(found)


def _show_found(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{found['text']} (generation {found['generation']})")
    for head in ("type", "title", "id", "score"):
        table.add_column(head, justify="right" if head == "score" else "left")
    for item in found["items"]:
        table.add_row(
            *(item[name] for name in ("item_type", "title", "item_id")),
            f"{item['score']:.3f}",
        )
    console.print(table)


def _show_status(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"Segue at {found['kafka']}")
    for head in ("partition", "lag", "last applied", "checkpoint", "MiB"):
        table.add_column(head, justify="right")
    for row in found["partitions"]:
        age = row["last_applied_age_s"]
        table.add_row(
            str(row["partition"]),
            f"{row['lag']:,}",
            "-" if age is None else f"{age:,.0f} s ago",
            "-" if row["checkpoint_age_s"] is None else f"{row['checkpoint_age_s']:,.0f} s ago",
            f"{row['checkpoint_bytes'] / 2**20:,.1f}",
        )
    console.print(table)
    for row in found["partitions"]:
        for gap in row["missing"]:
            console.print(
                f"partition {row['partition']} lacks offsets {gap['first']:,} "
                f"to {gap['end'] - 1:,} of {gap['topic']}",
                style="yellow",
            )
    counts = found["records"]
    console.print(f"{counts['applied']:,} events applied, {counts['refused']:,} dead letters")
    for source in found["sources"]:
        state = source["fault"] or f"lag {source['lag']:,}"
        style = "red" if source["fault"] else None
        console.print(f"source {source['topic']} ({source['group']}): {state}", style=style)
    for kind in ("static", "dynamic"):
        model = found["models"].get(kind)
        console.print(
            f"{kind} model: generation {model['generation']} ({model['name']}), "
            f"{model['age_s']:,.0f} s old"
            if model
            else f"{kind} model: none yet"
        )


def _show_user(found: dict[str, Any]) -> None:
    from rich.table import Table

    history = Table(title=f"{found['user_id']}: history, newest first")
    for head in ("when (UTC)", "type", "title", ""):
        history.add_column(head)
    for entry in found["history"]:
        history.add_row(
            clock_time(entry["time"]),
            entry["item_type"],
            entry["title"],
            "" if entry["strong"] else "weak",
        )
    console.print(history if found["history"] else f"{found['user_id']}: no history")
    if not found["lists"]:
        console.print("no lists. Check that a worker runs and has loaded a bundle.")
    for name, items in found["lists"].items():
        table = Table(title=f"{name} (generation {found['generation']})")
        for head in ("type", "title", "score"):
            table.add_column(head)
        for item in items:
            table.add_row(item["item_type"], item["title"], f"{item['score']:.3f}")
        console.print(table)
