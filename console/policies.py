"""Policies of lists over HTTP: their versions, checks while they are written, previews, changes."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from agents.policy_preview import (
    Asked,
    BothSides,
    Question,
    asked_of_both,
    compared,
    lists_of_both,
    questions_of,
    with_effects,
    with_list_of,
)
from agents.policy_text import Fault, PolicyFile, fault_in, parse_policy, policy_text
from agents.policy_versions import (
    AttributeTypes,
    checked,
    difference,
    fault_of,
    in_force,
    newest_of,
    undone,
    write_version,
)
from console import state_reads
from console.replica import Replica
from console.serving import NotReady
from console.writers import Writer
from dynamic_layer import (
    EVERY_LIST,
    ListSettings,
    PolicyError,
    PolicyRules,
    Recommender,
    UserState,
    default_lists,
    rules_of,
)
from dynamic_layer.policies.columns import BUILT_IN
from dynamic_layer.policies.expressions import FUNCTIONS, REQUEST, USER
from streams import ListPolicy, LogRecord, read_from
from streams.admin import partition_counts

__all__ = ["BadPolicy", "Change", "NoPolicyTopic", "PolicyEditing", "PreviewOf"]

logger = logging.getLogger(__name__)

#: Users whose attributes are read to find the types, and seconds until they are read again.
TYPED_USERS, TYPES_S = 100_000, 30.0
#: Users whose lists are made together in a preview; requests have their turn between two batches.
TOGETHER = 16


class BadPolicy(ValueError):
    """Workers would refuse a policy. fault: where and why."""

    def __init__(self, fault: Fault) -> None:
        """Carry the fault."""
        super().__init__(f"{fault.where}: {fault.what}" if fault.where else fault.what)
        self.fault = fault


class NoPolicyTopic(LookupError):
    """There is no topic of policies."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Who changes a policy and why; after: the newest version that they know of, 0 for none."""

    after: int
    author: str
    comment: str


@dataclass(frozen=True, kw_only=True)
class PreviewOf:
    """Named users of a preview, and the number of further ones, drawn by a seed."""

    users: Sequence[str]
    random: int
    seed: int


