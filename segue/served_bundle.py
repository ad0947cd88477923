"""What workers serve, in this process: bundle, policies, catalogue, histories of users."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.bundles.models import Models
from agents.demand import live_popularity, shown_counts
from agents.policies import PolicyBook
from agents.working.partitions import user_state
from dynamic_layer import ListSettings, Recommender, UserState, default_lists
from segue.roles import make_encoder
from segue.settings import Settings
from state import Checkpoints, CorruptArtifact, open_or_restore
from streams import Item, KafkaSettings, LogRecord, murmur2_partition, read_catalogue, read_from
from streams.admin import partition_counts
from streams.log_record import now_ms

__all__ = ["Served", "read_if_there", "served", "users_of"]


@dataclass(frozen=True, kw_only=True)
class Served:
    """What workers serve, in this process.

    lists: that are made; catalogue: its items, each once, deleted ones among them.
    """

    recommender: Recommender
    book: PolicyBook
    lists: Sequence[ListSettings]
    catalogue: Sequence[Item]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Served]:
    """Make a recommender of the served bundle, the policies in force, the catalogue and counts.

    Raises AdminError, CorruptArtifact where no complete bundle is served.
    """
    topics = settings.topics
    encoder = await asyncio.to_thread(make_encoder, settings)
    book = PolicyBook()
    with tempfile.TemporaryDirectory(prefix="segue-served-") as scratch:
        models = Models(
            settings.store(), Path(scratch), lambda: encoder, now_ms,
            live_popularity(settings.state, settings.worker.demand_hours),
            shown=shown_counts(settings.state), in_force=book.in_force,
        )  # fmt: skip
        try:
            await book.take(await read_if_there(settings.kafka, topics.policies))
            await models.demand(await read_from(settings.kafka, topics.demand))
            await models.announced(await read_from(settings.kafka, topics.models))
            await models.rows_changed(await read_if_there(settings.kafka, topics.rows))
            if models.recommender is None:
                raise CorruptArtifact(
                    "no complete bundle is served: `segue status` shows what was announced"
                )
            catalogue, _ = await read_catalogue(settings.kafka, topics, settings.item_sources)
            book.take_items(catalogue)
            await models.catalogue(catalogue)
            lists = settings.worker.lists or default_lists(
                models.recommender.bundle.types, settings.worker.list_length
            )
            yield Served(
                recommender=models.recommender, book=book, lists=lists, catalogue=catalogue
            )
        finally:
            encoder.close()


async def read_if_there(kafka: KafkaSettings, topic: str) -> Sequence[LogRecord]:
    """Return all records of a topic; none where a log of an earlier version has no such topic."""
    if not await asyncio.to_thread(partition_counts, kafka, (topic,)):
        return []
    return await read_from(kafka, topic)


def users_of(
    settings: Settings, named: Sequence[str], random: int = 0, seed: int = 0
) -> list[UserState]:
    """Return the states of named users, and of others at random, from the latest checkpoints."""
    partitions = settings.topics.partitions
    rng = np.random.default_rng(seed)
    found: dict[str, UserState] = {}
    for partition in range(partitions):
        mine = [user for user in named if murmur2_partition(user.encode(), partitions) == partition]
        share = random // partitions + (partition < random % partitions)
        if not mine and not share:
            continue
        with tempfile.TemporaryDirectory(prefix="segue-preview-") as scratch:
            state = open_or_restore(
                Checkpoints(settings.store()), Path(scratch) / "state", partition, settings.state
            )
            try:
                others = sorted(state.user_ids() - set(mine)) if share else []
                drawn = rng.permutation(len(others))[:share].tolist()
                for user in [*mine, *(others[n] for n in drawn)]:
                    found[user] = user_state(state, user)
            finally:
                state.close()
    return list(found.values())
