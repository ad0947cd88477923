"""What a policy would change: lists of some users before and after, from the served bundle."""

import asyncio
from collections.abc import Sequence
from typing import Any

from agents.policy_preview import (
    asked_of_both,
    compared,
    lists_of_both,
    questions_of,
    with_effects,
    with_list_of,
)
from agents.policy_text import PolicyFile
from segue.served_bundle import served, users_of
from segue.settings import Settings
from segue.showing import titles_of
from streams.wall_clock import now_ms

__all__ = ["preview"]


async def preview(
    settings: Settings, policy: PolicyFile, named: Sequence[str], random: int, seed: int
) -> dict[str, Any]:
    """Return lists before and after, how many run short, and the effect, as JSON values.

    named: users; random: further ones, drawn from all who have a history. Histories are those of
    the latest checkpoints. Raises AdminError, CorruptArtifact where no complete bundle is served.
    """
    users = await asyncio.to_thread(users_of, settings, named, random, seed)
    async with served(settings) as serving:
        lists = with_list_of(policy, serving.lists, settings.worker.list_length)
        in_force = serving.book.in_force.policies
        sides = lists_of_both(serving.recommender, users, lists, now_ms(), in_force, policy)
        questions = questions_of(users, settings.state.window.bucket_ms)
        asked = asked_of_both(serving.recommender, questions, lists, in_force, policy)
        items = len(serving.recommender)
    titles = titles_of(serving.catalogue)
    found = compared(users, lists, sides, lambda kind, name: titles.get((kind, name)))
    return with_effects(found, asked, items)
