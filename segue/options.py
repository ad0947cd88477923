"""Options that many commands share, and how a command ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segue.log_format import LogAs, format_log, is_json, log_crash, secrets_of
from segue.screen import errors

if TYPE_CHECKING:
    from segue.settings import Settings

__all__ = ["ConfigOption", "JsonOption", "LogFormatOption", "SetOption", "explained", "settings_of"]

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
    typer.Option("--log-format", metavar="text|json", help="The log for people or for programs."),
]

_NOT_SETTINGS = {"SEGUE_CONFIG_FILE"}


def settings_of(
    config: Path | None, flags: list[str] | None, log: LogAs | None = None
) -> "Settings":
    """Compose the settings of a command; a mistake ends it with status 2 and says what is wrong.

    log: what a role's lines say of it, and the format that it was asked for. From here on the log
    is written as the settings say, and hides the secrets that are in them.
    """
    from segue.settings import SettingsError, load_settings

    flags = [*(flags or ()), *([f"log.format={log.format}"] if log and log.format else ())]

    environment = {k: v for k, v in os.environ.items() if k not in _NOT_SETTINGS}
    try:
        settings = load_settings(config, environment, flags)
    except SettingsError as error:
        errors.print(f"[red]settings:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(2) from error
    format_log(settings.log.format, log or LogAs(), hidden=secrets_of(settings))
    return settings


@contextmanager
def explained(*kinds: type[Exception], status: int = 1) -> Iterator[None]:
    """End the command with a status and the message alone when an expected error comes."""
    try:
        yield
    except kinds as error:
        if is_json():
            log_crash(error)
            raise typer.Exit(status) from error
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(status) from error
