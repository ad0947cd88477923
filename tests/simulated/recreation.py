"""Topics that are deleted and created again in a night, with fewer records and another identity."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from streams import TopicIdentity, topic_identities
from tests.agents.definition import counting_events
from tests.simulated.worlds import BY_USER, PARTITIONS, RULES, SOURCES, TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night
    from tests.simulated.workers import Life


class Recreation:
    """Deletes and creates the topics of sources; people start again the workers that end of it."""

    def __init__(self, night: "Night", fate: random.Random) -> None:
        self.night, self.fate = night, fate
        #: Numbers of workers that a person will start with --begin-again.
        self.begin_again: set[int] = set()
        #: Places of bad records of topics that are gone.
        self.bad: set[bytes] = set()
        #: Users with events that counted, in topics that are gone.
        self.users: set[str] = set()

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        return [(1, self.a_topic_is_created_again), (3, self.a_worker_checks_the_log)]

    def ids(self) -> dict[str, str]:
        """Return the ids of the topics of events."""
        return {topic: self.night.log.topic_id(topic) for topic in BY_USER}

    def found(self, life: "Life") -> dict[str, TopicIdentity]:
        """Return what the log says of the topics that a worker reads."""
        return topic_identities(self.night.log, life.worker.topics)

    def a_topic_is_created_again(self) -> None:
        night, topic = self.night, self.fate.choice([source.topic for source in SOURCES])
        log, ids = night.log, self.ids()
        for part in range(PARTITIONS):
            records = {name: log.read(name, part, 0, 100_000) for name in BY_USER}
            events = counting_events(records, TOPICS.events, part, RULES, SOURCES, ids)
            self.users |= {event.user_id for event in events}
        gone = [place for place in night.bad if place.startswith(f"{topic}/".encode())]
        self.bad.update(gone)
        for place in gone:
            del night.bad[place]
        definition = log.topics()[topic]
        log.delete_topic(topic)
        log.create_topic(definition)
        night.note(f"{topic} is another topic now")

    def a_worker_checks_the_log(self) -> None:
        """It does so each two seconds; until then it may have applied records of the new topic."""
        if life := self.night.worker():
            self.check(life)

    def check(self, life: "Life") -> None:
        """Have a worker compare what it reads with what its states were made from."""

        async def ask() -> dict[str, TopicIdentity]:
            return self.found(life)

        self.night.run(life, lambda: life.worker.check_log(ask))

    def all_begin_again(self) -> None:
        """Have all workers notice, and a person start them once with --begin-again."""
        for life in list(self.night.lives.values()):
            self.check(life)
        self.begin_again.update(range(len(self.night.lives) + PARTITIONS))
        for life in self.night.lives.values():
            life.begin_again = True
