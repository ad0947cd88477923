"""segue erase: take a user back out of everything."""

import asyncio
import contextlib
import json
from typing import Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors


def erase(
    user: Annotated[str, typer.Argument(help="User id.")],
    wait: Annotated[float, typer.Option(help="Seconds to wait for the receipt.")] = 30.0,
    to: Annotated[str, typer.Option(help="kafka or embedded.")] = "kafka",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Erase a user: history, pair counts, attributes and recommendations; wait for the receipt.

    Ends with status 3 if no receipt came in time: the erasure is in the log and will be applied.
    What remains elsewhere and until when: docs/erasure.md.

    Example: segue erase user-000001
    """
    from aiokafka.errors import KafkaError

    from segue.erasing import erase_user
    from segue.feeding import open_log
    from streams import AdminError, EmbeddedLog, EmbeddedLogError
    from streams.faults import id_fault

    settings = settings_of(config, flags)
    if fault := id_fault(user):
        raise typer.BadParameter(fault[1])
    if to not in ("kafka", "embedded"):
        raise typer.BadParameter(f"expected kafka or embedded, got {to!r}")
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
            f"[yellow]no receipt[/] within {wait:g} s: the erasure is in the log and will be "
            "applied; is a worker running?",
            highlight=False,
        )
        return
    held = "" if receipt["held"] else " (there was no history)"
    console.print(
        f"[green]erased[/]       no state at position {receipt['position']:,} or beyond holds "
        f"{found['user_id']}{held}",
        highlight=False,
    )
    for checkpoint in receipt["checkpoints"]:
        console.print(
            f"checkpoint   {checkpoint['name']} is older; pruned by {checkpoint['pruned_by']} UTC",
            highlight=False,
        )
