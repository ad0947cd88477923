"""Applies events to the state; outputs examples, dead letters and users to answer."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agents.erased import ErasedUsers
from agents.experiments.arms import Arms
from agents.forgetting import apply_records
from agents.outputs import Outputs
from agents.settings import WorkerSettings
from agents.working.ahead import refuse_ahead
from agents.working.partitions import States
from agents.working.tally import Tally
from agents.working.tracing import Traces
from agents.working.waiting import TouchedUsers
from dynamic_layer import ExampleBatch, ShownColumns, hashed_share, kind_code
from state import Erased, Observations, PartitionState
from state.batches import Bools
from state.kernel import I64
from streams import (
    DeadLetter,
    EventBatch,
    EventDecoder,
    EventRules,
    LogRecord,
    Reason,
    TopicSettings,
    are_impressions,
    dead_letter,
    encode,
    without_rows,
)
from streams.log_source import log_refused

__all__ = ["Ingest"]

logger = logging.getLogger(__name__)

#: Examples of one record on the examples topic: about a megabyte with full histories.
EXAMPLES_PER_RECORD = 1_000


class Ingest:
    """Applies batches of events to the partitions' states.

    decoders: by topic, what makes events of its records.
    learning: whether examples are written. They are useless before the first static bundle: an
              example is used only with a graph that ends before it.
    with_shown: whether examples say what users had been shown. Trainers of earlier versions cannot
                read such examples.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        decoders: Mapping[str, EventDecoder],
        partitions: States,
        outputs: Outputs,
        tally: Tally,
        erased: ErasedUsers,
        withdraw: Callable[[str, int, Iterable[str], Sequence[Erased]], Awaitable[None]],
        rules: EventRules,
        clock_ms: Callable[[], int],
        traces: Traces | None = None,
        arms: Arms | None = None,
    ) -> None:
        """Read and write through the objects given.

        rules, clock_ms: which events are refused, and the time, where the log's is not its own.
        arms: of the users, for the examples.
        erased: users whose earlier records do not count; those met here are added.
        withdraw: called with a topic, a partition, the users of its erasures, and those erasures
            that were not in the state already.
        """
        self._settings = settings
        self._topics = topics
        self.decoders = decoders
        self._partitions = partitions
        self._outputs = outputs
        self._tally = tally
        self._erased = erased
        self._withdraw = withdraw
        self._rules = rules
        self._clock_ms = clock_ms
        self._traces = traces
        self._arms = arms
        self.learning = self.with_shown = False

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
        events, ahead = refuse_ahead(
            events, records, watermark=state.watermark, window=state.settings.window,
            rules=self._rules, now_ms=self._clock_ms(),
        )  # fmt: skip
        letters = sorted(letters + ahead, key=lambda letter: letter.source.offset)
        letters = [letter for letter in letters if letter.source.offset >= position]
        applied, covered = await apply_records(
            self._erased,
            state,
            self.decoders,
            records,
            events,
            refused=len(letters),
            wanted=self._sampled if self.learning else None,
            observe=state.settings.history_cap,
        )
        in_state()
        letters += self._too_old(records, events, applied.too_old)
        log_refused(logger, letters)
        for letter in self._erased.without(records, letters):
            await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))
        examples = self._cut(_examples(topic, state, events, applied.observations))
        if self.with_shown and len(examples):
            examples = _with_shown(examples, state, events, applied.observations)
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
        self._tally.events(partition, records, applied, letters, len(examples), events.ignored)
        asking = _asking(events, covered, gone)
        return TouchedUsers(
            topic=topic,
            partition=partition,
            user_id=asking.user_id,
            offset=asking.offset,
            event_timestamp=asking.timestamp,
            first=records[0].offset,
            context=events.context,
        )

    def _sampled(self, offsets: I64) -> Bools:
        """Choose the events that become examples."""
        return hashed_share(offsets, self._settings.example_share)

    def _cut(self, examples: ExampleBatch) -> ExampleBatch:
        """Cut the histories of most examples; the examples that stay whole are a share by offset.

        The trainer holds out the first part of the same share, so that what it judges by is whole.
        """
        settings = self._settings
        whole = hashed_share(examples.offset, settings.example_share * settings.whole_share)
        return examples.cut(np.where(whole, np.iinfo(np.int64).max, settings.example_history))

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
                f"timestamp {events.timestamp[row]} is older than the window of the partition",
            )
            for row in rows
        ]


def _asking(events: EventBatch, covered: Bools | None, gone: Mapping[str, int]) -> EventBatch:
    """Return the events whose users are to be answered.

    covered: rows that do not count. gone: offset of the last erasure of users.
    """
    if are_impressions(events):
        # What was shown asks for no new list: that one would be shown in its turn.
        return without_rows(events, range(len(events)))
    left_out = set() if covered is None else set(np.flatnonzero(covered).tolist())
    if gone:
        left_out.update(
            row
            for row, (user, offset) in enumerate(
                zip(events.user_id, events.offset.tolist(), strict=True)
            )
            if offset <= gone.get(user, -1)
        )
    return without_rows(events, left_out) if left_out else events


def _untraced() -> None:
    """Note nothing."""


def _examples(
    topic: str, state: PartitionState, events: EventBatch, seen: Observations
) -> ExampleBatch:
    """Join observed histories with their events and with what is known of the users."""
    rows = seen.row
    users = [state.user(events.user_id[row]) for row in rows.tolist()]
    kinds = [events.kind[row] for row in rows.tolist()]
    graph = state.settings.graph_kinds
    return ExampleBatch(
        topic=state.log_name(topic),
        partition=state.partition,
        offset=events.offset[rows],
        target=seen.target,
        timestamp=events.timestamp[rows],
        strong=np.array([kind in graph for kind in kinds], bool),
        repeat=seen.repeat,
        country=[str(user.get("country") or "") for user in users],
        birth_year=np.array([user.get("birth_year") or 0 for user in users], np.int16),
        indptr=seen.indptr,
        history_item=seen.item_keys,
        history_time=seen.time,
        history_strong=seen.strong,
        kind=_kinds(state, kinds),
    )


def _kinds(state: PartitionState, kinds: Sequence[str]) -> NDArray[np.uint64] | None:
    """Return the codes of events' kinds, u64 [n]; None where no kind has a meaning of its own."""
    if not state.settings.actions:
        return None
    codes = {kind: kind_code(kind) for kind in set(kinds)}
    return np.array([codes[kind] for kind in kinds], np.uint64)


def _with_shown(
    examples: ExampleBatch, state: PartitionState, events: EventBatch, seen: Observations
) -> ExampleBatch:
    """Note what the users had been shown before, where the histories are whole.

    Ranking heads read both, and nothing of cut histories.
    """
    whole = np.diff(examples.indptr) == np.diff(seen.indptr)
    found = [
        state.shown(events.user_id[row]).before(time) if one else None
        for row, time, one in zip(
            seen.row.tolist(), examples.timestamp.tolist(), whole.tolist(), strict=True
        )
    ]
    columns = ShownColumns.of(found)
    return replace(examples, shown=columns) if len(columns.item) else examples


def _with_arms(
    examples: ExampleBatch, arms: Arms, events: EventBatch, seen: Observations
) -> ExampleBatch:
    """Note the users' arms, and nothing else of who they are."""
    users = [events.user_id[row] for row in seen.row.tolist()]
    of = {user: arms.of(user) or "" for user in set(users)}
    return replace(examples, arm=[of[user] for user in users])
