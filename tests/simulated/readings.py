"""What workers read whole, as each process does: changed rows, the catalogue, policies."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.simulated.workers import Life
from tests.simulated.worlds import PLAYER, TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night


class Readings:
    """Has workers read these topics, also again and while they make lists."""

    def __init__(self, night: "Night", fate: random.Random) -> None:
        self.night, self.fate = night, fate

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        return [
            (4, self.a_worker_reads_rows), (4, self.a_worker_reads_the_catalogue),
            (3, self.a_worker_reads_policies), (3, self.a_worker_reads_again),
            (4, self.items_leave_while_lists_are_made),
        ]  # fmt: skip

    def a_worker_reads_rows(self) -> None:
        count = self.fate.choice([1, 2, 100])
        self.reads(lambda life: life.read_rows(count))

    def a_worker_reads_the_catalogue(self) -> None:
        count = self.fate.choice([1, 4, 1_000])
        self.reads(lambda life: life.read_catalogue(count))

    def a_worker_reads_policies(self) -> None:
        count = self.fate.choice([1, 2, 100])
        self.reads(lambda life: life.read_policies(count))

    def a_worker_reads_again(self) -> None:
        count = self.fate.choice([1, 2, 8])
        self.reads(lambda life: life.read_again(count))

    def items_leave_while_lists_are_made(self) -> None:
        """The records are read between two turns of those that make and write lists."""
        if (life := self.night.worker()) is None or not life.owned:
            return
        self.night.events_come()
        for part in sorted(life.owned):
            for topic in (TOPICS.events, PLAYER):
                if life.number in self.night.lives:
                    self.night.read(life, topic, part, 100)
        self.night.sleep(2)
        self.night.catalogue.items_change()
        self.night.catalogue.items_change()
        turns = self.fate.randint(0, 3)

        async def reading(life: Life) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await life.read_catalogue(1_000)

        async def both(life: Life) -> None:
            await asyncio.gather(life.worker.tick(), reading(life))

        if life.number in self.night.lives:
            self.reads(both, life)

    def reads(
        self, work: Callable[[Life], Coroutine[Any, Any, None]], life: Life | None = None
    ) -> None:
        """Have a worker read; it serves that at once, so its lists must be those of all it read."""
        if life := life or self.night.worker():
            self.night.run(life, lambda: work(life))
            if life.number in self.night.lives:
                life.check_served()
