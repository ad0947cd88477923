"""segue experiments: show results by arm; start or stop a canary."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from segue.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    existing_file,
    explained,
    result_of,
    say,
    settings_of,
)
from segue.screen import console

app = typer.Typer(
    help="Experiments: show results by arm; restart or stop a canary; estimate a policy."
)

T = TypeVar("T")
ArmArgument = Annotated[str, typer.Argument(help="Name of a canary arm.")]


@app.callback(invoke_without_command=True, epilog="Example: segue experiments --effect 3")
def experiments(
    context: typer.Context,
    days: Annotated[
        int, typer.Option(help="Number of newest days of events.", min=1, max=100)
    ] = 14,
    effect: Annotated[
        float,
        typer.Option(help="Smallest relevant difference, in % of the control's HR@10.", min=0.1),
    ] = 5.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show the results of each arm, compared with the first arm and with popularity."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_of(config, flags, asks_broker=True)
    from segue.experiments import experiment_view

    found = _run(experiment_view(settings, days=days, effect=effect / 100))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show_table(found)


@app.command(epilog="Example: segue experiments restart next")
def restart(
    arm: ArmArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Restart a canary with its first share; measurement starts at the next bundle."""
    settings = settings_of(config, flags, asks_broker=True)
    from segue.experiments import move_canary

    said = _run(move_canary(settings, arm, "growing"))
    say({"arm": arm, "share": said.share}, f"{arm} has {said.share:.1%} of the users", as_json)


@app.command(epilog="Example: segue experiments stop next")
def stop(
    arm: ArmArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Remove all users from a canary until it is restarted."""
    settings = settings_of(config, flags, asks_broker=True)
    from segue.experiments import move_canary

    _run(move_canary(settings, arm, "stopped"))
    say({"arm": arm, "share": 0.0}, f"{arm} has no users until it is restarted", as_json)


@app.command(epilog="Example: segue experiments estimate new.toml --list mix --days 7")
def estimate(
    file: Annotated[
        Path,
        typer.Argument(callback=existing_file, help="Policy in TOML; see docs/policies.md."),
    ],
    list_name: Annotated[
        str, typer.Option("--list", help="List whose log is read. Default: that of the policy.")
    ] = "",
    days: Annotated[float, typer.Option(help="Newest days of lists.", min=0.01, max=1_000)] = 7.0,
    assume_shown: Annotated[
        bool, typer.Option("--assume-shown", help="Count every list as shown: read no impressions.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Estimate the value of a policy before it is in force, from lists that explored.

    The value is what is taken per place that is shown. Nothing is written.
    """
    settings = settings_of(config, flags, asks_broker=True)
    from agents.policy_versions import checked
    from dynamic_layer import PolicyError
    from segue.off_policy import EstimateError
    from segue.off_policy import estimate as made
    from segue.policies import attribute_types, read_file
    from segue.screen import progress_bars
    from state import CorruptArtifact, DamagedState, StoreUnavailable, WrongState
    from streams import AdminError
    from streams.log_record import now_ms

    expected = (AdminError, CorruptArtifact, DamagedState, StoreUnavailable, WrongState)
    with explained(EstimateError, PolicyError, *expected), progress_bars() as bars:
        policy = checked(read_file(file), asyncio.run(attribute_types(settings)))
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, note="")
            bars.update(tasks[what], completed=done, total=total)

        found = asyncio.run(
            made(
                settings, policy, list_name or policy.list_name, days=days, now_ms=now_ms(),
                assume_shown=assume_shown, progress=progress,
            )
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show_estimate(found)


def _show_estimate(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{found['list']}: {found['lists']:,} lists, {found['places']:,} places")
    for head in ("taken per place shown", "value", "95 %"):
        table.add_column(head, justify="left" if head != "value" else "right")
    names = {
        "logged": "as logged", "weighted": "this policy, by inverse propensities",
        "modelled": "this policy, by a model of what is taken",
        "robust": "this policy, doubly robust", "difference": "difference (doubly robust)",
    }  # fmt: skip
    for name, title in names.items():
        value, low, high = (
            "-" if end is None else f"{end:.5f}"
            for end in (found[name]["value"], found[name]["low"], found[name]["high"])
        )
        table.add_row(title, value, f"{low} to {high}")
    console.print(table)
    console.print(
        f"{found['supported']:.1%} of what this policy would show was shown at times; the rest "
        "is a model's estimate",
        highlight=False,
    )


def _run(asked: Awaitable[T]) -> T:
    from aiokafka.errors import KafkaError

    from segue.experiments import ExperimentError
    from streams import AdminError

    return result_of(asked, ExperimentError, AdminError, KafkaError, OSError)


def _show_table(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table()
    for head in ("arm", "channel"):
        table.add_column(head, overflow="fold")
    for head in ("users", "questions", "HR@10 (95 %)", "MRR", "popularity", "difference (95 %)"):
        table.add_column(head, justify="right", overflow="fold")
    for arm in found["arms"]:
        table.add_row(
            arm["name"], arm["channel"], f"{arm['share']:.1%}", f"{arm['questions']:,}",
            _between(arm, "hr_at_10", ".4f"), _figure(arm["mrr"]),
            _figure(arm["popularity_hr_at_10"]), _between(arm, "difference", "+.4f"),
        )  # fmt: skip
    console.print(table)
    for arm in found["arms"]:
        if "verdict" in arm:
            console.print(f"{arm['name']}: {arm['verdict']}", highlight=False)
        if canary := arm.get("canary"):
            reasons = "; ".join(canary["reasons"])
            console.print(f"{arm['name']}: canary, {canary['state']}: {reasons}", highlight=False)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _between(arm: dict[str, Any], name: str, form: str) -> str:
    value = arm.get(name)
    if value is None:
        return ""
    low, high = arm[f"{name}_low"], arm[f"{name}_high"]
    return f"{value:{form}} ({low:{form}} to {high:{form}})"
