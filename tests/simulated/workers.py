"""A worker of a night: the product's own, but for the ranking of lists."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents import Worker
from dynamic_layer import ItemNames, Ranking
from tests.simulated.faults import Outputs
from tests.simulated.loop import NightLoop
from tests.simulated.rows import check_rows
from tests.simulated.worlds import RULES, SOURCES, STATE, TOPICS, Texts

if TYPE_CHECKING:
    from tests.simulated.night import Night

#: Lists that each user gets.
LISTS = ("mix", "new")


class Life:
    """One worker process: from a start to a death."""

    def __init__(self, night: "Night", number: int) -> None:
        self.number, self.folder = number, night.folder / f"worker-{number}"
        self.owned: set[int] = set()
        self.read_to: dict[tuple[str, int], int] = {}
        self.models_to = 0
        self.rows_to = 0
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
            outputs=Outputs(night.log, night.fuse, night.delivery),
            clock_ms=night.clock,
            ticks_ms=night.ticks,
            sources=SOURCES,
            pause=night.pause,
            log=night.log,
            experiments=night.experiments,
        )
        self._night = night
        for channel in self.worker.channels.arms.settings.channels:
            models = self.worker.channels.following(channel)
            models.recommend = partial(self._histories, models)  # type: ignore[method-assign]

    async def _histories(self, models, users, lists, now_ms, *, fewer=1):  # type: ignore[no-untyped-def]
        """Make lists that hold the keys of their users' histories, so that they can be checked."""
        if models.recommender is None:
            return None
        night = self._night
        for channel in {night.canaries.channel_of(one.user_id, self.models_to) for one in users}:
            night.models.check_served(models, self.models_to, f"worker {self.number}", channel)
        check_rows(night, models, self.rows_to, f"worker {self.number}")
        histories = [user.history_item.tolist() for user in users]
        return models.generation, [dict.fromkeys(LISTS, _of_keys(keys)) for keys in histories]

    async def hear(self, count: int) -> bool:
        """Read the next records of the models topic; returns whether there were any."""
        records = self._night.log.read(TOPICS.models, 0, self.models_to, count)
        if records:
            await self.worker.channels.announced(records)
            self.models_to = records[-1].offset + 1
        return bool(records)

    async def hear_all(self) -> None:
        """Read what is announced, and changed rows."""
        await self.hear(100)
        await self.read_rows(100)

    async def read_rows(self, count: int) -> None:
        """Read the next records of the topic of changed rows."""
        records = self._night.log.read(TOPICS.rows, 0, self.rows_to, count)
        if records:
            await self.worker.channels.rows(records)
            self.rows_to = records[-1].offset + 1

    def states(self) -> list[Path]:
        """Folders of the states on this disk."""
        return sorted(path for path in (self.folder / "state").glob("0*") if path.is_dir())


def _of_keys(keys: list[int]) -> Ranking:
    names = ItemNames(ids=[str(key) for key in keys], types=["song"] * len(keys))
    return Ranking(names=names, rows=range(len(keys)), scores=np.zeros(len(keys), np.float32))
