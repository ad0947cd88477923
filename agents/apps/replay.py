"""A partition's log into a fresh state, by the worker's own code and nothing else.

What a worker would have written on the way (dead letters, examples, answers, receipts) goes
nowhere.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agents.catalog import Catalog
from agents.erasure import withdraw_nothing
from agents.ingest import Ingest
from agents.outputs import NoOutputs
from agents.settings import WorkerSettings
from agents.working.tally import Tally
from state import PartitionState, StateSettings
from streams import EventRules, LogRecord, SourceSettings, TopicSettings, event_decoders

__all__ = ["Replay"]

#: Records between two commits, at most. Histories that wait for a commit are held in memory.
COMMIT_RECORDS = 100_000


class Replay:
    """A state that is made from spans of its partition's topics, in any order of the topics.

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
        sources: Sequence[SourceSettings] = (),
    ) -> None:
        """Make the state in `folder`; raises FileExistsError if that is there already."""
        folder.mkdir(parents=True, exist_ok=False)
        self.state = PartitionState(folder, partition, state)
        self.tally = Tally()
        states, nowhere = {partition: self.state}, NoOutputs()
        self._settings = settings
        self._ingest = Ingest(
            settings,
            topics,
            event_decoders(topics.events, sources, rules),
            states,
            nowhere,
            self.tally,
            withdraw_nothing,
        )
        self._catalog = Catalog(topics, states, nowhere, self.tally)
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
        """Close the state; what was not committed is gone."""
        self.state.close()

    def _commit(self) -> None:
        self.state.commit()
        self._waiting = 0
