"""All settings in one value: defaults, then a TOML file, then the environment, then flags.

A setting is named by its path, `state.window.buckets`. In TOML that is `[state.window]` with
`buckets = 30`; in the environment `SEGUE_STATE__WINDOW__BUCKETS=30`; as a flag
`--set state.window.buckets=30`. Settings that are lists of groups are arrays of tables in TOML
(`[[sources]]`), and JSON elsewhere.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import TrainerSettings, WorkerSettings
from agents.experiments.arms import ExperimentSettings
from agents.working.tracing import TraceSettings
from console.settings import ConsoleSettings
from dynamic_layer import DynamicSettings, KindWeight
from segue.compose import SettingsError, composed
from segue.log_format import LogSettings
from segue.ranges import check_ranges
from state import Action, ArtifactStore, Patience, StateSettings
from static_layer import RaySettings, StaticSettings
from streams import (
    EventRules,
    ItemSourceSettings,
    KafkaSettings,
    RekeySettings,
    SourceSettings,
    TopicSettings,
    UserSourceSettings,
    check_item_sources,
    check_sources,
    check_user_sources,
)
from streams.toml_text import toml_value

__all__ = ["Settings", "SettingsError", "load_settings", "write_settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of every package, and the location of this process's files.

    data:      folder for local state, caches and the development broker.
    artifacts: URL of the artifact store (checkpoints and bundles), shared by all processes;
               empty means the folder `artifacts` below `data`.
    sources:   external event topics that are read in addition to Segue's own.
    item_sources: external topics of items that are read in addition to Segue's own catalogue, the
               first that has an item before the others.
    user_sources: external topics of users, which `segue rekey` writes to Segue's own.
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
    item_sources: tuple[ItemSourceSettings, ...] = ()
    user_sources: tuple[UserSourceSettings, ...] = ()
    rekey: RekeySettings = field(default_factory=RekeySettings)

    def __post_init__(self) -> None:
        """Refuse contradictory settings of packages, and copy values that several packages need."""
        text_types = self.events.text_types
        if self.state.text_types not in ((), text_types):
            raise ValueError(
                f"state.text_types is {self.state.text_types}: expected those of"
                f" events.text_types, {text_types}; set them there alone"
            )
        # A frozen value is completed here as __init__ would.
        shown = any(source.format == "impressions" for source in self.sources)
        state = dataclasses.replace(self.state, text_types=text_types, impressions=shown)
        object.__setattr__(self, "state", state)
        self._set_actions()
        if self.worker.shown_lists and not any(
            source.topic == self.topics.impressions for source in self.sources
        ):
            raise ValueError(
                f"worker.shown_lists is {[*self.worker.shown_lists]}: expected a source of the"
                f" topic {self.topics.impressions} with format impressions, to which their"
                " impressions are written"
            )
        check_sources(self.sources, self.events.kinds, self.topics)
        check_item_sources(self.item_sources, self.sources, self.topics)
        others = [source.topic for source in self.sources]
        others += [source.topic for source in self.item_sources]
        check_user_sources(self.user_sources, others, self.topics)

    def _set_actions(self) -> None:
        """Tell the state and the trainer what the kinds of events mean; raises ValueError."""
        own, loss = self.events.actions, self.dynamic.loss
        graph = dict.fromkeys([*self.state.graph_kinds, *(a.kind for a in own if a.graph)])
        actions = tuple(
            Action(kind=a.kind, sign=a.sign, known=a.kind in graph if a.known is None else a.known)
            for a in own
        )
        weights = tuple(
            KindWeight(kind=a.kind, weight=0.0 if a.sign == "negative" else a.weight) for a in own
        )
        if self.state.actions not in ((), actions) or loss.kind_weights not in ((), weights):
            raise ValueError(
                "state.actions and dynamic.loss.kind_weights are copies of events.actions; set "
                "that alone"
            )
        state = dataclasses.replace(self.state, graph_kinds=tuple(graph), actions=actions)
        loss = dataclasses.replace(loss, kind_weights=weights)
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "dynamic", dataclasses.replace(self.dynamic, loss=loss))

    @property
    def personal_sources(self) -> tuple[SourceSettings | UserSourceSettings, ...]:
        """Topics of other owners with records of users: of events, and of users themselves."""
        return (*self.sources, *self.user_sources)

    @property
    def folder(self) -> Path:
        """Folder for local files."""
        return Path(self.data)

    def store(self, patience: Patience | None = None) -> ArtifactStore:
        """Open the artifact store. patience: number of attempts per operation."""
        url = self.artifacts or str((self.folder / "artifacts").resolve())
        return ArtifactStore(url, patience=patience)


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Iterable[str] = (),
) -> Settings:
    """Compose the settings.

    flags: `path=value` each. Raises SettingsError for a name that does not exist, a value of the
    wrong type or out of its range, or a file that cannot be read.
    """
    settings = composed(Settings, file, environment or {}, flags)
    try:
        check_ranges(settings)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return settings


def write_settings(settings: Settings, file: Path) -> None:
    """Write the settings that differ from the defaults as TOML that `load_settings` can read.

    Only its owner can read the file, because it can hold passwords.
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
            own.append(f"{item.name} = {toml_value(mine)}")
    if own and path:
        lines.append(f"\n[{path}]")
    lines.extend(own)
    for name, mine, theirs in nested:
        _write_table(mine, theirs, name, lines)
