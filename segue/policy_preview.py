"""What a policy would change: lists of some users before and after, from the served bundle."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.bundles.models import Models
from agents.policies import PolicyBook
from agents.policy_preview import compared, lists_of_both, with_list_of
from agents.policy_text import PolicyFile
from agents.working.partitions import user_state
from dynamic_layer import UserState, default_lists
from segue.roles import make_encoder
from segue.settings import Settings
from segue.showing import titles_of
from state import Checkpoints, CorruptArtifact
from streams import decode_items, murmur2_partition, read_from
from streams.admin import partition_counts
from streams.wall_clock import now_ms

__all__ = ["preview"]


@dataclass(frozen=True, kw_only=True)
class _Users:
    named: Sequence[str]
    random: int
    seed: int


async def preview(
    settings: Settings, policy: PolicyFile, named: Sequence[str], random: int, seed: int
) -> dict[str, Any]:
    """Return the lists of users before and after, and how many run short, as JSON values.

    named: users; random: further ones, drawn from all who have a history. Histories are those of
    the latest checkpoints. Raises AdminError, CorruptArtifact where no whole bundle is served.
    """
    users = await asyncio.to_thread(
        _users, settings, _Users(named=named, random=random, seed=seed)
    )  # fmt: skip
    topics = settings.topics
    encoder = await asyncio.to_thread(make_encoder, settings)
    book = PolicyBook()
    with tempfile.TemporaryDirectory(prefix="segue-preview-") as scratch:
        models = Models(
            settings.store(), Path(scratch), lambda: encoder, now_ms, in_force=book.in_force
        )
        try:
            if await asyncio.to_thread(partition_counts, settings.kafka, (topics.policies,)):
                await book.take(await read_from(settings.kafka, topics.policies))
            await models.announced(await read_from(settings.kafka, topics.models))
            if models.recommender is None:
                raise CorruptArtifact(
                    "no whole bundle is served: `segue status` shows what was announced"
                )
            catalogue = await read_from(settings.kafka, topics.catalogue)
            items = decode_items(catalogue)[0].records
            book.take_items(items)
            await models.catalogue(items)
            recommender, now = models.recommender, now_ms()
            lists = settings.worker.lists or default_lists(
                recommender.bundle.types, settings.worker.list_length
            )
            lists = with_list_of(policy, lists, settings.worker.list_length)
            sides = lists_of_both(recommender, users, lists, now, book.in_force.policies, policy)
        finally:
            encoder.close()
    titles = titles_of(catalogue)
    return compared(users, lists, sides, lambda kind, name: titles.get((kind, name)))


def _users(settings: Settings, wanted: _Users) -> list[UserState]:
    """Return the states of users from the latest checkpoints."""
    partitions = settings.topics.partitions
    rng = np.random.default_rng(wanted.seed)
    found: dict[str, UserState] = {}
    for partition in range(partitions):
        mine = [
            user
            for user in wanted.named
            if murmur2_partition(user.encode(), partitions) == partition
        ]
        share = wanted.random // partitions + (partition < wanted.random % partitions)
        if not mine and not share:
            continue
        with tempfile.TemporaryDirectory(prefix="segue-preview-") as scratch:
            state = Checkpoints(settings.store()).open_or_restore(
                Path(scratch) / "state", partition, settings.state
            )
            try:
                others = sorted(state.user_ids() - set(mine)) if share else []
                drawn = rng.permutation(len(others))[:share].tolist()
                for user in [*mine, *(others[n] for n in drawn)]:
                    found[user] = user_state(state, user)
            finally:
                state.close()
    return list(found.values())
