"""segue erase: remove a user from the system."""

import asyncio
import contextlib
import json
from typing import Annotated, Any

import typer

from segue.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    explained,
    settings_of,
    usable_id,
)
from segue.screen import console, errors, marked


def erase(
    user: Annotated[str, typer.Argument(help="User id.", callback=usable_id)],
    wait: Annotated[float, typer.Option(help="Seconds to wait for the receipt.")] = 30.0,
    to: Annotated[str, typer.Option(help="kafka or embedded.")] = "kafka",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Erase a user: history, pair counts, attributes and recommendations; wait for the receipt.

    Exits with status 3 if no receipt arrives in time: the erasure is in the log and will be
    applied. docs/erasure.md says what remains elsewhere, and for how long.

    Example: segue erase user-000001
    """
    if to not in ("kafka", "embedded"):
        raise typer.BadParameter(f"expected kafka or embedded, got {to!r}")
    settings = settings_of(config, flags, asks_broker=to == "kafka")
    from aiokafka.errors import KafkaError

    from segue.erasing import erase_user
    from segue.feeding import open_log
    from streams import AdminError, EmbeddedLog, EmbeddedLogError

    with (
        explained(AdminError, KafkaError, EmbeddedLogError),
        contextlib.ExitStack() as opened,
    ):
        log = opened.enter_context(open_log(to, settings))
        embedded = log if isinstance(log, EmbeddedLog) else None
        found = asyncio.run(erase_user(settings, user, wait, embedded))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found, wait)
    raise typer.Exit(0 if found["receipt"] else 3)


def _show(found: dict[str, Any], wait: float) -> None:
    def place(name: str) -> str:
        at = found[name]
        return f"{at['topic']}, partition {at['partition']}, offset {at['offset']:,}"

    console.print(f"asked for    {place('events')}", highlight=False)
    console.print(f"attributes   {place('users')}", highlight=False)
    receipt = found["receipt"]
    if receipt is None:
        errors.print(
            marked(
                "[yellow]no receipt[/] within {} s: the erasure is in the log and will be "
                "applied. Check that a worker is running.",
                f"{wait:g}",
            ),
            highlight=False,
        )
        return
    held = "" if receipt["held"] else " (the user had no history)"
    console.print(
        marked(
            "[green]erased[/]       no state at position {} or beyond holds {}{}",
            f"{receipt['position']:,}",
            found["user_id"],
            held,
        ),
        highlight=False,
    )
    for checkpoint in receipt["checkpoints"]:
        console.print(
            f"checkpoint   {checkpoint['name']} is older; pruned by {checkpoint['pruned_by']} UTC",
            highlight=False,
        )
    console.print(
        f"other copies {len(receipt['copies'])} places, named by --json and in docs/erasure.md",
        highlight=False,
    )
