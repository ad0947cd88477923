"""The command line. Commands import what they need when they run, so that --help is quick."""

import sys
from typing import Annotated

import typer

from segue.commands import (
    bench,
    console,
    experiments,
    feed,
    kafka,
    models,
    people,
    roles,
    simulate,
    sources,
    state,
    static,
    topics,
)
from segue.commands.catalogue import catalogue
from segue.commands.demo import demo
from segue.commands.erase import erase
from segue.commands.evaluate import evaluate
from segue.commands.replay import replay
from segue.commands.reproduce import reproduce
from segue.log_format import is_json, log_crash
from segue.screen import log_to_screen

__all__ = ["app", "main"]

app = typer.Typer(
    name="segue",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help=(
        "Segue: a streaming recommender for catalogues of several item types.\n\n"
        "Try [bold]segue demo[/]. On your own topics: [bold]segue topics create[/], then "
        "[bold]segue worker[/], [bold]segue static build[/] and [bold]segue trainer[/]."
    ),
)
app.add_typer(kafka.app, name="kafka")
app.add_typer(topics.app, name="topics")
app.add_typer(sources.app, name="sources")
app.add_typer(static.app, name="static")
app.add_typer(models.app, name="models")
app.add_typer(experiments.app, name="experiments")
app.add_typer(state.app, name="state")
app.add_typer(simulate.app, name="simulate")
app.add_typer(bench.app, name="bench")
app.command()(roles.worker)
app.command()(roles.trainer)
app.command()(roles.rekey)
app.command()(console.console)
app.command()(console.token)
app.command()(catalogue)
app.command()(feed.feed)
app.command()(replay)
app.command()(people.status)
app.command()(people.recommend)
app.command()(people.search)
app.command()(erase)
app.command()(demo)
app.command()(evaluate)
app.command()(reproduce)


@app.callback()
def _all_commands(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    log_to_screen(verbose=verbose)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except Exception as error:
        if not is_json():
            raise
        log_crash(error)
        sys.exit(1)
