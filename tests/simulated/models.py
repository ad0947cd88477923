"""What the models topic says, and what has to be so of it at each moment of a night."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.bundles.announcements import announcement_of
from agents.bundles.models import Models
from state.artifacts import MANIFEST, file_digest
from streams import DEFAULT_CHANNEL, announcement_key
from tests.simulated.worlds import CANARY, TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night


@dataclass
class _Channel:
    """in_force: name of the bundle to serve behind so many records; None before the first.

    announced: names and generations of its trainer's bundles, as they were announced.
    """

    pinned: str | None = None
    in_force: list[str | None] = field(default_factory=lambda: [None])
    announced: list[tuple[str, int]] = field(default_factory=list)


class ModelsTopic:
    """Follows the topic by itself: which bundle is in force behind each record of it."""

    def __init__(self, night: "Night") -> None:
        self._night = night
        self._channels = {name: _Channel() for name in (DEFAULT_CHANNEL, CANARY)}
        self._read = 0
        self.static: str | None = None

    def in_force(self, channel: str, read_to: int) -> str | None:
        """Name of the bundle of a channel behind so many records; None without one."""
        behind = self._channels[channel].in_force
        return behind[min(read_to, len(behind) - 1)]

    def check(self) -> None:
        """Read what is new, and note what is wrong with it; call it after each happening."""
        for record in self._night.log.read(TOPICS.models, 0, self._read, 1_000):
            self._read += 1
            said = announcement_of(record)
            if said is not None and said.kind == "static":
                self.static = said.name
            for name, channel in self._channels.items():
                if said is not None and said.channel == name and said.kind == "pinned":
                    channel.pinned = said.name
                elif said is not None and said.channel == name and said.kind == "dynamic":
                    self._announced(channel, name, said.name, said.generation)
                elif said is None and record.key == announcement_key("pinned", name):
                    channel.pinned = None
                newest = channel.announced[-1][0] if channel.announced else None
                channel.in_force.append(channel.pinned or newest)
            self._night.canaries.announced(record)
        for channel in self._channels.values():
            name = channel.in_force[-1]
            if name is not None and not (self._folder(name) / MANIFEST).exists():
                self._night.complain(f"bundle {name} is in force, and not in the store")

    def _announced(self, channel: _Channel, of: str, name: str, generation: int) -> None:
        night, before = self._night, channel.announced[-1] if channel.announced else None
        if missing := self.missing(name):
            night.complain(f"bundle {name} is announced, and {missing}")
        if before and generation <= before[1]:
            night.complain(f"{name} is announced after {before[0]}")
        decisions = [one for one in self._decisions(of) if one["bundle"] == name]
        if decisions and decisions[-1]["reasons"]:
            night.complain(f"{name} is announced, and the gate refused it")
        # With a pin, or before the trainer has heard of the newest, another one is in force for it.
        life = night.learning.life if of == DEFAULT_CHANNEL else None
        heard = self.in_force(of, life.models_to) if life else None
        newest = before[0] if before else None
        if decisions and decisions[-1]["served"] not in (None, newest, heard):
            night.complain(
                f"the gate held {name} against {decisions[-1]['served']}, where {newest} is newest"
            )
        channel.announced.append((name, generation))

    def _decisions(self, channel: str) -> list[dict[str, Any]]:
        name = "decisions.json" if channel == DEFAULT_CHANNEL else f"decisions-{channel}.json"
        file = self._night.store.folder / "quality" / name
        found: list[dict[str, Any]] = json.loads(file.read_bytes()) if file.exists() else []
        return found

    def _folder(self, name: str) -> Path:
        return self._night.store.folder / "dynamic" / name

    def missing(self, name: str) -> str | None:
        """What a dynamic bundle lacks in the store; None where it is complete."""
        folder = self._folder(name)
        if not (folder / MANIFEST).exists():
            return "it has no manifest in the store"
        for file, expected in json.loads((folder / MANIFEST).read_bytes())["files"].items():
            if not (folder / file).exists():
                return f"{file} is not in the store"
            if file_digest(folder / file) != expected:
                return f"{file} is not in the store as its manifest says"
        return None

    def check_served(
        self, models: Models, read_to: int, who: str, channel: str = DEFAULT_CHANNEL
    ) -> None:
        """Note a process that makes lists by another bundle than is in force where it has read to.

        The one before may stay while the one in force is gone: it was pruned after later ones came.
        A channel without a bundle of its own is served by that of the default channel.
        """
        expected = self.in_force(channel, read_to) or self.in_force(DEFAULT_CHANNEL, read_to)
        found = models.serving
        if expected is not None and found != expected and not self.missing(expected):
            self._night.complain(
                f"{who} serves {found} to channel {channel}, where {expected} is in force"
            )
