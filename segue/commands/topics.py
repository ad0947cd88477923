"""segue topics: create them, and see how existing ones differ."""

import json

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console
from streams import AdminError, TopicReport, create_topics, topics

app = typer.Typer(no_args_is_help=True, help="Create the topics.")


@app.command(epilog="Example: segue topics create --set topics.partitions=12")
def create(
    as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None
) -> None:
    """Create the topics that are missing; report, and never change, those that differ.

    Ends with status 4 if a topic exists with other settings.
    """
    settings = settings_of(config, flags)
    with explained(AdminError):
        report = create_topics(settings.kafka, topics(settings.topics))
    if as_json:
        typer.echo(json.dumps(_as_json(report)))
    else:
        for name in report.created:
            console.print(f"[green]created[/]    {name}")
        for name in report.unchanged:
            console.print(f"[dim]unchanged[/]  {name}")
        for name, differences in report.differing.items():
            for setting, difference in differences.items():
                console.print(
                    f"[yellow]differs[/]    {name}: {setting} is {difference.found}, "
                    f"wanted {difference.wanted}"
                )
    raise typer.Exit(4 if report.differing else 0)


def _as_json(report: TopicReport) -> dict[str, object]:
    return {
        "created": report.created,
        "unchanged": report.unchanged,
        "differing": {
            name: {s: {"wanted": d.wanted, "found": d.found} for s, d in differences.items()}
            for name, differences in report.differing.items()
        },
    }
