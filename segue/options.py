"""Options that many commands share, handling of errors, and output of a result."""

import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from segue.compose import BrokerSettings, FolderSettings, SettingsError, composed
from segue.log_format import LogAs, format_log, is_json, log_crash, secrets_of
from segue.screen import console, errors, marked
from streams.security import KafkaSettings

if TYPE_CHECKING:
    from segue.settings import Settings

__all__ = [
    "NO_BROKER",
    "ConfigOption",
    "JsonOption",
    "LogFormatOption",
    "SetOption",
    "broker_settings_of",
    "existing_file",
    "exit_without_broker",
    "explained",
    "folder_settings_of",
    "result_of",
    "said",
    "say",
    "settings_of",
    "usable_id",
]

Root = TypeVar("Root")
T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings as TOML.", envvar="SEGUE_CONFIG_FILE"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="PATH=VALUE", help="One setting, e.g. topics.partitions=8"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

LogFormatOption = Annotated[
    str | None,
    typer.Option(
        "--log-format", metavar="text|json", help="Log format: text, or JSON for programs."
    ),
]

#: What to do where no broker answers.
NO_BROKER = "set KAFKA_BOOTSTRAP_SERVERS, or start one for development: segue kafka start"

_NOT_SETTINGS = {"SEGUE_CONFIG_FILE"}


def settings_of(
    config: Path | None,
    flags: list[str] | None,
    log: LogAs | None = None,
    *,
    asks_broker: bool = False,
) -> "Settings":
    """Compose the settings of a command; exit with status 2 and a message if they are invalid.

    log: the role's name in log lines, and the requested format. From here on the log has the format
         of the settings and hides their secrets.

    asks_broker: exit with status 1 if no broker answers. The settings are checked before: a broker
                 that is away must not hide a wrong setting, and may take seconds to be given up.
    """
    from segue.settings import load_settings
    from streams.log_levels import limit_client_messages

    given = _flags(flags, log)
    settings = _explained(lambda environment: load_settings(config, environment, given))
    format_log(settings.log.format, log or LogAs(), hidden=secrets_of(settings))
    limit_client_messages()
    if asks_broker:
        exit_without_broker(settings.kafka)
    return settings


def folder_settings_of(config: Path | None, flags: list[str] | None) -> FolderSettings:
    """Compose the settings of a command that needs only the data folder, in a few milliseconds.

    Errors in other settings are not detected. Exits like `settings_of`.
    """
    return _explained(
        lambda environment: composed(FolderSettings, config, environment, flags or (), partial=True)
    )


def broker_settings_of(
    config: Path | None, flags: list[str] | None, log: LogAs | None = None
) -> BrokerSettings:
    """Compose the settings that are needed to reach a broker; see `folder_settings_of`.

    log: as of `settings_of`.
    """
    given = _flags(flags, log)
    found = _explained(
        lambda environment: composed(BrokerSettings, config, environment, given, partial=True)
    )
    format_log(found.log.format, log or LogAs(), hidden=secrets_of(found))
    return found


def exit_without_broker(kafka: KafkaSettings) -> None:
    """Exit with status 1 if no broker answers."""
    from streams.reach import AdminError, UnreachableError, require_broker
    from streams.security import SecurityError

    with explained(AdminError, SecurityError):
        try:
            require_broker(kafka)
        except UnreachableError as error:
            raise UnreachableError(f"{error}; {NO_BROKER}") from error


def _flags(flags: list[str] | None, log: LogAs | None) -> list[str]:
    return [*(flags or ()), *([f"log.format={log.format}"] if log and log.format else ())]


def _explained(compose: Callable[[dict[str, str]], Root]) -> Root:
    """Compose settings with the environment; exit with status 2 if they are invalid."""
    try:
        return compose({k: v for k, v in os.environ.items() if k not in _NOT_SETTINGS})
    except SettingsError as error:
        errors.print(marked("[red]settings:[/] {}", error), highlight=False)
        raise typer.Exit(2) from error


def usable_id(value: str | None) -> str | None:
    """Return an id from the command line, if a record can have it."""
    from streams.dead_letters import id_fault

    if value is not None and (fault := id_fault(value)):
        raise typer.BadParameter(fault[1])
    return value


def existing_file(file: Path) -> Path:
    """Return a file from the command line; exit with status 1 if it does not exist."""
    if not file.is_file():
        what = (
            f"{file} is a folder, expected a file" if file.is_dir() else f"file not found: {file}"
        )
        errors.print(marked("[red]error:[/] {}", what), highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    return file


@contextmanager
def explained(*kinds: type[Exception], status: int = 1) -> Iterator[None]:
    """Exit with a status and only the message on an expected error."""
    try:
        yield
    except kinds as error:
        if is_json():
            log_crash(error)
            raise typer.Exit(status) from error
        errors.print(marked("[red]error:[/] {}", said(error)), highlight=False, soft_wrap=True)
        raise typer.Exit(status) from error


def said(error: Exception) -> str:
    """Return the message of an error, for an error of the system without its number.

    >>> said(PermissionError(13, "Permission denied", "/data"))
    '/data: Permission denied'
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)


def result_of(asked: Awaitable[T], *wrong: type[Exception]) -> T:
    """Return what is awaited; wrong: errors that are printed, without a traceback."""

    import asyncio

    async def run() -> T:
        return await asked

    with explained(*wrong):
        return asyncio.run(run())


def say(values: dict[str, Any], sentence: str, as_json: bool) -> None:
    """Print a sentence, or the values as JSON."""
    if as_json:
        typer.echo(json.dumps(values))
    else:
        console.print(sentence, highlight=False)
