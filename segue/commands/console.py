"""segue console, segue token: the HTTP API and the web page."""

from dataclasses import replace
from typing import Annotated

import typer

from segue.log_format import LogAs
from segue.options import ConfigOption, LogFormatOption, SetOption, explained, settings_of
from segue.screen import console as screen


def console(
    name: Annotated[
        str, typer.Option("--name", help="Name of this process; its replica is kept under it.")
    ] = "console-1",
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Serve the HTTP API and the web page from a replica of the workers' states.

    It restores their checkpoints, follows the log, and changes nothing but what is asked of it.
    As many of these as wanted, each with a name or a disk of its own.

    Example: segue console --port 8600
    """
    import faiss
    import torch
    from aiokafka.errors import KafkaError

    from segue.rights import require_rights_of
    from segue.serving_console import new_token, serve_console, tune_search
    from state import WrongState, compile_kernels
    from streams import AdminError, PositionError

    log = LogAs(role="console", name=name, format=log_format)
    settings = settings_of(config, flags, log)
    require_rights_of("console", settings)
    own = settings.console
    own = replace(own, host=host or own.host, port=own.port if port is None else port)
    shown = ""
    if not own.tokens:
        made = new_token("this start", write=True)
        own, shown = replace(own, tokens=(made.settings,)), f"/#token={made.token}"
    settings = replace(settings, console=own)
    compile_kernels()
    torch.set_num_threads(own.threads)
    faiss.omp_set_num_threads(own.threads)
    tune_search()

    def started(address: str) -> None:
        screen.print(f"console: {address}{shown}", highlight=False, soft_wrap=True)

    with explained(AdminError, PositionError, WrongState, KafkaError, OSError):
        import uvloop

        uvloop.run(serve_console(settings, name, started))


def token(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    write: Annotated[
        bool, typer.Option("--write", help="It may also erase users and pin bundles.")
    ] = False,
) -> None:
    """Make a token for the console's API: the token for its owner, its hash for the settings.

    Example: segue token grafana
    """
    from segue.serving_console import new_token

    made = new_token(name, write=write)
    screen.print(f"token (shown once): {made.token}", highlight=False, soft_wrap=True)
    rights = ", ".join(f'"{right}"' for right in made.settings.rights)
    screen.print(
        f'\n\\[\\[console.tokens]]\nname = "{name}"\nsha256 = "{made.settings.sha256}"\n'
        f"rights = [{rights}]",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