class PolicyEditing:
    """Reads, checks, previews and writes policies, as `segue policy` does."""

    def __init__(
        self, replica: Replica, writer: Writer, clock_ms: Callable[[], int],
        lists: Sequence[ListSettings], list_length: int,
    ) -> None:  # fmt: skip
        """lists, list_length: of the workers, for previews; as in their settings."""
        self._replica, self._writer, self._clock_ms = replica, writer, clock_ms
        self._lists, self._length = tuple(lists), list_length
        self._writing, self._reading_types = asyncio.Lock(), asyncio.Lock()
        self._of_users: tuple[float, AttributeTypes] | None = None

    async def lists(self) -> list[dict[str, Any]]:
        """Lists with their versions, newest first, as JSON values; `*` first."""
        records = await self._records()
        found = newest_of(records)
        types = await self.types()
        names = {EVERY_LIST, *(one.name for one in self._made()), *(one.list for one in found)}
        return await asyncio.to_thread(
            lambda: [
                _list(name, [one for one in found if one.list == name], types)
                for name in sorted(names, key=lambda name: (name != EVERY_LIST, name))
            ]
        )

    def names(self) -> set[str]:
        """Names of the lists that workers make and of those that have a policy in force."""
        in_force = self._replica.channels.policies.in_force.policies.by_list
        return {one.name for one in self._made()} | ({*in_force} - {EVERY_LIST})

    async def words(self) -> dict[str, Any]:
        """What a condition can name, for an editor: attributes with types, and functions."""
        types: dict[str, str] = (await self.types()).types
        types |= {f"item.{name}": of for name, of in BUILT_IN.items() if of != "title"}
        types |= {f"user.{name}": of for name, of in USER.items()}
        types |= {f"request.{name}": of for name, of in REQUEST.items()}
        return {
            "attributes": dict(sorted(types.items())),
            "functions": list(FUNCTIONS),
            "rules": list(PolicyRules.__struct_fields__),
        }

    async def types(self) -> AttributeTypes:
        """Types of the attributes that the catalogue has now, and users had lately."""
        async with self._reading_types:
            now = time.monotonic()
            if self._of_users is None or now - self._of_users[0] > TYPES_S:
                found = await asyncio.to_thread(self._types_of_users)
                self._of_users = (now, found)
            of_items = AttributeTypes.of(self._replica.channels.policies.in_force.columns)
        return AttributeTypes(found={**of_items.found, **self._of_users[1].found})

    async def check(self, text: str) -> PolicyFile:
        """Return a policy as workers would take it. Raises BadPolicy."""
        types = await self.types()
        try:
            return await asyncio.to_thread(lambda: checked(parse_policy(text), types))
        except PolicyError as error:
            raise BadPolicy(fault_in(text, error)) from error

    def difference(self, policy: PolicyFile) -> tuple[int, list[str]]:
        """Return a list's newest version (0: none), and the lines that the policy changes.

        As far as this console has followed the topic: a check is made at each pause in typing.
        """
        book = self._replica.channels.policies
        current = book.in_force.policies.by_list.get(policy.list_name)
        names = (f"version {current.version}" if current else "no policy", "this policy")
        rules = current.rules if current else PolicyRules()
        return book.newest(policy.list_name), difference(rules, policy.rules, names)

    async def apply(self, text: str, change: Change) -> ListPolicy:
        """Put a policy in force. Raises BadPolicy, PolicyConflict, NotWritten, NoPolicyTopic."""
        return await self._write(await self.check(text), change)

    async def undo(self, list_name: str, change: Change) -> ListPolicy:
        """Put the version before the one in force in force again.

        Raises BadPolicy where there is none, PolicyConflict, NotWritten, NoPolicyTopic.
        """
        try:
            policy, said = undone(newest_of(await self._records(), list_name), list_name)
        except PolicyError as error:
            raise BadPolicy(Fault(where="list", what=str(error))) from error
        comment = change.comment or said
        return await self._write(
            policy, Change(after=change.after, author=change.author, comment=comment)
        )

    async def preview(self, text: str, of: PreviewOf) -> dict[str, Any]:
        """Return lists of users before and after, and the effect, as JSON values.

        Raises BadPolicy, NotReady.
        """
        policy, replica = await self.check(text), self._replica
        users = [
            await replica.user(name)
            for name in await asyncio.to_thread(_drawn, replica, of)
        ]  # fmt: skip
        models, now = replica.models, self._clock_ms()
        if models.recommender is None:
            raise NotReady
        lists = with_list_of(policy, self._made(), self._length)
        current = replica.channels.policies.in_force.policies

        def both(batch: Sequence[UserState], recommender: Recommender) -> BothSides:
            return lists_of_both(recommender, batch, lists, now, current, policy)

        def both_asked(batch: Sequence[Question], recommender: Recommender) -> list[Asked]:
            return asked_of_both(recommender, batch, lists, current, policy)

        sides: BothSides = ([], [])
        for first in range(0, len(users), TOGETHER):
            made = await models.ask(partial(both, users[first : first + TOGETHER]))
            if made is None:
                raise NotReady
            for side, more in zip(sides, made[1], strict=True):
                side.extend(more)
        questions = questions_of(users, replica.state_settings.window.bucket_ms)
        asked: list[Asked] = []
        for first in range(0, len(questions), TOGETHER):
            answers = await models.ask(partial(both_asked, questions[first : first + TOGETHER]))
            if answers is None:
                raise NotReady
            asked += answers[1]
        found = compared(users, lists, sides, partial(state_reads.title, replica))
        return with_effects(found, asked, len(models.recommender))

    async def _write(self, policy: PolicyFile, change: Change) -> ListPolicy:
        topic = self._replica.topics.policies
        async with self._writing:
            said = await write_version(
                self._records, partial(self._writer.append, topic), policy,
                author=change.author, comment=change.comment, now_ms=self._clock_ms(),
                after=change.after,
            )  # fmt: skip
        logger.info(
            "version %d of the policy of %s was written by %s",
            said.version, said.list, said.author,
        )  # fmt: skip
        return said

    def _made(self) -> Sequence[ListSettings]:
        """Return the lists that workers make; none where that depends on a bundle to come."""
        recommender = self._replica.models.recommender
        if self._lists or recommender is None:
            return self._lists
        return default_lists(recommender.bundle.types, self._length)

    async def _records(self) -> list[LogRecord]:
        log, topic = self._replica.log, self._replica.topics.policies
        if not await asyncio.to_thread(partition_counts, log, (topic,)):
            raise NoPolicyTopic(f"there is no topic {topic}: run segue topics create")
        return await read_from(log, topic)

    def _types_of_users(self) -> AttributeTypes:
        found = AttributeTypes()
        for attributes in islice(state_reads.user_attributes(self._replica), TYPED_USERS):
            found.add_user(attributes)
        return found


def _list(name: str, versions: Sequence[ListPolicy], types: AttributeTypes) -> dict[str, Any]:
    current = in_force(versions)
    return {
        "list": name,
        "newest": versions[-1].version if versions else 0,
        "in_force": current.version if current else None,
        "versions": [
            {
                "version": said.version,
                "author": said.author,
                "comment": said.comment,
                "created_at": said.created_at,
                "text": _text(said, types),
                "in_force": said is current,
                "fault": fault_of(said),
            }
            for said in reversed(versions)
        ],
    }


def _text(said: ListPolicy, types: AttributeTypes) -> str:
    """Return a version as TOML, without the types that the catalogue says by itself."""
    try:
        rules = rules_of(said.rules)
    except PolicyError:
        return ""
    own = {name: of for name, of in rules.types.items() if types.types.get(name) != of}
    rules = msgspec.structs.replace(rules, types=own)
    return policy_text(PolicyFile(list_name=said.list, rules=rules))


def _drawn(replica: Replica, of: PreviewOf) -> list[str]:
    """Return ids of the named users and of others that have a history."""
    named = list(dict.fromkeys(of.users))
    if not of.random:
        return named
    others = sorted(set(state_reads.users_like(replica, "", None)) - set(named))
    drawn = np.random.default_rng(of.seed).permutation(len(others))[: of.random].tolist()
    return [*named, *(others[n] for n in drawn)]
