"""segue state: inspect and compare states."""

import contextlib
import itertools
import json
from collections.abc import Iterator
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
from segue.screen import clock_time, console, errors, marked
from segue.terminal_text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from segue.settings import Settings
    from state.compare import Difference

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog="Example: segue state show --user user-000001",
    help=(
        "Show, compare and replace states.\n\n"
        "A state is named by [bold]live[/] (the workers' state in this data folder; the "
        "newest checkpoint of a running worker), [bold]checkpoint[/] (the newest in the "
        "artifact store), "
        "the name of a replay, or a folder of one or all partitions."
    ),
)

StateName = Annotated[str, typer.Argument(help="live, checkpoint, a replay's name, or a folder.")]


@app.command(epilog="Example: segue state diff checkpoint last-week")
def diff(
    left: StateName,
    right: StateName,
    limit: Annotated[
        int, typer.Option(min=0, help="Maximum number of differences to print; 0 prints all.")
    ] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Compare two states and print the first differences.

    Compares positions, watermark, histories, pair counts, users and catalogue by meaning,
    independent of batch boundaries. Exits with status 0 if the states are equal, 1 if they differ,
    2 if they cannot be compared.
    """
    from segue.state_folders import StateNotFound, found_state
    from state import CorruptArtifact, DamagedState, StoreUnavailable, WrongState

    settings = settings_of(config, flags)
    with (
        explained(
            CorruptArtifact, DamagedState, StateNotFound, StoreUnavailable, WrongState, status=2
        ),
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
            errors.print(marked("[yellow]note:[/] {}", note), highlight=False)
        for difference in found:
            typer.echo(printable(difference["text"]))
        if not found:
            typer.echo(f"equal: {left} and {right}, {len(sides[0])} partitions")
        elif len(found) == limit:
            typer.echo("there can be more; see --limit")
    raise typer.Exit(1 if found else 0)


@app.command(epilog="Example: segue state show --user user-000001")
def show(
    user: Annotated[
        str | None, typer.Option(help="User id: show the history.", callback=usable_id)
    ] = None,
    item: Annotated[
        str | None, typer.Option(help="Item id: show the neighbours.", callback=usable_id)
    ] = None,
    item_type: Annotated[
        str | None,
        typer.Option("--type", help="Item type, if several types have the id.", callback=usable_id),
    ] = None,
    state: Annotated[
        str, typer.Option(help="live, checkpoint, a replay's name, or a folder.")
    ] = "live",
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of rows.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show a user's history, or an item and its co-interaction counts, from a state."""
    from segue.showing import item_view, user_state_view
    from segue.state_folders import StateNotFound
    from state import CorruptArtifact, DamagedState, StoreUnavailable, WrongState

    if (user is None) == (item is None):
        raise typer.BadParameter("expected either --user or --item")
    settings = settings_of(config, flags)
    with explained(CorruptArtifact, DamagedState, StateNotFound, StoreUnavailable, WrongState):
        if user is not None:
            found = user_state_view(settings, state, user, limit)
        else:
            found = item_view(settings, state, item or "", item_type, limit)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for note in found["notes"]:
        errors.print(marked("[yellow]note:[/] {}", note), highlight=False)
    _show_user(found) if user is not None else _show_item(found)


@app.command(epilog="Example: segue state move ninety-days --config new.toml")
def move(
    name: Annotated[str, typer.Argument(help="Name of a complete replay.")],
    log: Annotated[
        str, typer.Option(help="kafka, or embedded: then no process may use the data folder.")
    ] = "kafka",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Make a replay the workers' state, for a change of the window or other state settings.

    First run [bold]segue replay --into NAME[/] with the new settings while the workers still run,
    then stop all workers and run this command. It replaces the checkpoints in the artifact store.
    Workers that start with the new settings restore them, put their old state aside and read the
    log after the replay. It can be repeated if it was interrupted.
    """
    from segue.screen import progress_bars
    from segue.state_folders import StateNotFound
    from segue.state_moving import WorkersRun, move_state
    from state import CorruptArtifact, DamagedState, StoreUnavailable, WrongState
    from streams import AdminError
    from streams.log_record import now_ms

    if log not in ("kafka", "embedded"):
        raise typer.BadParameter(f"expected kafka or embedded, got {log!r}", param_hint="--log")
    settings = settings_of(config, flags, asks_broker=log == "kafka")
    expected = (
        AdminError, CorruptArtifact, DamagedState, OSError, StateNotFound, StoreUnavailable,
        WorkersRun, WrongState,
    )  # fmt: skip
    with explained(*expected), progress_bars(errors if as_json else console) as bars:
        task = bars.add_task("move partitions", total=None, note="")
        found = move_state(
            settings, name, with_broker=log == "kafka", now_ms=now_ms(),
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found))
        return
    total = sum(part["bytes"] for part in found["partitions"])
    console.print(
        f"{len(found['partitions'])} partitions of {printable(name)} are the workers' state now "
        f"({total:,} bytes). Start the workers with these settings."
    )


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
    """Print which records a state lacks."""
    from state import PartitionState

    notes = []
    for partition, folder in folders.items():
        state = PartitionState(folder, partition, settings.state, read_only=True)
        state.close()
        notes += [
            f"{name} lacks offsets {gap.first:,} to {gap.end - 1:,} of {gap.topic}/{partition}"
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
    if rejected := found.get("disliked"):
        names = ", ".join(f"{item['item_type']}/{item['item_id']}" for item in rejected)
        console.print(f"disliked, in no list: {names}", markup=False, highlight=False)
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
    """Number of buckets with a visit, counted from the first such bucket."""
    return f"{len(back)} of {back[-1] + 1} buckets"
