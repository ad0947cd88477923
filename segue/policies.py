"""Policies in files and on their topic: reading files, attributes and versions, writing these."""

import asyncio
from functools import partial
from pathlib import Path

from agents.policies import PolicyBook
from agents.policy_text import PolicyFile, parse_policy
from agents.policy_versions import AttributeTypes, newest_of, write_version
from dynamic_layer import PolicyError
from segue.settings import Settings
from streams import AdminError, ListPolicy, bulk_write, decode_users, read_catalogue, read_from
from streams.admin import partition_counts

__all__ = ["apply", "attribute_types", "read_file", "versions"]


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
