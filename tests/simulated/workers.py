"""A worker of a night: the product's own, but for the ranking of lists."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents import Worker
from dynamic_layer import ItemNames, Ranking
from streams import Recommendation, decode
from streams.outbox import Outgoing
from tests.simulated.faults import Outputs
from tests.simulated.loop import NightLoop
from tests.simulated.policies import check_policies, leaves
from tests.simulated.rows import ReadTo, check_lists, check_rows
from tests.simulated.worlds import PARTITIONS, RULES, SOURCES, STATE, TOPICS, Texts

if TYPE_CHECKING:
    from tests.simulated.night import Night

#: Lists that each user gets: a real one, and one of the keys of the history.
REAL, OF_HISTORY = "mix", "new"


class Life:
    """One worker process: from a start to a death."""

    def __init__(self, night: "Night", number: int) -> None:
        self.number, self.folder = number, night.folder / f"worker-{number}"
        self.owned: set[int] = set()
        self.read_to: dict[tuple[str, int], int] = {}
        self.models_to = 0
        self.read = ReadTo(catalogue={}, policies=0, rows=0)
        #: What was read when lists were made that are not written yet.
        self.made_from: ReadTo | None = None
        #: What the topics held when the process began: without it no list is written.
        self.began = ReadTo.ends_of(night.log)
        self.begin_again = number in night.recreation.begin_again
        night.recreation.begin_again.discard(number)
        self.loop = NightLoop(night.ticks, night.sleep)
        self.worker = Worker(
            settings=night.settings,
            state=STATE,
            topics=TOPICS,
            rules=RULES,
            store=night.store.opened(night.sleep),
            folder=self.folder,
            encoder=Texts,  # type: ignore[arg-type]
            outputs=_ListsLookedAt(night, self),
            clock_ms=night.clock,
            ticks_ms=night.ticks,
            sources=SOURCES,
            pause=night.pause,
            log=night.log,
            experiments=night.experiments,
        )
        self._night = night
        channels = self.worker.channels
        channels.policies.wait()
        channels._recommend = partial(self._first_made, channels._recommend)  # type: ignore[method-assign]
        for channel in self.worker.channels.arms.settings.channels:
            models = self.worker.channels.following(channel)
            real = models.recommend
            models.recommend = partial(self._lists, models, real)  # type: ignore[method-assign]

    async def _first_made(self, real, *of, **more):  # type: ignore[no-untyped-def]
        """Make lists; what leaves once they were made first may be in those made once more."""
        made = await real(*of, **more)
        if made is None or self.made_from is None:
            self.made_from = None if made is None else self.read.or_later(self.began)
        return made

    async def _lists(self, models, real, users, lists, now_ms, *, fewer=1):  # type: ignore[no-untyped-def]
        """Make a real list, and one of the keys of the user's history, which can be checked."""
        made = await real(users, lists, now_ms, fewer=fewer)
        if made is None:
            return None
        night = self._night
        for channel in {night.canaries.channel_of(one.user_id, self.models_to) for one in users}:
            night.models.check_served(models, self.models_to, f"worker {self.number}", channel)
        check_rows(night, models, self.read.rows, f"worker {self.number}")
        return made[0], [
            {REAL: rankings[REAL], OF_HISTORY: _of_keys(user.history_item.tolist())}
            for user, rankings in zip(users, made[1], strict=True)
        ]

    async def hear(self, count: int) -> bool:
        """Read the next records of the models topic; returns whether there were any."""
        records = self._night.log.read(TOPICS.models, 0, self.models_to, count)
        if records:
            await self.worker.channels.announced(records)
            self.models_to = records[-1].offset + 1
        return bool(records)

    async def hear_all(self) -> None:
        """Read what is announced, changed rows, the catalogue, and policies."""
        await self.hear(100)
        await self.read_rows(100)
        await self.read_catalogue(1_000)
        await self.read_policies(1_000)

    async def read_rows(self, count: int) -> None:
        """Read the next records of the topic of changed rows."""
        records = self._night.log.read(TOPICS.rows, 0, self.read.rows, count)
        if records:
            await self.worker.channels.rows(records)
            self.read.rows = records[-1].offset + 1

    async def read_catalogue(self, count: int) -> None:
        """Read the next records of each partition of the catalogue."""
        for part in range(PARTITIONS):
            at = self.read.catalogue.get(part, 0)
            if records := self._night.log.read(TOPICS.catalogue, part, at, count):
                # From here on no list is written with what leaves.
                self.read.catalogue[part] = records[-1].offset + 1
                await self.worker.channels.catalogue(records)
                await self.worker.channels.bring()
        if self.read.reaches(self.began, "catalogue"):
            self.worker.channels.policies.catalogue_read.set()

    async def read_policies(self, count: int) -> None:
        """Read the next records of the topic of policies."""
        if records := self._night.log.read(TOPICS.policies, 0, self.read.policies, count):
            await self.worker.channels.policies.take(records)
            self.read.policies = records[-1].offset + 1
        if self.read.reaches(self.began, "policies"):
            self.worker.channels.policies.policies_read.set()

    async def read_again(self, count: int) -> None:
        """Read the first records of catalogue and policies again, as after a lost connection."""
        log, channels = self._night.log, self.worker.channels
        for part, read in self.read.catalogue.items():
            if records := log.read(TOPICS.catalogue, part, 0, count):
                await channels.catalogue([one for one in records if one.offset < read])
                await channels.bring()
        records = log.read(TOPICS.policies, 0, 0, count)
        await channels.policies.take([one for one in records if one.offset < self.read.policies])

    def check_served(self) -> None:
        """Note lists and policies that are not those of what it has read."""
        who, channels = f"worker {self.number}", self.worker.channels
        check_lists(self._night, channels.default, self.read, who)
        check_policies(self._night, channels.policies, self.read.policies, who)

    def states(self) -> list[Path]:
        """Folders of the states on this disk."""
        return sorted(path for path in (self.folder / "state").glob("0*") if path.is_dir())


def _of_keys(keys: list[int]) -> Ranking:
    names = ItemNames(ids=[str(key) for key in keys], types=["song"] * len(keys))
    return Ranking(names=names, rows=range(len(keys)), scores=np.zeros(len(keys), np.float32))


class _ListsLookedAt(Outputs):
    """Looks at each list that a worker writes, by what is in force there at that moment."""

    def __init__(self, night: "Night", life: Life) -> None:
        super().__init__(night.log, night.fuse, night.delivery)
        self._night, self._life = night, life

    async def send_many(self, topic: str, records: list[Outgoing]) -> None:
        if topic == TOPICS.recommendations:
            self._look_at(records)
        await super().send_many(topic, records)

    def _look_at(self, records: list[Outgoing]) -> None:
        made = [decode(Recommendation, one.value) for one in records if one.value is not None]
        night, life = self._night, self._life
        known, life.made_from = life.made_from or life.read.or_later(life.began), None
        entries = night.catalogue.entries(known.catalogue)
        policy = night.policies.of_mix(known.policies)
        for said in made:
            for item in said.items if said.list == REAL else ():
                name = item.item_type, item.item_id
                entry = entries.get(name)
                if name in entries and entry is None:
                    night.complain(f"worker {life.number} lists {name}, which was taken down")
                elif not leaves(policy, name, entry):
                    night.complain(
                        f"worker {life.number} lists {name}, which version"
                        f" {policy.version if policy else 0} of a policy filters out"
                    )
