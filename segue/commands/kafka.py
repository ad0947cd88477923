"""segue kafka: a single Kafka broker for development."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from segue.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    explained,
    folder_settings_of,
    settings_of,
)
from segue.screen import console, errors, marked
from streams.broker import DevelopmentBroker
from streams.distribution import POM, BrokerError

if TYPE_CHECKING:
    from segue.compose import FolderSettings
    from segue.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Start and stop a single Apache Kafka broker for development (needs Java 17 and Maven).",
    epilog="Example: segue kafka start",
)

Port = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Port to listen on; default any free one.")
]


def broker_of(settings: "Settings | FolderSettings") -> DevelopmentBroker:
    """Return the development broker of a data folder."""
    return DevelopmentBroker(settings.folder / "kafka", POM)


@app.command(epilog="Example: segue kafka start --port 9092")
def start(
    port: Port = None,
    timeout: Annotated[float, typer.Option(help="Maximum seconds to wait for its answer.")] = 180.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Resolve the jars, format the storage, start the broker, and wait until it answers."""
    broker = broker_of(settings_of(config, flags))
    with explained(BrokerError), errors.status("starting Apache Kafka"):
        address = broker.start(port, timeout=timeout)
    if as_json:
        typer.echo(json.dumps({"address": address}))
        return
    console.print(marked("Kafka answers at [bold]{}[/]; stop it with: segue kafka stop", address))
    console.print('for this shell: eval "$(segue kafka env)"', highlight=False)


@app.command(epilog="Example: segue kafka jars")
def jars(as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None) -> None:
    """Resolve Kafka's jars with Maven, once; `start` does this too."""
    distribution = broker_of(settings_of(config, flags)).distribution
    with explained(BrokerError), errors.status("resolving Apache Kafka with Maven"):
        folder = distribution.resolve()
    if as_json:
        typer.echo(json.dumps({"folder": str(folder)}))
    else:
        console.print(f"Apache Kafka is in {folder}")


@app.command(epilog="Example: segue kafka stop")
def stop(as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None) -> None:
    """Stop the broker and wait until it has ended."""
    with explained(BrokerError):
        stopped = broker_of(settings_of(config, flags)).stop()
    if as_json:
        typer.echo(json.dumps({"stopped": stopped}))
    else:
        console.print("Kafka has stopped" if stopped else "Kafka was not running")


@app.command(epilog='Example: eval "$(segue kafka env)"')
def env(config: ConfigOption = None, flags: SetOption = None) -> None:
    """Print shell commands that set the broker's address; exit with status 3 if none runs."""
    found = broker_of(folder_settings_of(config, flags)).status()
    if not found.running:
        errors.print("Kafka is not running; start it with: segue kafka start")
        raise typer.Exit(3)
    typer.echo(f"export KAFKA_BOOTSTRAP_SERVERS={found.address}")


@app.command(epilog="Example: segue kafka status --json")
def status(
    as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None
) -> None:
    """Show whether the broker runs, and its address; exit with status 3 if it does not."""
    found = broker_of(folder_settings_of(config, flags)).status()
    if as_json:
        typer.echo(json.dumps({"running": found.running, "address": found.address}))
    else:
        console.print(f"running at {found.address}" if found.running else "not running")
    raise typer.Exit(0 if found.running else 3)
