"""Options that many commands share, and how a command ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from segue.log_format import format_log, is_json, log_crash, secrets_of
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
    config: Path | None, flags: list[str] | None, log_format: str | None = None
) -> "Settings":
    """Compose the settings of a command; a mistake ends it with status 2 and says what is wrong.

    log_format: that the command was asked for, if it was. From here on the log is written as the
    settings say, and hides the secrets that are in them.
    """
    from segue.settings import SettingsError, load_settings

    flags = [*(flags or ()), *([f"log.format={log_format}"] if log_format else ())]

    environment = {k: v for k, v in os.environ.items() if k not in _NOT_SETTINGS}
    try:
        settings = load_settings(config, environment, flags)
    except SettingsError as error:
        errors.print(f"[red]settings:[/] {error}", highlight=False)
        raise typer.Exit(2) from error
    role, name = _who()
    format_log(settings.log.format, role=role, name=name, hidden=secrets_of(settings))
    return settings


def _who() -> tuple[str, str]:
    """The command's role (`static schedule`) and the process's name (`worker-1`)."""
    context = click.get_current_context(silent=True)
    name = str(context.params.get("name") or "") if context else ""
    role: list[str] = []
    while context is not None and context.parent is not None:
        role.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(role), name


@contextmanager
def explained(*kinds: type[Exception], status: int = 1) -> Iterator[None]:
    """End the command with a status and the message alone when an expected error comes."""
    try:
        yield
    except kinds as error:
        if is_json():
            log_crash(error)
            raise typer.Exit(status) from error
        errors.print(f"[red]error:[/] {error}", highlight=False)
        raise typer.Exit(status) from error
