"""The command line. It imports a command, and what this needs, only when it is called."""

import sys
from typing import Annotated

import typer

from segue.lazy_commands import LazyCommands
from segue.log_format import is_json, log_crash
from segue.screen import log_to_screen
from segue.threads import sleep_at_barriers

__all__ = ["app", "main"]

app = typer.Typer(
    name="segue",
    cls=LazyCommands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help=(
        "Segue: a streaming recommender for catalogues of several item types.\n\n"
        "Start with [bold]segue try[/]. On your own topics: [bold]segue topics create[/], then "
        "[bold]segue worker[/], [bold]segue static build[/] and [bold]segue trainer[/]."
    ),
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"segue {version('segue')}")
        raise typer.Exit


@app.callback()
def _all_commands(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    log_to_screen(verbose=verbose)


def main() -> None:
    """Run the command line."""
    sleep_at_barriers()
    try:
        app()
    except Exception as error:
        if not is_json():
            raise
        log_crash(error)
        sys.exit(1)
