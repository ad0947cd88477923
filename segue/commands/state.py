"""segue state: look into states and compare them."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import clock_time, console, errors

if TYPE_CHECKING:
    from pathlib import Path

    from segue.settings import Settings
    from state.compare import Difference

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "Look into states and compare them.\n\n"
        "A state is named by [bold]live[/] (what the workers of this data folder hold; where one is"
        " running, its newest checkpoint), [bold]checkpoint[/] (the newest in the artifact store), "
        "the name of a replay, or a folder of one or all partitions."
    ),
)

StateName = Annotated[str, typer.Argument(help="live, checkpoint, a replay's name, or a folder.")]


@app.command(epilog="Example: segue state diff checkpoint last-week")
def diff(
    left: StateName,
    right: StateName,
    limit: Annotated[int, typer.Option(help="Differences to print; 0 is all.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Compare two states and print the first differences.

    Compared are positions, watermark, histories, pair counts, users and catalogue, by what they
    mean, whatever batches they were made in. Ends with status 0 if they are equal and 1 if not;
    with 2 if they cannot be compared.
    """
    from segue.state_folders import StateNotFound, found_state
    from state import CorruptArtifact, WrongState

    settings = settings_of(config, flags)
    with (
        explained(CorruptArtifact, StateNotFound, WrongState, status=2),
        found_state(settings, left) as mine,
        found_state(settings, right) as theirs,
    ):
        notes = [*mine.notes, *theirs.notes]
        sides = (mine.folders, theirs.folders)
        notes += _missing(settings, left, sides[0]) + _missing(settings, right, sides[1])
        found = list(itertools.islice(_differences(settings, *sides), limit or None))
    if as_json:
        typer.echo(json.dumps({"equal": not found, "notes": notes, "differences": found}))
    else:
        for note in notes:
            errors.print(f"[yellow]note:[/] {note}", highlight=False)
        for difference in found:
            typer.echo(difference["text"])
        if not found:
            typer.echo(f"equal: {left} and {right}, {len(sides[0])} partitions")
        elif len(found) == limit:
            typer.echo("there may be more; see --limit")
    raise typer.Exit(1 if found else 0)


@app.command(epilog="Example: segue state show --user user-000001")
def show(
    user: Annotated[str | None, typer.Option(help="User id: show the history.")] = None,
    item: Annotated[str | None, typer.Option(help="Item id: show the neighbours.")] = None,
    item_type: Annotated[
        str | None, typer.Option("--type", help="Item type, where several have the id.")
    ] = None,
    state: Annotated[
        str, typer.Option(help="live, checkpoint, a replay's name, or a folder.")
    ] = "live",
    limit: Annotated[int, typer.Option(help="Rows to show.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show what a state knows of a user, or of an item and of what was had together with it."""
    from segue.showing import item_view, user_state_view
    from segue.state_folders import StateNotFound
    from state import CorruptArtifact, WrongState

    if (user is None) == (item is None):
        raise typer.BadParameter("expected either --user or --item")
    settings = settings_of(config, flags)
    with explained(CorruptArtifact, StateNotFound, WrongState):
        if user is not None:
            found = user_state_view(settings, state, user, limit)
        else:
            found = item_view(settings, state, item or "", item_type, limit)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for note in found["notes"]:
        errors.print(f"[yellow]note:[/] {note}", highlight=False)
    _show_user(found) if user is not None else _show_item(found)


def _differences(
    settings: "Settings", left: "dict[int, Path]", right: "dict[int, Path]"
) -> Iterator[dict[str, Any]]:
    from state import PartitionState
    from state.compare import Difference, differences

    for partition in sorted(left.keys() | right.keys()):
        if partition not in left or partition not in right:
            sides = ["there" if partition in side else None for side in (left, right)]
            yield _as_json(
                Difference(
                    partition=partition, part="partition", key=(), left=sides[0], right=sides[1]
                )
            )
            continue
        with contextlib.ExitStack() as stack:
            states = []
            for side in (left, right):
                state = PartitionState(side[partition], partition, settings.state, read_only=True)
                stack.callback(state.close)
                states.append(state)
            for difference in differences(*states):
                yield _as_json(difference)


def _missing(settings: "Settings", name: str, folders: "dict[int, Path]") -> list[str]:
    """Say which records a state was made without."""
    from state import PartitionState

    notes = []
    for partition, folder in folders.items():
        state = PartitionState(folder, partition, settings.state, read_only=True)
        state.close()
        notes += [
            f"{name} was made without offsets {gap.first:,} to {gap.end - 1:,} of "
            f"{gap.topic}/{partition}"
            for gap in state.missing
        ]
    return notes


def _as_json(difference: "Difference") -> dict[str, Any]:
    return {
        "partition": difference.partition,
        "part": difference.part,
        "key": list(difference.key),
        "left": difference.left,
        "right": difference.right,
        "text": str(difference),
    }


def _show_user(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        title=f"{found['user_id']}: {found['entries']} items in partition {found['partition']}"
    )
    for head in ("latest (UTC)", "latest strong", "type", "item", "title", "visits"):
        table.add_column(head, no_wrap=head.startswith("latest"))
    for row in found["history"]:
        table.add_row(
            clock_time(row["time"]),
            "same" if row["strong_time"] == row["time"] else clock_time(row["strong_time"]),
            row["item_type"], row["item_id"], row["title"], _visits(row["visits"]),
        )  # fmt: skip
    console.print(table if found["history"] else f"{found['user_id']}: no history")
    if found["attributes"]:
        console.print_json(json.dumps(found["attributes"]))


def _show_item(found: dict[str, Any]) -> None:
    from rich.table import Table

    entry = found["catalogue"] or {}
    table = Table(
        title=f"{found['item_type']}/{found['item_id']} {entry.get('title') or ''}: "
        f"{found['users']:,} users, {found['neighbours_in_all']:,} neighbours"
    )
    for head in ("users of both", "type", "item", "title"):
        table.add_column(head, justify="right" if head == "users of both" else "left")
    for row in found["neighbours"]:
        table.add_row(f"{row['users']:,}", row["item_type"], row["item_id"], row["title"])
    console.print(table)


def _visits(back: list[int]) -> str:
    """In how many of the buckets since the first one with a visit the user came."""
    return f"{len(back)} of {back[-1] + 1} buckets"
