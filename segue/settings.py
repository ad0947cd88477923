"""All settings in one value: defaults, then a TOML file, then the environment, then flags.

A setting is named by its path, `state.window.buckets`. In TOML that is `[state.window]` with
`buckets = 30`; in the environment `SEGUE_STATE__WINDOW__BUCKETS=30`; as a flag
`--set state.window.buckets=30`. Settings that are lists of groups are arrays of tables in TOML
(`[[sources]]`), and JSON elsewhere.
"""

import dataclasses
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agents import TrainerSettings, WorkerSettings
from agents.experiments.arms import ExperimentSettings
from agents.working.tracing import TraceSettings
from console.settings import ConsoleSettings
from dynamic_layer import DynamicSettings
from segue.log_format import LogSettings
from state import ArtifactStore, StateSettings
from static_layer import RaySettings, StaticSettings
from streams import (
    EventRules,
    KafkaSettings,
    RekeySettings,
    SourceSettings,
    TopicSettings,
    check_sources,
)

__all__ = ["Settings", "SettingsError", "load_settings", "write_settings"]

ENVIRONMENT = "SEGUE_"
#: What other tools call the address of Kafka.
BOOTSTRAP = "KAFKA_BOOTSTRAP_SERVERS"


class SettingsError(ValueError):
    """A setting is unknown or has a value that it cannot take; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of every room, and where this process keeps its files.

    data:      folder for local state, caches and the development broker.
    artifacts: URL of the artifact store (checkpoints and bundles), shared by all processes;
               empty means the folder `artifacts` below `data`.
    sources:   event topics of other owners that are read beside our own.
    """

    data: str = "var"
    artifacts: str = ""
    log: LogSettings = field(default_factory=LogSettings)
    trace: TraceSettings = field(default_factory=TraceSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    topics: TopicSettings = field(default_factory=TopicSettings)
    events: EventRules = field(default_factory=EventRules)
    state: StateSettings = field(default_factory=StateSettings)
    static: StaticSettings = field(default_factory=StaticSettings)
    ray: RaySettings = field(default_factory=RaySettings)
    dynamic: DynamicSettings = field(default_factory=DynamicSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    experiments: ExperimentSettings = field(default_factory=ExperimentSettings)
    sources: tuple[SourceSettings, ...] = ()
    rekey: RekeySettings = field(default_factory=RekeySettings)

    def __post_init__(self) -> None:
        """Refuse settings of rooms that contradict each other, and tell rooms what others know."""
        text_types = self.events.text_types
        if self.state.text_types not in ((), text_types):
            raise ValueError(
                f"state.text_types is {self.state.text_types}: expected those of"
                f" events.text_types, {text_types}; set them there alone"
            )
        # A frozen value is completed here as __init__ would.
        object.__setattr__(self, "state", dataclasses.replace(self.state, text_types=text_types))
        check_sources(self.sources, self.events.kinds, self.topics)

    @property
    def folder(self) -> Path:
        """Folder for local files."""
        return Path(self.data)

    def store(self) -> ArtifactStore:
        """Open the artifact store."""
        return ArtifactStore(self.artifacts or str((self.folder / "artifacts").resolve()))


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Iterable[str] = (),
) -> Settings:
    """Compose the settings.

    flags: `path=value` each. Raises SettingsError for a name that does not exist, a value of the
    wrong type, or a file that cannot be read.
    """
    environment = environment or {}
    values: dict[str, Any] = {}
    if file is not None:
        try:
            _merge(values, tomllib.loads(file.read_text()), str(file))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"settings file {file}: {error}") from error
    if BOOTSTRAP in environment:
        _put(values, "kafka.bootstrap_servers", environment[BOOTSTRAP])
    for name, value in environment.items():
        if name.startswith(ENVIRONMENT):
            _put(values, name.removeprefix(ENVIRONMENT).lower().replace("__", "."), value)
    for flag in flags:
        path, separator, value = flag.partition("=")
        if not separator:
            raise SettingsError(f"expected path=value, got {flag!r}")
        _put(values, path.strip(), value)
    try:
        return msgspec.convert(values, Settings, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(str(error)) from error


def write_settings(settings: Settings, file: Path) -> None:
    """Write the settings that differ from the defaults as TOML; `load_settings` reads it again.

    The file is for its owner alone, since it may hold passwords.
    """
    lines: list[str] = []
    _write_table(settings, Settings(), "", lines)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text("\n".join(lines).strip() + "\n")


def _write_table(value: Any, default: Any, path: str, lines: list[str]) -> None:
    nested = []
    own = []
    for item in dataclasses.fields(value):
        mine, theirs = getattr(value, item.name), getattr(default, item.name)
        if dataclasses.is_dataclass(mine):
            nested.append((f"{path}.{item.name}".lstrip("."), mine, theirs))
        elif mine != theirs:
            own.append(f"{item.name} = {_toml(mine)}")
    if own and path:
        lines.append(f"\n[{path}]")
    lines.extend(own)
    for name, mine, theirs in nested:
        _write_table(mine, theirs, name, lines)


def _toml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        parts = (f"{_toml(name)} = {_toml(part)}" for name, part in value.items())
        return "{" + ", ".join(parts) + "}"
    # JSON's strings, numbers and booleans are TOML's.
    return msgspec.json.encode(value).decode()


def _merge(values: dict[str, Any], table: Mapping[str, Any], where: str, path: str = "") -> None:
    for name, value in table.items():
        full = f"{path}.{name}".lstrip(".")
        kind = _type_of(full)
        if isinstance(value, Mapping) and dataclasses.is_dataclass(kind):
            _merge(values, value, where, full)
        else:
            _put(values, full, value)


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    kind = _type_of(path)
    if dataclasses.is_dataclass(kind):
        raise SettingsError(f"{path} is a group of settings, not a setting")
    *groups, name = path.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[name] = _listed(value, kind)
    _check_names(values[name], kind, path)


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
                    f"there is no setting '{path}.{name}': {name!r} is not one of "
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


def _type_of(path: str) -> Any:
    kind: Any = Settings
    for name in path.split("."):
        hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        if name not in hints:
            known = ", ".join(sorted(hints)) or "nothing below it"
            raise SettingsError(f"there is no setting {path!r}: {name!r} is not one of {known}")
        kind = hints[name]
    return kind
