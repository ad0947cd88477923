"""What the models topic says, and what has to be so of it at each moment of a night."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.bundles.announcements import announcement_of
from agents.bundles.models import Models
from state.artifacts import MANIFEST, file_digest
from streams import announcement_key
from tests.simulated.worlds import TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night


class ModelsTopic:
    """Follows the topic by itself: which bundle is in force behind each record of it."""

    def __init__(self, night: "Night") -> None:
        self._night = night
        #: Name of the bundle to serve behind so many records; None before the first.
        self.in_force: list[str | None] = [None]
        #: Names and generations of the trainer's bundles, as they were announced.
        self.announced: list[tuple[str, int]] = []
        self._pinned: str | None = None
        self.static: str | None = None

    def check(self) -> None:
        """Read what is new, and note what is wrong with it; call it after each happening."""
        night = self._night
        for record in night.log.read(TOPICS.models, 0, len(self.in_force) - 1, 1_000):
            said = announcement_of(record)
            if said is None:
                self._pinned = None if record.key == announcement_key("pinned") else self._pinned
            elif said.kind == "pinned":
                self._pinned = said.name
            elif said.kind == "static":
                self.static = said.name
            else:
                self._announced(said.name, said.generation)
            newest = self.announced[-1][0] if self.announced else None
            self.in_force.append(self._pinned or newest)
        name = self.in_force[-1]
        if name is not None and not (self._folder(name) / MANIFEST).exists():
            night.complain(f"bundle {name} is in force, and not in the store")

    def _announced(self, name: str, generation: int) -> None:
        night = self._night
        if missing := self.missing(name):
            night.complain(f"bundle {name} is announced, and {missing}")
        if self.announced and generation <= self.announced[-1][1]:
            night.complain(f"{name} is announced after {self.announced[-1][0]}")
        decisions = [one for one in self._decisions() if one["bundle"] == name]
        if decisions and decisions[-1]["reasons"]:
            night.complain(f"{name} is announced, and the gate refused it")
        before = self.announced[-1][0] if self.announced else None
        # With a pin, or before the trainer has heard of the newest, another one is in force for it.
        life = night.learning.life
        heard = self.in_force[min(life.models_to, len(self.in_force) - 1)] if life else None
        if decisions and decisions[-1]["served"] not in (None, before, heard):
            night.complain(
                f"the gate held {name} against {decisions[-1]['served']}, where {before} is newest"
            )
        self.announced.append((name, generation))

    def _decisions(self) -> list[dict[str, Any]]:
        file = self._night.store.folder / "quality" / "decisions.json"
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

    def check_served(self, models: Models, read_to: int, who: str) -> None:
        """Note a process that makes lists by another bundle than is in force where it has read to.

        The one before may stay while the one in force is gone: it was pruned after later ones came.
        """
        expected = self.in_force[min(read_to, len(self.in_force) - 1)]
        found = models.serving
        if expected is not None and found != expected and not self.missing(expected):
            self._night.complain(f"{who} serves {found}, where {expected} is in force")
