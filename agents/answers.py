"""Makes and writes lists; a failure for one user does not affect the others."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np

from agents.bundles.channels import Channels, Served
from agents.outputs import Outputs
from agents.reasons import explained_items, explored_places, filtered_items
from agents.settings import WorkerSettings
from agents.working.partitions import States, user_state
from agents.working.request_queue import Asked
from agents.working.tally import Tally
from agents.working.tracing import Traces
from dynamic_layer import ListSettings, ListWatch, UserState, default_lists, hashed_share
from state import DamagedState, PartitionState
from streams import (
    MAX_SHOWN,
    AssumedImpression,
    DeadLetter,
    Reason,
    Recommendation,
    ShownItem,
    Source,
    TopicSettings,
    dead_letter,
    encode,
)
from streams.dead_letters import MAX_DETAIL_CHARACTERS
from streams.lists import listed_items
from streams.log_source import log_refused
from streams.outbox import Headers, Outgoing

__all__ = ["Answers", "UserBatch"]

logger = logging.getLogger(__name__)


class UserBatch(NamedTuple):
    """Users to answer, with the states that were read.

    read_to: of each user, the offset to which the topic of events had been read.
    failed: users whose state could not be read, with the reason.
    """

    asked: list[Asked]
    users: list[UserState]
    read_to: list[int]
    failed: list[tuple[Asked, Exception]]


class Answers:
    """Makes lists for users and writes them.

    Each user of a batch gets lists or a dead letter with the reason `failed`. A batch that raises
    is divided until the failing users are isolated. If every user of a batch fails, a user without
    history is tried: if that fails too, the error is not specific to users and is raised.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        partitions: States,
        channels: Channels,
        outputs: Outputs,
        tally: Tally,
        clock_ms: Callable[[], int],
        traces: Traces | None = None,
    ) -> None:
        """Read and write through the objects given."""
        self._settings = settings
        self._topics = topics
        self._partitions = partitions
        self._channels = channels
        self._outputs = outputs
        self._tally = tally
        self._clock_ms = clock_ms
        self._traces = traces
        #: Users erased while lists are made: one set for each batch in progress.
        self._withdrawn: list[set[str]] = []

    @property
    def possible(self) -> bool:
        """Whether a bundle is available for answers, and policies are known."""
        return self._channels.possible

    def withdraw(self, user: str) -> None:
        """Drop an erased user: write nothing more, except for later events or requests."""
        if self._traces is not None:
            self._traces.withdraw(user)
        for withdrawn in self._withdrawn:
            withdrawn.add(user)

    def read(self, asked: Sequence[Asked]) -> UserBatch:
        """Read the states of users, whose partitions are open. Raises DamagedState."""
        batch = UserBatch([], [], [], [])
        for one, in_share in zip(asked, self._in_share(asked), strict=True):
            state = self._partitions[one.touched.partition]
            try:
                user = user_state(state, one.touched.user_id)
                if one.touched.context is not None:
                    user = replace(user, context=msgspec.structs.asdict(one.touched.context))
            except DamagedState:
                raise
            except Exception as error:
                batch.failed.append((one, error))
            else:
                batch.asked.append(one)
                batch.users.append(_watched(one, user, state) if in_share else user)
                batch.read_to.append(state.position(self._topics.events) or 0)
        return batch

    def _in_share(self, asked: Sequence[Asked]) -> list[bool]:
        """Return which answers the comparison with training reads."""
        settings = self._settings
        # Shares are nested: these events have examples with whole histories.
        share = min(settings.skew_share, settings.example_share * settings.whole_share)
        offsets = np.array([one.touched.offset for one in asked], np.int64)
        chosen: list[bool] = hashed_share(offsets, share).tolist()
        return chosen

    async def write(self, batch: UserBatch, *, fewer: int = 1) -> bool:
        """Write the lists of a batch; returns False, with nothing written, without a bundle.

        Do not await anything between `read` and this call: an erasure in between would be missed.
        fewer: see `Recommender.recommend`.
        """
        with self._withdrawable() as withdrawn:
            if self._traces is None:
                return await self._write(batch, withdrawn, {}, fewer=fewer)
            users = [one.touched.user_id for one in batch.asked]
            with self._traces.answering(users) as headers:
                return await self._write(batch, withdrawn, headers, fewer=fewer)

    def lists(self, types: Sequence[str]) -> Sequence[ListSettings]:
        """Return the lists that are made."""
        return self._settings.lists or default_lists(types, self._settings.list_length)

    @contextmanager
    def _withdrawable(self) -> Iterator[set[str]]:
        withdrawn: set[str] = set()
        self._withdrawn.append(withdrawn)
        try:
            yield withdrawn
        finally:
            # By identity: two sets of the same users are equal.
            self._withdrawn = [other for other in self._withdrawn if other is not withdrawn]

    async def _write(
        self, batch: UserBatch, withdrawn: set[str], headers: Mapping[str, Headers], *, fewer: int
    ) -> bool:
        made = await self._make_or_raise(batch.users, fewer=fewer)
        if made is None:
            return False
        failed, records, by_arm = list(batch.failed), list[Outgoing](), Counter[str | None]()
        letters: list[DeadLetter] = []
        shown: list[Outgoing] = []
        for one, read_to, served in zip(batch.asked, batch.read_to, made, strict=True):
            if one.touched.user_id in withdrawn:
                continue
            if isinstance(served, Exception):
                failed.append((one, served))
                continue
            if unknown := one.lists - served.rankings.keys():
                letters.append(_unknown_lists(one, unknown, served))
            of_user = self._records(one, served, headers.get(one.touched.user_id))
            records += of_user
            shown += self._assumed(one, read_to, served)
            by_arm[served.arm] += len(of_user)
        failures = [_failed(o, error) for o, error in failed if o.touched.user_id not in withdrawn]
        if failures:
            self._tally.failed(len(failures))
            logger.error("no lists for %d users", len(failures), exc_info=failed[0][1])
        await self._refuse(letters + failures)
        good = [served for served in made if not isinstance(served, Exception)]
        self._tally.shortened(Counter(served.arm for served in good if served.shortened))
        # An erasure from here on sends its own record behind these.
        await self._outputs.send_many(self._topics.recommendations, records)
        if shown:
            await self._outputs.send_many(self._topics.impressions, shown)
        await self._write_features(batch, withdrawn)
        arms = {arm: count for arm, count in by_arm.items() if arm is not None}
        self._tally.answered(len(records), arms)
        return True

    async def _write_features(self, batch: UserBatch, withdrawn: set[str]) -> None:
        """Write what the head read of watched users behind their examples."""
        for one, user in zip(batch.asked, batch.users, strict=True):
            because = one.touched
            if user.watch is None or because.user_id in withdrawn:
                continue
            read = user.watch.chosen(because.partition, because.offset)
            if read is not None:
                key = f"{because.topic}/{because.partition}".encode()
                await self._outputs.send(self._topics.examples, key, read.pack())

    async def _refuse(self, letters: Sequence[DeadLetter]) -> None:
        log_refused(logger, letters)
        self._tally.refused(letters)
        for letter in letters:
            await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))

    async def _make_or_raise(
        self, users: Sequence[UserState], *, fewer: int
    ) -> list[Served | Exception] | None:
        """Return the lists of each user, or why there are none; None without a bundle."""
        if not users:
            return [] if self.possible else None
        made = await self._make(users, fewer=fewer)
        if made is None or not all(isinstance(one, Exception) for one in made):
            return made
        await self._channels.recommend([_NO_USER], self.lists, self._clock_ms(), fewer=fewer)
        return await self._make(users, fewer=fewer) if len(users) == 1 else made

    async def _make(
        self, users: Sequence[UserState], *, fewer: int
    ) -> list[Served | Exception] | None:
        try:
            found = await self._channels.recommend(users, self.lists, self._clock_ms(), fewer=fewer)
            return None if found is None else [*found]
        except Exception as error:
            if len(users) == 1:
                return [error]
        half = len(users) // 2
        first = await self._make(users[:half], fewer=fewer)
        second = await self._make(users[half:], fewer=fewer)
        return None if first is None or second is None else first + second

    def _assumed(self, one: Asked, read_to: int, served: Served) -> Iterator[Outgoing]:
        """Yield impressions of the lists that count as shown."""
        for name in self._settings.shown_lists:
            ranking = served.rankings.get(name)
            if ranking is None or not len(ranking.rows) or (one.lists and name not in one.lists):
                continue
            names, rows = ranking.names, list(ranking.rows)[:MAX_SHOWN]
            items = [
                ShownItem(item_id=names.ids[row], item_type=names.types[row], position=place)
                for place, row in enumerate(rows, 1)
            ]
            record = AssumedImpression(
                user_id=one.touched.user_id, items=items, timestamp=self._clock_ms(), list_id=name,
                made_at=read_to,
            )  # fmt: skip
            yield Outgoing(record.key, encode(record), None)

    def _records(self, one: Asked, served: Served, headers: Headers | None) -> list[Outgoing]:
        """Return the records of the lists that a user is to get."""
        because, found = one.touched, []
        for name, ranking in served.rankings.items():
            if one.lists and name not in one.lists:
                continue
            record = Recommendation(
                user_id=because.user_id,
                list=name,
                items=explained_items(ranking)
                if ranking.why
                else listed_items(ranking.names, ranking.rows, ranking.scores.tolist()),
                filtered=filtered_items(ranking),
                explored=explored_places(ranking),
                generation=served.generation,
                arm=served.arm,
                by_head=ranking.by_head,
                source=_source(one),
                event_timestamp=because.event_timestamp,
                created_at=self._clock_ms(),
            )
            found.append(Outgoing(record.key, encode(record), headers))
        return found


