"""Compose settings from a TOML file, the environment and flags, as a dataclass.

This module imports nothing heavy: a command that needs two settings composes two and starts fast.
"""

import dataclasses
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from segue.log_format import LogSettings
from streams.security import KafkaSettings

__all__ = ["BrokerSettings", "FolderSettings", "SettingsError", "composed", "without_settings"]

ENVIRONMENT = "SEGUE_"
#: What other tools call the address of Kafka.
BOOTSTRAP = "KAFKA_BOOTSTRAP_SERVERS"
#: Kubernetes (and Docker links) set such variables for a service `segue` or `segue-...`. A setting
#: has two underscores between its parts, so no setting has a name of this form.
_OF_A_SERVICE = re.compile(
    r"SEGUE_(?:[A-Z0-9]+_)*(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9]+)*"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_PORT_OF_A_SERVICE = re.compile(r"SEGUE_(?:[A-Z0-9]+_)*PORT")

Root = TypeVar("Root")


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that gets all of its settings from a file.

    A variable `SEGUE_...` would win over the file.
    """
    return {k: v for k, v in environment.items() if not k.startswith(ENVIRONMENT)}


class SettingsError(ValueError):
    """A setting is unknown or has an invalid value; the message names it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderSettings:
    """Settings of commands that need only the data folder; see `Settings`."""

    data: str = "var"
    log: LogSettings = dataclasses.field(default_factory=LogSettings)

    @property
    def folder(self) -> Path:
        """Folder for local files."""
        return Path(self.data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """Settings that a command needs to check that a broker answers; see `Settings`."""

    kafka: KafkaSettings = dataclasses.field(default_factory=KafkaSettings)
    log: LogSettings = dataclasses.field(default_factory=LogSettings)


def composed(
    root: type[Root],
    file: Path | None,
    environment: Mapping[str, str],
    flags: Iterable[str],
    *,
    partial: bool = False,
) -> Root:
    """Return the settings of a dataclass: its defaults, then the file, the environment, the flags.

    partial: the dataclass has some of the settings; other groups are ignored.
    Raises SettingsError.
    """
    values = _Values(root, partial=partial)
    if file is not None:
        try:
            values.merge(tomllib.loads(file.read_text()))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"settings file {file}: {error}") from error
    if BOOTSTRAP in environment:
        values.put("kafka.bootstrap_servers", environment[BOOTSTRAP])
    for name, value in environment.items():
        if name.startswith(ENVIRONMENT) and not _names_a_service(name, value):
            values.put(name.removeprefix(ENVIRONMENT).lower().replace("__", "."), value)
    for flag in flags:
        path, separator, value = flag.partition("=")
        if not separator:
            raise SettingsError(f"expected path=value, got {flag!r}")
        values.put(path.strip(), value)
    try:
        return msgspec.convert(values.found, root, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(str(error)) from error


def _names_a_service(name: str, value: str) -> bool:
    """Return whether Kubernetes sets this variable; then it is not a setting.

    `SEGUE_CONSOLE_PORT` is one if it holds an address (`tcp://10.0.0.1:8600`). With a number it is
    a misspelling of `SEGUE_CONSOLE__PORT` and is refused.
    """
    return bool(_OF_A_SERVICE.fullmatch(name)) or (
        bool(_PORT_OF_A_SERVICE.fullmatch(name)) and "://" in value
    )


class _Values:
    """Values by nested names; each name is checked against the settings of `root`."""

    def __init__(self, root: type, *, partial: bool) -> None:
        self.found: dict[str, Any] = {}
        self._root = root
        self._partial = partial

    def merge(self, table: Mapping[str, Any], path: str = "") -> None:
        """Add the values of a TOML table."""
        for name, value in table.items():
            full = f"{path}.{name}".lstrip(".")
            if self._is_of_others(full):
                continue
            if isinstance(value, Mapping) and dataclasses.is_dataclass(self._type_of(full)):
                self.merge(value, full)
            else:
                self.put(full, value)

    def put(self, path: str, value: Any) -> None:
        """Add one value."""
        if self._is_of_others(path):
            return
        kind = self._type_of(path)
        if dataclasses.is_dataclass(kind):
            raise SettingsError(f"{path} is a group of settings, not a setting")
        values = self.found
        *groups, name = path.split(".")
        for group in groups:
            values = values.setdefault(group, {})
        values[name] = _listed(value, kind)
        _check_names(values[name], kind, path)

    def _is_of_others(self, path: str) -> bool:
        return self._partial and path.partition(".")[0] not in typing.get_type_hints(self._root)

    def _type_of(self, path: str) -> Any:
        kind: Any = self._root
        for name in path.split("."):
            hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
            if name not in hints:
                known = ", ".join(sorted(hints)) or "nothing below it"
                raise SettingsError(f"unknown setting {path!r}: {name!r} is not one of {known}")
            kind = hints[name]
        return kind


def _check_names(value: Any, kind: Any, path: str) -> None:
    """Raise SettingsError for names in a list of groups of settings that no group has."""
    if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            _check_names(part, typing.get_args(kind)[0], f"{path}[{number}]")
    elif dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        hints = typing.get_type_hints(kind)
        for name, part in value.items():
            if name not in hints:
                raise SettingsError(
                    f"unknown setting '{path}.{name}': {name!r} is not one of "
                    f"{', '.join(sorted(hints))}"
                )
            _check_names(part, hints[name], f"{path}.{name}")


def _listed(value: Any, kind: Any) -> Any:
    """Split text for a setting that is a list: `a,b` or a JSON array."""
    if isinstance(value, str) and typing.get_origin(kind) is tuple:
        if value.lstrip().startswith("["):
            try:
                return msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                raise SettingsError(f"expected a JSON array, got {value!r}: {error}") from error
        return [part.strip() for part in value.split(",") if part.strip()]
    return value
