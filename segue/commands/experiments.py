"""segue experiments: show results by arm; start or stop a canary."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console

app = typer.Typer(help="Experiments: show results by arm; restart or stop a canary.")

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
    _say({"arm": arm, "share": said.share}, f"{arm} has {said.share:.1%} of the users", as_json)


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
    _say({"arm": arm, "share": 0.0}, f"{arm} has no users until it is restarted", as_json)


def _run(asked: Awaitable[T]) -> T:
    from aiokafka.errors import KafkaError

    from segue.experiments import ExperimentError
    from streams import AdminError

    async def run() -> T:
        return await asked

    with explained(ExperimentError, AdminError, KafkaError, OSError):
        return asyncio.run(run())


def _say(values: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values))
    else:
        console.print(sentence, highlight=False)


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
