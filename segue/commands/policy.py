"""segue policy: rules of lists, from a file to all workers and back."""

import asyncio
import getpass
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    existing_file,
    explained,
    settings_of,
)
from segue.screen import clock_time, console, marked

if TYPE_CHECKING:
    from agents.policy_text import PolicyFile
    from segue.settings import Settings
    from streams import ListPolicy

app = typer.Typer(
    no_args_is_help=True,
    help="Rules of lists: check, apply, diff, log, undo, preview.",
    epilog="Example: segue policy check shop.toml",
)

FileArgument = Annotated[
    Path,
    typer.Argument(callback=existing_file, help="Policy in TOML; see docs/policies.md."),
]
#: Figures of an effect, and their names.
_FIGURES = {"hr_at_10": "HR@10", "coverage": "coverage", "diversity": "diversity"}

ListArgument = Annotated[str, typer.Argument(help="Name of the list, or * for all others.")]
AuthorOption = Annotated[str, typer.Option(help="Author of the version; default: the login name.")]
CommentOption = Annotated[
    str, typer.Option("--comment", "-m", help="Reason for the change, kept with the version.")
]
OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline", help="Do not ask a broker; attribute types come from the file alone."
    ),
]


@app.command(epilog="Example: segue policy check shop.toml")
def check(
    file: FileArgument,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Check a policy as workers would, against the attributes of the catalogue and the users.

    Ends with status 1 and the place of the fault if workers would refuse it. Nothing is written.
    """
    settings = settings_of(config, flags, asks_broker=not offline)
    policy = _checked(settings, file, offline=offline)
    if as_json:
        typer.echo(json.dumps(_as_json(policy)))
        return
    console.print(marked("[green]good[/]  policy of list {}", policy.list_name))
    for name, of in sorted(policy.rules.types.items()):
        console.print(f"  {name}: {of}", highlight=False)


@app.command(epilog="Example: segue policy apply shop.toml -m 'only what is in stock'")
def apply(
    file: FileArgument,
    comment: CommentOption = "",
    author: AuthorOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Check a policy and put it in force, as the next version of its list.

    Workers and consoles take it within two seconds, without a restart.
    """
    settings = settings_of(config, flags, asks_broker=True)
    policy = _checked(settings, file, offline=False)
    _write(settings, policy, author, comment, as_json=as_json)


@app.command(epilog="Example: segue policy diff shop.toml")
def diff(
    file: FileArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show how a policy differs from the one in force. Ends with status 4 if it does."""
    settings = settings_of(config, flags, asks_broker=True)
    policy = _checked(settings, file, offline=False)
    from agents.policy_versions import difference, in_force
    from dynamic_layer import rules_of

    now = in_force(_versions(settings, policy.list_name))
    names = (f"version {now.version}" if now else "no policy", str(file))
    lines = difference(rules_of(now.rules if now else {}), policy.rules, names)
    if as_json:
        typer.echo(json.dumps({"list": policy.list_name, "difference": lines}))
    else:
        for line in lines or [f"as {names[0]}"]:
            console.print(line, highlight=False, markup=False)
    raise typer.Exit(4 if lines else 0)


@app.command(epilog="Example: segue policy log")
def log(
    list_name: Annotated[str, typer.Argument(help="Name of a list; default: all.")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show all versions, the newest first: who applied them, when and why; which is in force."""
    settings = settings_of(config, flags, asks_broker=True)
    from agents.policy_versions import fault_of, in_force

    found = _versions(settings, list_name or None)
    current = {
        one: in_force([v for v in found if v.list == one]) for one in {v.list for v in found}
    }
    rows: list[dict[str, Any]] = [
        {
            "list": said.list, "version": said.version, "author": said.author,
            "created_at": said.created_at, "comment": said.comment, "rules": said.rules,
            "in_force": current[said.list] is said, "fault": fault_of(said),
        }
        for said in reversed(found)
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        state = "[green]in force[/]" if row["in_force"] else "refused" if row["fault"] else ""
        console.print(
            marked(
                "{} version {}  {}  {}  {}  " + state,
                row["list"], row["version"], clock_time(row["created_at"]), row["author"],
                row["comment"],
            ),
            highlight=False,
        )  # fmt: skip
        if row["fault"]:
            console.print(marked("  [red]{}[/]", row["fault"]), highlight=False)
    if not rows:
        console.print("no policy yet")


@app.command(epilog="Example: segue policy undo mix")
def undo(
    list_name: ListArgument,
    comment: CommentOption = "",
    author: AuthorOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Put the version before the one in force in force again, as a new version.

    Without a version before it, the list has no policy afterwards.
    """
    settings = settings_of(config, flags, asks_broker=True)
    from agents.policy_versions import undone
    from dynamic_layer import PolicyError

    with explained(PolicyError):
        policy, said = undone(_versions(settings, list_name), list_name)
    _write(settings, policy, author, comment or said, as_json=as_json)


@app.command(epilog="Example: segue policy preview shop.toml --user user-000001 --random 200")
def preview(
    file: FileArgument,
    users: Annotated[
        list[str] | None, typer.Option("--user", help="A user to show; repeat for more.")
    ] = None,
    random: Annotated[int, typer.Option(min=0, max=10_000, help="Further users, at random.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of users.")] = 0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show lists before and after a policy, how many would run short, and what it does to quality.

    Nothing is written. The lists are made here, with the bundle that workers serve and the
    histories of the latest checkpoints. Quality is measured on held-out questions: for each of
    these users the item taken last, with the list as of just before.
    """
    settings = settings_of(config, flags, asks_broker=True)
    policy = _checked(settings, file, offline=False)
    from segue.policies import preview as made
    from state import CorruptArtifact, DamagedState, StoreUnavailable, WrongState
    from streams import AdminError

    expected = (AdminError, CorruptArtifact, DamagedState, StoreUnavailable, WrongState)
    with explained(*expected):
        found = asyncio.run(made(settings, policy, users or (), random, seed))
    if as_json:
        typer.echo(json.dumps(found))
        return
    _show_preview(found, users or ())


def _show_preview(found: dict[str, Any], named: Sequence[str]) -> None:
    from rich.table import Table

    for user in found["users"]:
        if user["user_id"] not in named:
            continue
        for name, sides in user["lists"].items():
            table = Table(title=f"{user['user_id']}: {name}")
            table.add_column("before")
            table.add_column("after")
            longest = max(len(sides["before"]), len(sides["after"]))
            for place in range(longest):
                table.add_row(
                    *(
                        side[place]["title"] if place < len(side) else ""
                        for side in (sides["before"], sides["after"])
                    )
                )
            console.print(table)
    table = Table(title=f"{len(found['users'])} users")
    for head in ("list", "short before", "short after", "items changed"):
        table.add_column(head, justify="left" if head == "list" else "right")
    for name, row in found["lists"].items():
        table.add_row(
            name, str(row["short_before"]), str(row["short_after"]), f"{row['changed']:.1%}"
        )
    console.print(table)
    _show_effects(found["lists"])


def _show_effects(lists: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title="held-out questions, change with 95 % by user")
    for head in ("list", "figure", "questions", "before", "after", "change"):
        table.add_column(head, justify="left" if head in ("list", "figure") else "right")
    for name, row in lists.items():
        effect = row["effect"]
        if effect is None:
            table.add_row(name, "", "0")
            continue
        for key, said in _FIGURES.items():
            figure = effect[key]
            if figure is not None:
                before, after = f"{figure['before']:.4f}", f"{figure['after']:.4f}"
                table.add_row(
                    name, said, f"{effect['questions']:,}", before, after, _change(figure)
                )
    console.print(table)


def _change(figure: dict[str, Any]) -> str:
    said = f"{figure['after'] - figure['before']:+.4f}"
    if figure["low"] is None:
        return said
    return f"{said} ({figure['low']:+.4f} to {figure['high']:+.4f})"


def _checked(settings: "Settings", file: Path, *, offline: bool) -> "PolicyFile":
    from agents.policy_versions import AttributeTypes, checked
    from dynamic_layer import PolicyError
    from segue.policies import attribute_types, read_file
    from streams import AdminError

    with explained(PolicyError, AdminError):
        policy = read_file(file)
        found = AttributeTypes() if offline else asyncio.run(attribute_types(settings))
        return checked(policy, found)


def _versions(settings: "Settings", list_name: str | None) -> "list[ListPolicy]":
    from segue.policies import versions
    from streams import AdminError

    with explained(AdminError):
        return asyncio.run(versions(settings, list_name))


def _write(
    settings: "Settings", policy: "PolicyFile", author: str, comment: str, *, as_json: bool
) -> None:
    from agents.policy_versions import PolicyConflict
    from segue.policies import apply as written
    from streams import AdminError, BulkWriteError
    from streams.log_record import now_ms

    _versions(settings, policy.list_name)  # says what to do where there is no topic
    with explained(AdminError, BulkWriteError, PolicyConflict):
        said = asyncio.run(
            written(
                settings, policy, author=author or getpass.getuser(), comment=comment,
                now_ms=now_ms(),
            )
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"list": said.list, "version": said.version}))
    else:
        console.print(f"version {said.version} of the policy of {said.list} is written")


def _as_json(policy: "PolicyFile") -> dict[str, Any]:
    import msgspec

    return {"list": policy.list_name, "rules": msgspec.to_builtins(policy.rules)}
