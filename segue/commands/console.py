"""segue console, segue token: the HTTP API and the web page."""

import json
from dataclasses import replace
from typing import Annotated

import typer

from segue.log_format import LogAs
from segue.options import (
    ConfigOption,
    JsonOption,
    LogFormatOption,
    SetOption,
    explained,
    settings_of,
)
from segue.screen import console as screen


def console(
    name: Annotated[
        str,
        typer.Option("--name", help="Name of this process; its replica is stored under this name."),
    ] = "console-1",
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0 selects a free one.")
    ] = None,
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Serve the HTTP API and the web console from a replica of the workers' states.

    The console restores the workers' checkpoints and follows the log. It changes only what requests
    ask for. Run any number of consoles, each with its own name or disk.

    Example: segue console --port 8600
    """
    from aiokafka.errors import KafkaError

    from console.settings import RIGHTS
    from segue.folders import require_folders_of
    from segue.rights import require_rights_of
    from segue.serving_console import new_token, serve_console, tune_search
    from segue.serving_metrics import PortError
    from segue.threads import use_threads
    from state import DamagedState, WrongState, compile_kernels
    from static_layer import TextModelError
    from streams import AdminError, PositionError

    log = LogAs(role="console", name=name, format=log_format)
    settings = settings_of(config, flags, log)
    require_folders_of("console", settings, name)
    require_rights_of("console", settings)
    own = settings.console
    own = replace(own, host=host or own.host, port=own.port if port is None else port)
    shown = ""
    if not own.tokens:
        made = new_token("this start", RIGHTS)
        own, shown = replace(own, tokens=(made.settings,)), f"/#token={made.token}"
    settings = replace(settings, console=own)
    compile_kernels()
    use_threads(own.threads)
    tune_search()

    def started(address: str) -> None:
        screen.print(f"console: {address}{shown}", highlight=False, soft_wrap=True)

    faults = (
        AdminError, PositionError, WrongState, DamagedState, KafkaError, TextModelError, OSError,
        PortError,
    )  # fmt: skip
    with explained(*faults):
        import uvloop

        uvloop.run(serve_console(settings, name, started))


def token(
    name: Annotated[str, typer.Argument(help="Owner of the token.")],
    write: Annotated[
        bool, typer.Option("--write", help="The token may also erase users and pin bundles.")
    ] = False,
    records: Annotated[
        list[str] | None,
        typer.Option(
            "--records",
            help="Records that it may write: events, impressions, items or users; repeat for more.",
        ),
    ] = None,
    policies: Annotated[
        str,
        typer.Option(help="Right on policies of lists: read, or write (which includes read)."),
    ] = "",
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="For web pages, where everyone can read it. It may write events, with "
            "--records impressions also impressions, and nothing else.",
        ),
    ] = False,
    user_prefix: Annotated[
        str, typer.Option(help="Prefix of all user ids that it may write.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Create a token for the console's API; print the token and its hash for the settings.

    Example: segue token shop --records events --records items
    """
    from console.settings import (
        EVENTS,
        IMPRESSIONS,
        ITEMS,
        PEOPLE,
        READ_POLICIES,
        RIGHTS,
        USERS,
        WRITE,
        WRITE_POLICIES,
    )
    from segue.serving_console import new_token

    if not name.strip():
        raise typer.BadParameter("expected the name of the token's owner, got an empty one")
    kinds = (EVENTS, IMPRESSIONS, ITEMS, USERS)
    if unknown := sorted(set(records or ()) - set(kinds)):
        raise typer.BadParameter(f"--records: expected {', '.join(kinds)}, got {unknown[0]!r}")
    of_policies = {
        "": (), "read": (READ_POLICIES,), "write": (READ_POLICIES, WRITE_POLICIES)
    }  # fmt: skip
    if policies not in of_policies:
        raise typer.BadParameter(f"--policies: expected read or write, got {policies!r}")
    wanted = {EVENTS if public else PEOPLE, *(records or ()), *([WRITE] if write else [])}
    wanted |= set(of_policies[policies])
    rights = tuple(right for right in RIGHTS if right in wanted)
    with explained(ValueError):
        made = new_token(name, rights, public=public, user_prefix=user_prefix)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "token": made.token, "name": name, "sha256": made.settings.sha256,
                    "rights": rights, "public": public, "user_prefix": user_prefix,
                }
            )
        )  # fmt: skip
        return
    screen.print(f"token (shown once): {made.token}", highlight=False, soft_wrap=True)
    lines = [
        "\n[[console.tokens]]",
        f"name = {json.dumps(name)}",
        f'sha256 = "{made.settings.sha256}"',
        f"rights = {json.dumps(rights)}",
        *(["public = true"] if public else []),
        *([f"user_prefix = {json.dumps(user_prefix)}"] if user_prefix else []),
    ]
    screen.print("\n".join(lines), highlight=False, soft_wrap=True)
