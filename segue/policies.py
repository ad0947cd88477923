"""Policies in files and on their topic: reading, writing, and a preview of what one changes."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agents.policies import PolicyBook
from agents.policy_preview import (
    asked_of_both,
    compared,
    lists_of_both,
    questions_of,
    with_effects,
    with_list_of,
)
from agents.policy_text import PolicyFile, parse_policy
from agents.policy_versions import AttributeTypes, newest_of, write_version
from dynamic_layer import PolicyError
from segue.served_bundle import served, users_of
from segue.settings import Settings
from segue.showing import titles_of
from streams import AdminError, ListPolicy, bulk_write, decode_users, read_catalogue, read_from
from streams.admin import partition_counts
from streams.log_record import now_ms

__all__ = ["apply", "attribute_types", "preview", "read_file", "versions"]


def read_file(file: Path) -> PolicyFile:
    """Read a policy from TOML. Raises PolicyError that names the file and the place in it."""
    try:
        return parse_policy(file.read_text())
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        raise PolicyError(f"{file}: {error}") from error


async def attribute_types(settings: Settings) -> AttributeTypes:
    """Return the types of the attributes in the topics of items and users. Raises AdminError."""
    book, topics = PolicyBook(), settings.topics
    book.take_items((await read_catalogue(settings.kafka, topics, settings.item_sources))[0])
    found = AttributeTypes.of(book.in_force.columns)
    for user in decode_users(await read_from(settings.kafka, topics.users))[0].records:
        found.add_user(user.attributes or {})
    return found


async def versions(settings: Settings, list_name: str | None = None) -> list[ListPolicy]:
    """Return the versions on the topic, by list and version; of one list only where it is named.

    Raises AdminError, also where there is no such topic.
    """
    topic = settings.topics.policies
    if not await asyncio.to_thread(partition_counts, settings.kafka, (topic,)):
        raise AdminError(f"there is no topic {topic}: run segue topics create")
    return newest_of(await read_from(settings.kafka, topic), list_name)


async def apply(
    settings: Settings, policy: PolicyFile, *, author: str, comment: str, now_ms: int
) -> ListPolicy:
    """Write a policy as the next version of its list.

    Raises PolicyConflict, BulkWriteError, AdminError.
    """
    topic = settings.topics.policies

    async def append(key: bytes, value: bytes) -> int:
        return await bulk_write(settings.kafka, topic, 1, [(key, value)])

    return await write_version(
        partial(read_from, settings.kafka, topic), append, policy,
        author=author, comment=comment, now_ms=now_ms,
    )  # fmt: skip


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
