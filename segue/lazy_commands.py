"""The root command: it lists the commands by name and imports a command when it is called.

Importing all commands takes longer than printing the help of one.
"""

from importlib import import_module
from inspect import cleandoc
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from segue.terminal_text import printable

__all__ = ["COMMANDS", "LazyCommands", "load_command"]

#: Heading in the help -> its commands: where each is in `segue.commands`, and its line in the help.
#: A place with a colon is a function; one without is a group.
_PANELS = {
    "Start here": {
        "try": (
            "try_out:try_out",
            "Try Segue on this machine: personal lists for a generated world or your own files.",
        ),
        "demo": (
            "demo:demo",
            "Run everything: catalogue, 90 days of history, graph, HGNN, two-tower, live traffic.",
        ),
        "evaluate": (
            "evaluate:evaluate",
            "Compare models on held-out events: full ranking, one split, intervals over users.",
        ),
    },
    "Your data": {
        "sources": (
            "sources",
            "Check how records of your own topics of events, items and users are read.",
        ),
        "catalogue": (
            "catalogue:catalogue",
            "Write the items of a file to the catalogue topic; existing items are replaced.",
        ),
        "topics": (
            "topics",
            "Create the topics; increase their partitions.",
        ),
        "feed": (
            "feed:feed",
            "Write a catalogue and its events to the topics, at full speed or in scaled real time.",
        ),
        "export": (
            "export:export",
            "Write the events and items in the log to Parquet files.",
        ),
    },
    "Roles": {
        "worker": (
            "roles:worker",
            "Read events, maintain state, answer users; run at most one per partition.",
        ),
        "static": (
            "static",
            "Build item vectors: graph, text vectors and HGNN from the workers' checkpoints.",
        ),
        "trainer": (
            "roles:trainer",
            "Learn from every example and publish bundles; run one, or one per channel.",
        ),
        "console": (
            "console:console",
            "Serve the HTTP API and the web console from a replica of the workers' states.",
        ),
        "rekey": (
            "roles:rekey",
            "Write events of sources that are not keyed by user to Segue's own topic, keyed by "
            "user.",
        ),
    },
    "Lists and users": {
        "recommend": (
            "people:recommend",
            "Show a user's history and the lists that workers answer now, with titles.",
        ),
        "search": (
            "people:search",
            "Show the items that are nearest to a text, by type.",
        ),
        "policy": (
            "policy",
            "Rules of lists: check, apply, diff, log, undo, preview.",
        ),
        "experiments": (
            "experiments",
            "Experiments: show results by arm; restart or stop a canary; estimate a policy.",
        ),
        "erase": (
            "erase:erase",
            "Erase a user: history, pair counts, attributes and recommendations; wait for the "
            "receipt.",
        ),
        "token": (
            "console:token",
            "Create a token for the console's API; print the token and its hash for the settings.",
        ),
    },
    "Operation": {
        "doctor": (
            "doctor:doctor",
            "Check versions, disk, store, broker, topics, clocks and models; name the fix of each "
            "fault.",
        ),
        "status": (
            "people:status",
            "Show lag, age of the last applied record, checkpoints and generations.",
        ),
        "models": (
            "models",
            "Bundles: list, show, pin, roll back, promote.",
        ),
        "replay": (
            "replay:replay",
            "Rebuild a state from the log at full speed, next to the live one.",
        ),
        "state": (
            "state",
            "Show, compare and replace states.",
        ),
        "backup": (
            "backup:backup",
            "Copy the newest checkpoint of each partition, all bundles and the quality figures.",
        ),
        "restore": (
            "backup:restore",
            "Copy a backup into an empty artifact store, before the roles start.",
        ),
    },
    "Development": {
        "kafka": (
            "kafka",
            "Start and stop a single Apache Kafka broker for development (needs Java 17 and "
            "Maven).",
        ),
        "simulate": (
            "simulate",
            "Generate a world: a catalogue, a history of events, and live traffic.",
        ),
        "bench": (
            "bench",
            "Measure the speed of Segue, and of other software, on this machine.",
        ),
        "reproduce": (
            "reproduce:reproduce",
            "Reproduce the papers' tables on the simulated world, and on real data if available.",
        ),
    },
}
#: Command -> where it is, its line in the help, and its heading.
COMMANDS = {
    name: (place, line, panel)
    for panel, commands in _PANELS.items()
    for name, (place, line) in commands.items()
}


def load_command(name: str) -> Any:
    """Import a command or a group of commands and return it as typer's command."""
    module, _, function = COMMANDS[name][0].partition(":")
    found = import_module(f"segue.commands.{module}")
    command: Any
    if not function:
        command = typer.main.get_group(found.app)
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command(name)(getattr(found, function))
        command = typer.main.get_command(alone)
    command.name = name
    for one in (command, *getattr(command, "commands", {}).values()):
        one.help = _joined(one.help or "")
    return command


def _joined(text: str) -> str:
    """Return a help text without line breaks inside paragraphs: the terminal decides on them."""
    return "\n\n".join(" ".join(part.split()) for part in cleandoc(text).split("\n\n"))


class LazyCommands(TyperGroup):
    """A group that shows help lines and imports a command when it is called."""

    def __init__(self, **attributes: Any) -> None:
        """List the commands of COMMANDS."""
        super().__init__(**attributes)
        for name, (_, line, panel) in COMMANDS.items():
            self.add_command(
                TyperCommand(
                    name,
                    callback=None,
                    help=line,
                    rich_markup_mode="rich",
                    rich_help_panel=panel,
                )
            )

    def invoke(self, ctx: Any) -> Any:
        """Run a command; typer's error messages can quote user input."""
        try:
            return super().invoke(ctx)
        except TyperException as error:
            if isinstance(message := getattr(error, "message", None), str):
                error.message = printable(message, lines=True)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name, the imported command and its arguments."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else load_command(name), rest
