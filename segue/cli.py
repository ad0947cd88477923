"""The command line. It imports a command, and what this needs, only when it is called."""

import logging
import sys
from typing import Annotated

import typer

from segue.lazy_commands import LazyCommands
from segue.log_format import is_json, log_crash
from segue.screen import errors, log_to_screen, marked
from segue.threads import prepare_threads

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
    """Run the command line. With --verbose, an error of the system has its traceback."""
    prepare_threads()
    try:
        app()
    except Exception as error:
        if is_json():
            log_crash(error)
        elif isinstance(error, OSError) and not logging.getLogger("segue").isEnabledFor(
            logging.DEBUG
        ):
            # A file, folder, address or store that is not as it should be: no fault of the program.
            errors.print(marked("[red]error:[/] {}", error), highlight=False, soft_wrap=True)
        else:
            raise
        sys.exit(1)
