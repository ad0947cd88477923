"""Replays a partition's log into a new state with the worker's code.

Outputs of the worker (dead letters, examples, answers, receipts) are discarded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.catalog import Catalog
from agents.erased import ErasedUsers
from agents.erasure import withdraw_nothing
from agents.ingest import Ingest
from agents.outputs import NoOutputs
from agents.settings import WorkerSettings
from agents.working.tally import Tally
from state import PartitionState, StateSettings
from streams import EventRules, LogRecord, PersonalTopic, TopicSettings, event_decoders
from streams.log_record import now_ms

__all__ = ["Replay"]

#: Records between two commits, at most. Histories that wait for a commit are held in memory.
COMMIT_RECORDS = 100_000


class Replay:
    """A state built from spans of its partition's topics, in any order of the topics.

    The result is the state that a worker has after the same records: a pure function of them.
    """

    def __init__(
        self,
        folder: Path,
        partition: int,
        *,
        settings: WorkerSettings,
        state: StateSettings,
        topics: TopicSettings,
        rules: EventRules,
        sources: Sequence[PersonalTopic] = (),
        clock_ms: Callable[[], int] = now_ms,
        erased: ErasedUsers | None = None,
    ) -> None:
        """Create the state in `folder`; raises FileExistsError if it exists.

        erased: erasures that apply from the beginning; default: only those that it reads.
        """
        folder.mkdir(parents=True, exist_ok=False)
        self.state = PartitionState(folder, partition, state)
        self.tally = Tally()
        states, nowhere = {partition: self.state}, NoOutputs()
        erased = ErasedUsers(topics) if erased is None else erased
        self._settings = settings
        self._ingest = Ingest(
            settings,
            topics,
            event_decoders(topics.events, sources, rules),
            states,
            nowhere,
            self.tally,
            erased,
            withdraw_nothing,
            rules,
            clock_ms,
        )
        self._catalog = Catalog(topics, states, nowhere, self.tally, erased)
        self._topics = topics
        self._waiting = 0

    @property
    def dead_letters(self) -> Counter[str]:
        """Records that could not be applied, by reason."""
        return self.tally.dead_letters

    async def handle(self, records: Sequence[LogRecord]) -> None:
        """Apply records of one topic, in offset order."""
        topic = records[0].topic
        if topic in self._ingest.decoders:
            await self._ingest(records)
        elif topic == self._topics.catalogue:
            await self._catalog.items(records)
        else:
            await self._catalog.users(records)
        self._waiting += len(records)
        full = self.state.pending > self._settings.commit_deltas
        if full or self._waiting >= COMMIT_RECORDS:
            self._commit()

    def reached(self, topic: str, offset: int) -> None:
        """Note that a topic was read up to `offset`, even if its last records were compacted."""
        self.state.apply_users(topic, (), offset)

    def finish(self) -> None:
        """Commit everything, merge runs, and rewrite the files that held erased users."""
        self._commit()
        self.state.merge_runs()
        self.state.compact_erased()

    def close(self) -> None:
        """Close the state; uncommitted changes are lost."""
        self.state.close()

    def _commit(self) -> None:
        self.state.commit()
        self._waiting = 0
