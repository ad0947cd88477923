"""segue topics: create topics and compare existing ones with the settings."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors, marked

if TYPE_CHECKING:
    from streams import TopicReport

app = typer.Typer(
    no_args_is_help=True,
    help="Create the topics; increase their partitions.",
    epilog="Example: segue topics create",
)


@app.command(epilog="Example: segue topics create --set topics.partitions=12")
def create(
    as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None
) -> None:
    """Create missing topics; report topics that differ, without changing them.

    Exits with status 4 if a topic exists with other settings.
    """
    settings = settings_of(config, flags, asks_broker=True)
    from streams import AdminError, create_topics, topics

    with explained(AdminError):
        report = create_topics(settings.kafka, topics(settings.topics))
    if as_json:
        typer.echo(json.dumps(_as_json(report)))
    else:
        for name in report.created:
            console.print(marked("[green]created[/]    {}", name))
        for name in report.unchanged:
            console.print(marked("[dim]unchanged[/]  {}", name))
        for name, differences in report.differing.items():
            for setting, difference in differences.items():
                found, wanted = difference.found, difference.wanted
                console.print(
                    marked(
                        "[yellow]differs[/]    {}: {} is {}, wanted {}",
                        name, setting, found, wanted,
                    )
                )  # fmt: skip
    raise typer.Exit(4 if report.differing else 0)


@app.command(epilog="Example: segue topics grow --partitions 12")
def grow(
    partitions: Annotated[int, typer.Option(min=1, help="New number of partitions.")],
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask; needed with --json.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Increase the partitions of the topics, and rewrite each record to the partition of its key.

    First stop all processes that read or write the topics: workers, trainer, console, rekey, and
    event producers. Afterwards, rebuild every state from the topics; the command prints the steps,
    and docs/add-partitions.md describes them. The command can be repeated after an interruption.
    """
    if as_json and not sure:
        raise typer.BadParameter("--json requires --yes: it prints no question")
    settings = settings_of(config, flags, asks_broker=True)
    from streams import AdminError
    from streams.growing import GrowError, grow_topics

    if not sure:
        typer.confirm(
            f"Has everything been stopped that writes to {settings.topics.prefix}.* or reads it?",
            abort=True,
        )
    screen = errors if as_json else console
    with explained(AdminError, GrowError), screen.status("growing the topics") as shown:
        copied = asyncio.run(
            grow_topics(
                settings.kafka, settings.topics, partitions,
                lambda topic, done: shown.update(f"{topic}: {done:,} records"),
            )
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"partitions": partitions, "records": copied}))
        return
    for name, records in copied.items():
        console.print(f"{name}: {records:,} records rewritten")
    console.print(
        f"Now set topics.partitions to {partitions} for every process; start each worker once with "
        "--begin-again; then run segue static build, move <data>/trainers away, and start the rest."
    )


def _as_json(report: "TopicReport") -> dict[str, object]:
    return {
        "created": report.created,
        "unchanged": report.unchanged,
        "differing": {
            name: {s: {"wanted": d.wanted, "found": d.found} for s, d in differences.items()}
            for name, differences in report.differing.items()
        },
    }
