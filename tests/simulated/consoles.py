"""The console of a night: the product's replica, with its own tasks, in the clock of the night."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from console.replica import Replica
from streams import topic_identities
from streams.codec import decode_events
from tests.agents.definition import counting_events, defined_dump
from tests.simulated.faults import DEATHS, flip_byte, lose, tear_wal
from tests.simulated.loop import NightLoop
from tests.simulated.policies import check_policies
from tests.simulated.rows import ReadTo, check_lists, check_rows
from tests.simulated.worlds import BY_USER, PARTITIONS, RULES, SOURCES, STATE, TOPICS, Texts
from tests.state.dumps import Dump, dump

if TYPE_CHECKING:
    from tests.simulated.night import Night


class ReplicaLife:
    """One console process: from a start to a death."""

    def __init__(self, night: "Night") -> None:
        self.loop = NightLoop(night.ticks, night.sleep)
        self.replica = Replica(
            log=night.log,
            settings=night.settings,
            state=STATE,
            topics=TOPICS,
            rules=RULES,
            store=night.store.opened(night.sleep),
            folder=night.folder / "console",
            encoder=Texts,  # type: ignore[arg-type]
            clock_ms=night.clock,
            sources=SOURCES,
            apply=4,
            experiments=night.experiments,
        )
        self.running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the states and begin to follow."""
        self.loop.run_until_complete(self.replica.__aenter__())
        self.running = self.loop.create_task(self.replica.run())

    def go_on(self, turns: int) -> None:
        """Let its tasks have so many turns; raises what it died of."""

        async def wait() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())
        if self.running is not None and self.running.done():
            self.running.result()

    def dumped(self, part: int) -> tuple[dict[str, int], Dump]:
        """Commit the states, as after a second; returns what one holds, and its positions.

        All of it in one turn: what is dumped is committed without what a commit does beside it.
        """

        async def commit() -> tuple[dict[str, int], Dump]:
            async with self.replica.turn:
                await self.replica._commit()
                positions = dict(self.replica.event_positions(part)["positions"])
                read = self.replica.partitions.position(TOPICS.catalogue, part)
                positions[TOPICS.catalogue] = read or 0
                return positions, replace(dump(self.replica.partitions[part]), demand={})

        return self.loop.run_until_complete(commit())

    def end(self) -> None:
        """Die: what was not committed is gone."""
        self.loop.give_up()
        self.replica.partitions.close_all()
        self.loop.close()


class Console:
    """What happens to the console's replica."""

    def __init__(self, night: "Night", fate: random.Random) -> None:
        self.night, self.fate = night, fate
        self.life: ReplicaLife | None = None

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        return [
            (10, self.the_console_goes_on), (2, self.the_console_dies),
            (2, self.the_console_is_asked),
        ]  # fmt: skip

    def run(self, work: Callable[[ReplicaLife], None]) -> None:
        """Do something with the console to its end, or to the console's; start one if none runs."""
        try:
            if self.life is None:
                self.life = ReplicaLife(self.night)
                self.life.start()
            work(self.life)
        except DEATHS as death:
            self.night.note(f"the console dies: {type(death).__name__}")
            self._ends()

    def _ends(self) -> None:
        if self.life is not None:
            self.life.end()
        self.life = None
        self.night.fuse.out()

    def the_console_goes_on(self) -> None:
        turns = self.fate.randint(1, 40)
        self.run(lambda life: life.go_on(turns=turns))

    def the_console_dies(self) -> None:
        """It dies between two turns; its disk may be damaged, or lost."""
        if self.life is None:
            return
        self._ends()
        folder, fate = self.night.folder / "console", self.fate.random()
        states = sorted(path for path in (folder / "state").glob("0*") if path.is_dir())
        if fate < 0.2 and states:
            self.night.note(
                f"write-ahead log torn: {tear_wal(self.fate.choice(states), self.fate)}"
            )
        elif fate < 0.35 and states:
            self.night.note(f"table damaged: {flip_byte(self.fate.choice(states), self.fate)}")
        elif fate < 0.5:
            self.night.note("disk of the console lost")
            lose(folder)

    def check_log(self) -> None:
        """Have it notice topics that were created again, as it does of Kafka each two seconds."""
        if self.life is not None:
            found = topic_identities(self.night.log, BY_USER)
            self.run(lambda life: life.loop.run_until_complete(life.replica.note_log(found)))

    def the_console_is_asked(self) -> None:
        """What it knows must be the definition of what lies before the positions that it names."""
        self.check_log()
        if self.life is None:
            return
        for line in self.differences(self.fate.randrange(PARTITIONS)):
            self.night.complain(line)

    def differences(self, part: int, defined: Dump | None = None) -> Iterator[str]:
        """Yield what differs in a partition between the replica and the definition, a line each.

        defined: the definition at the end of the log, where the replica has read to it.
        An erasure that lies further on is known before it is applied: then nothing can be said.
        """
        if self.life is None:
            return
        log = self.night.log
        named, found = self.life.dumped(part)
        records = {topic: log.read(topic, part, 0, 100_000) for topic in BY_USER}
        read = {
            topic: [one for one in those if one.offset < named[topic]]
            for topic, those in records.items()
        }
        erasures = decode_events(records[TOPICS.events], RULES)[0].erasures
        if any(erasure.offset >= named[TOPICS.events] for erasure in erasures):
            return
        ids = self.night.recreation.ids()
        events = counting_events(read, TOPICS.events, part, RULES, SOURCES, ids)
        defined = defined or defined_dump(self.night.folder / "defined", events, STATE)
        if erasures and found.watermark > defined.watermark:
            return  # erased events had told the time
        catalogue = self.night.catalogue.stored(part, named[TOPICS.catalogue])
        defined = replace(defined, catalogue=catalogue)
        yield from (f"console, partition {part}: {line}" for line in found.differences(defined))

    def work_is_done(self) -> None:
        """Let the console read what there is."""
        self.check_log()
        ends = {
            (topic, part): self.night.log.end_offset(topic, part)
            for topic in (*BY_USER, TOPICS.catalogue)
            for part in range(PARTITIONS)
        }

        def read_to(replica: Replica, topic: str, part: int) -> int:
            if topic == TOPICS.catalogue:
                return replica.partitions.position(topic, part) or 0
            return int(replica.event_positions(part)["positions"][topic])

        def unread(replica: Replica) -> list[str]:
            return [
                f"{topic}/{part} up to {end}"
                for (topic, part), end in ends.items()
                if read_to(replica, topic, part) != end
            ]

        for _ in range(100):
            self.run(lambda life: life.go_on(turns=40))
            if self.life is not None and not unread(self.life.replica):
                break
        # It commits each second, and looks for a bundle that was not there again within one.
        self.night.sleep(1.2)
        self.run(lambda life: life.go_on(turns=40))
        assert self.life is not None, "the console died where nothing fails"
        replica = self.life.replica
        for what in unread(replica):
            self.night.complain(f"the console has not read {what}")
        for channel in replica.channels.arms.settings.channels:
            models = replica.channels.serving(channel)
            self.night.models.check_served(models, 10**9, "the console", channel)
            check_rows(self.night, models, 10**9, "the console")
            check_lists(self.night, models, ReadTo.ends_of(self.night.log), "the console")
        check_policies(self.night, replica.channels.policies, 10**9, "the console")

    def close(self) -> None:
        """End it."""
        if self.life is not None:
            self.life.end()