_NO_USER = UserState(
    user_id="",
    history_item=np.zeros(0, np.uint64),
    history_time=np.zeros(0, np.int64),
    history_strong=np.zeros(0, np.bool_),
)


def _watched(one: Asked, user: UserState, state: PartitionState) -> UserState:
    """Have what the head reads of a user collected.

    Only where an event is the reason and the newest of the history: then the event's example holds
    all the rest of the history. Disliked items are left out of histories that are served, and not
    of those of examples.
    """
    because = one.touched
    if one.record is not None or not len(user.history_time) or len(user.disliked):
        return user
    if int(user.history_time[0]) != because.event_timestamp:
        return user
    return replace(user, watch=ListWatch(topic=state.log_name(because.topic)))


def _source(one: Asked) -> Source:
    because = one.touched
    return Source(topic=because.topic, partition=because.partition, offset=because.offset)


def _unknown_lists(one: Asked, unknown: frozenset[str], served: Served) -> DeadLetter:
    known = ", ".join(served.rankings)
    detail = f"expected lists among {known}; got {', '.join(sorted(unknown))}"
    return _letter(one, Reason.UNKNOWN_LIST, detail)


def _failed(one: Asked, error: Exception) -> DeadLetter:
    detail = f"no lists could be made for this user: {type(error).__name__}: {error}"
    return _letter(one, Reason.FAILED, detail)


def _letter(one: Asked, reason: Reason, detail: str) -> DeadLetter:
    """Return the letter for a request, or for the event because of which lists were to be made."""
    if one.record is not None:
        return dead_letter(one.record, reason, detail)
    # The event itself is applied. Its value is not at hand, but its place is.
    return DeadLetter(
        reason=reason,
        detail=detail[:MAX_DETAIL_CHARACTERS],
        source=_source(one),
        payload="",
        encoding="utf-8",
        payload_bytes=0,
    )
