"""segue models: list bundles and choose the served one."""

import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from segue.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    exit_without_broker,
    result_of,
    say,
    settings_of,
)
from segue.screen import console, marked

if TYPE_CHECKING:
    from segue.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Bundles: list, show, pin, roll back, promote.",
    epilog="Example: segue models list",
)

T = TypeVar("T")
KindOption = Annotated[
    Literal["dynamic", "static"],
    typer.Option("--kind", help="Bundles of the trainer or of the static layer."),
]
ChannelOption = Annotated[
    str, typer.Option("--channel", help="Channel that serves the bundle, as named in the arms.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of a bundle, as `list` shows it.")]


@app.command(name="list", epilog="Example: segue models list --json")
def list_(
    kind: KindOption = "dynamic",
    channel: ChannelOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """List the bundles in the artifact store, newest first, and mark the served one."""
    settings = _of(config, flags, channel)
    from segue.bundles import bundles

    found = _run(bundles(settings, kind, channel))
    if as_json:
        typer.echo(json.dumps(found))
    elif not found:
        console.print(f"no {kind} bundles yet", highlight=False)
    else:
        _show_table(found)


@app.command(epilog="Example: segue models show g000000012")
def show(
    name: NameArgument,
    kind: KindOption = "dynamic",
    channel: ChannelOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Show the contents and origin of a bundle: metrics, offsets, settings, files."""
    settings = _of(config, flags, channel)
    from segue.bundles import one_bundle

    found = _run(one_bundle(settings, name, kind, channel))
    if as_json:
        typer.echo(json.dumps(found))
        return
    _show_table([found])
    console.print_json(json.dumps(found["manifest"]))


@app.command(epilog="Example: segue models pin g000000012")
def pin(
    name: NameArgument,
    channel: ChannelOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Pin a bundle: workers serve it until `unpin`, even if the trainer publishes newer ones.

    The bundle is first fetched and loaded here; an incomplete bundle is refused.
    """
    settings = _of(config, flags, channel)
    from segue.bundles import pin as pin_

    said = _run(pin_(settings, name, channel))
    say({"pinned": said.name, "generation": said.generation}, f"pinned {said.name}", as_json)


@app.command(epilog="Example: segue models unpin")
def unpin(
    channel: ChannelOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Remove the pin: workers serve the trainer's newest bundle again."""
    settings = _of(config, flags, channel)
    from segue.bundles import unpin as unpin_

    newest = _run(unpin_(settings, channel))
    served = f"{newest} is served again" if newest else "there is no bundle yet"
    say({"pinned": None, "newest": newest}, f"pin removed: {served}", as_json)


@app.command(epilog="Example: segue models rollback")
def rollback(
    channel: ChannelOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Pin the bundle before the served one. Each repetition goes one bundle further back."""
    settings = _of(config, flags, channel)
    from segue.bundles import rollback as rollback_

    served, said = _run(rollback_(settings, channel))
    say(
        {"from": served, "pinned": said.name, "generation": said.generation},
        f"rolled back from {served} to {said.name}; `segue models unpin` removes the pin",
        as_json,
    )


@app.command(epilog="Example: segue models promote g000000013")
def promote(
    name: NameArgument,
    channel: ChannelOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Announce a bundle as the newest until the trainer publishes the next; removes a pin.

    For bundles in the store that are not announced; use `pin` for older ones.
    """
    settings = _of(config, flags, channel)
    from segue.bundles import promote as promote_

    said = _run(promote_(settings, name, channel))
    say({"promoted": said.name, "generation": said.generation}, f"promoted {said.name}", as_json)


def _of(config: Path | None, flags: list[str] | None, channel: str) -> "Settings":
    """Compose the settings; an unknown channel is an error.

    Then ends the command if no broker answers, before a bundle is fetched.
    """
    settings = settings_of(config, flags)
    known = {*settings.experiments.channels, settings.trainer.channel}
    if channel not in known:
        raise typer.BadParameter(
            f"no arm of the settings has channel {channel!r}, only {', '.join(sorted(known))}",
            param_hint="--channel",
        )
    exit_without_broker(settings.kafka)
    return settings


def _run(asked: Awaitable[T]) -> T:
    from aiokafka.errors import KafkaError

    from segue.bundles import BundleChoiceError
    from state import StoreUnavailable
    from streams import AdminError

    return result_of(asked, BundleChoiceError, StoreUnavailable, AdminError, KafkaError)


def _show_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table()
    for head in ("bundle", "served", "made (UTC)", "MiB", "HR@10 on held-out examples"):
        table.add_column(head, overflow="fold")
    for row in rows:
        if row["generation"] is None:
            table.add_row(row["name"], "", marked("[red]{}[/]", row["problem"]), "", "")
            continue
        made = datetime.fromtimestamp((row["created_at"] or 0) / 1000, UTC)
        hit_rate = row["metrics"].get("held_out_hr_at_10")
        table.add_row(
            row["name"],
            "pinned" if row["pinned"] else "yes" if row["served"] else "",
            f"{made:%Y-%m-%d %H:%M:%S}" if row["created_at"] else "?",
            f"{row['bytes'] / 2**20:,.1f}",
            "" if hit_rate is None else f"{hit_rate:.4f}",
        )
    console.print(table)
