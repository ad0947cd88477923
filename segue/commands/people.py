"""segue status, segue recommend, segue search: for people who want to look."""

import asyncio
import json
from typing import Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import clock_time, console


def status(
    as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None
) -> None:
    """Show lag, age of the last applied record, checkpoints and generations.

    Example: segue status --json
    """
    from segue.looking import system_status
    from streams import AdminError

    settings = settings_of(config, flags)
    with explained(AdminError):
        found = asyncio.run(system_status(settings))
    if as_json:
        typer.echo(json.dumps(found))
        return
    _show_status(found)


def recommend(
    user: Annotated[str, typer.Argument(help="User id.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the lists.")] = 15.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show a user's history and, asked from the workers now, the current lists with titles.

    The history is read from the latest checkpoint and brought up to date from the log. Ends with
    status 3 if no list came in time.

    Example: segue recommend user-000001
    """
    from segue.looking import user_view
    from state import CorruptArtifact, WrongState
    from streams import AdminError

    settings = settings_of(config, flags)
    with explained(AdminError, CorruptArtifact, WrongState, TimeoutError):
        found = asyncio.run(user_view(settings, user, timeout))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show_user(found)
    raise typer.Exit(0 if found["lists"] else 3)


def search(
    text: Annotated[str, typer.Argument(help="What to look for, in words.")],
    types: Annotated[
        list[str] | None, typer.Option("--types", help="Item type; repeat for more. Default: all.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=500, help="Items, at most.")] = 10,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show the items of every type that are nearest to a text, which nobody need have written.

    The text is placed in the shared space as a new item with this description would be; the bundle
    is the one that the workers serve.

    Example: segue search "sailing on the sea" --types audiobook --k 5
    """
    from segue.searching import search_view
    from state import CorruptArtifact
    from streams import AdminError

    settings = settings_of(config, flags)
    if not text.strip():
        raise typer.BadParameter("expected a text, got white space")
    with explained(AdminError, CorruptArtifact, ValueError):
        found = asyncio.run(search_view(settings, text, tuple(types or ()), k))
    if as_json:
        typer.echo(json.dumps(found))
        return
    _show_found(found)


def _show_found(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{escape(found['text'])} (generation {found['generation']})")
    for head in ("type", "title", "id", "score"):
        table.add_column(head, justify="right" if head == "score" else "left")
    for item in found["items"]:
        table.add_row(
            *(escape(item[name]) for name in ("item_type", "title", "item_id")),
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
                f"[yellow]partition {row['partition']} was made without offsets {gap['first']:,} "
                f"to {gap['end'] - 1:,} of {gap['topic']}[/]"
            )
    counts = found["records"]
    console.print(
        f"as of the checkpoints: {counts['applied']:,} events applied, "
        f"{counts['refused']:,} dead letters"
    )
    for source in found["sources"]:
        console.print(f"source {source['topic']} ({source['group']}): lag {source['lag']:,}")
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
        console.print("no lists: is a worker running, and has it loaded a bundle?")
    for name, items in found["lists"].items():
        table = Table(title=f"{name} (generation {found['generation']})")
        for head in ("type", "title", "score"):
            table.add_column(head)
        for item in items:
            table.add_row(item["item_type"], item["title"], f"{item['score']:.3f}")
        console.print(table)
