"""Events into state; examples, dead letters and users to answer out of it."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from agents.experiments.arms import Arms
from agents.outputs import Outputs
from agents.settings import WorkerSettings
from agents.working.partitions import States
from agents.working.tally import Tally
from agents.working.tracing import Traces
from agents.working.waiting import TouchedUsers
from dynamic_layer import ExampleBatch
from state import Erased, Observations, PartitionState, apply_in_order
from state.kernel import I64
from streams import (
    DeadLetter,
    EventBatch,
    EventDecoder,
    LogRecord,
    Reason,
    TopicSettings,
    dead_letter,
    encode,
)
from streams.log_source import log_refused

__all__ = ["Ingest"]

logger = logging.getLogger(__name__)

#: Examples of one record on the examples topic: about a megabyte with full histories.
EXAMPLES_PER_RECORD = 1_000


class Ingest:
    """Applies batches of events to the partitions' states.

    decoders: by topic, what makes events of its records.
    learning: whether examples are written. They are worth nothing before the first static bundle:
    an example is trained on only with a graph that ends before it.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        decoders: Mapping[str, EventDecoder],
        partitions: States,
        outputs: Outputs,
        tally: Tally,
        withdraw: Callable[[str, int, Iterable[str], Sequence[Erased]], Awaitable[None]],
        traces: Traces | None = None,
        arms: Arms | None = None,
    ) -> None:
        """Read and write through the objects given.

        arms: of the users, for the examples.
        withdraw: called with a topic, a partition, the users of its erasures, and those erasures
            that were not in the state already.
        """
        self._settings = settings
        self._topics = topics
        self.decoders = decoders
        self._partitions = partitions
        self._outputs = outputs
        self._tally = tally
        self._withdraw = withdraw
        self._traces = traces
        self._arms = arms
        self.learning = False

    async def __call__(self, records: Sequence[LogRecord]) -> TouchedUsers:
        """Apply records of one partition, in offset order; returns the users to answer.

        Records that are in the state already change nothing, but their users are returned: they
        are read again because some of these were not answered.
        """
        if self._traces is None:
            return await self._take(records, _untraced)
        with self._traces.ingesting(records) as applied:
            return await self._take(records, applied)

    async def _take(
        self, records: Sequence[LogRecord], in_state: Callable[[], None]
    ) -> TouchedUsers:
        topic, partition = records[0].topic, records[0].partition
        state = self._partitions[partition]
        position = state.position(topic) or 0
        events, letters = self.decoders[topic](records)
        letters = [letter for letter in letters if letter.source.offset >= position]
        applied = apply_in_order(
            state,
            topic,
            events,
            events.erasures,
            records[-1].offset + 1,
            refused=len(letters),
            wanted=self._sampled if self.learning else None,
            observe=self._settings.example_history,
        )
        in_state()
        letters += self._too_old(records, events, applied.too_old)
        log_refused(logger, letters)
        for letter in letters:
            await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))
        examples = _examples(topic, state, events, applied.observations)
        if self._arms and len(examples):
            examples = _with_arms(examples, self._arms, events, applied.observations)
        for start in range(0, len(examples), EXAMPLES_PER_RECORD):
            rows = np.arange(start, min(start + EXAMPLES_PER_RECORD, len(examples)))
            await self._outputs.send(
                self._topics.examples, f"{topic}/{partition}".encode(), examples.take(rows).pack()
            )
        gone = {erasure.user_id: erasure.offset for erasure in events.erasures}
        if gone:
            await self._withdraw(topic, partition, gone, applied.erased)
        self._tally.events(partition, records, applied, letters, len(examples))
        latest = dict(zip(events.user_id, range(len(events)), strict=True))
        if gone:
            latest = {u: row for u, row in latest.items() if events.offset[row] > gone.get(u, -1)}
        rows = np.fromiter(latest.values(), np.int64, len(latest))
        return TouchedUsers(
            topic=topic,
            partition=partition,
            user_id=list(latest),
            offset=events.offset[rows].tolist(),
            event_timestamp=events.timestamp[rows].tolist(),
            first=records[0].offset,
        )

    def _sampled(self, offsets: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Choose offsets by a hash, so that a replay chooses the same."""
        mixed = offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        threshold = np.uint64(min(int(self._settings.example_share * 2**64), 2**64 - 1))
        chosen: np.ndarray[tuple[int], np.dtype[np.bool_]] = mixed <= threshold
        return chosen

    def _too_old(
        self, records: Sequence[LogRecord], events: EventBatch, rows: I64
    ) -> list[DeadLetter]:
        if not len(rows):
            return []
        by_offset = {record.offset: record for record in records}
        return [
            dead_letter(
                by_offset[int(events.offset[row])],
                Reason.TOO_OLD,
                f"timestamp {events.timestamp[row]} lies behind the window of the partition",
            )
            for row in rows
        ]


def _untraced() -> None:
    """Note nothing."""


def _examples(
    topic: str, state: PartitionState, events: EventBatch, seen: Observations
) -> ExampleBatch:
    """Join observed histories with their events and with what is known of the users."""
    rows = seen.row
    users = [state.user(events.user_id[row]) for row in rows.tolist()]
    graph = state.settings.graph_kinds
    return ExampleBatch(
        topic=topic,
        partition=state.partition,
        offset=events.offset[rows],
        target=state.items.keys[
            state.items.numbers(
                [events.item_type[row] for row in rows.tolist()],
                [events.item_id[row] for row in rows.tolist()],
            )
        ],
        timestamp=events.timestamp[rows],
        strong=np.array([events.kind[row] in graph for row in rows.tolist()], bool),
        repeat=seen.repeat,
        country=[str(user.get("country") or "") for user in users],
        birth_year=np.array([user.get("birth_year") or 0 for user in users], np.int16),
        indptr=seen.indptr,
        history_item=seen.item_keys,
        history_time=seen.time,
        history_strong=seen.strong,
    )


def _with_arms(
    examples: ExampleBatch, arms: Arms, events: EventBatch, seen: Observations
) -> ExampleBatch:
    """Note the users' arms, and nothing else of who they are."""
    users = [events.user_id[row] for row in seen.row.tolist()]
    of = {user: arms.of(user) or "" for user in set(users)}
    return replace(examples, arm=[of[user] for user in users])
