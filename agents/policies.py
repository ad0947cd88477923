"""Policies of lists from their topic, and the attributes they read from the catalogue."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dynamic_layer import InForce, Policies, Policy, PolicyError, rules_of
from state import item_key
from streams import Item, ListPolicy, LogRecord, readable

__all__ = ["PolicyBook", "attributes_of"]

logger = logging.getLogger(__name__)


def attributes_of(item: Item) -> Mapping[str, Any]:
    """Return an item's attributes by name, with those of the catalogue record itself."""
    if item.deleted:
        return {}
    return {
        **(item.attributes or {}),
        "type": item.item_type,
        "title": item.title,
        "language": item.language,
        "genres": item.genres,
        "published_at": item.published_at,
    }


class PolicyBook:
    """Keeps the policies in force and the columns of the catalogue as their topics are read.

    A version that cannot be compiled is refused, counted and logged; the previous one stays in
    force. Reading a record again changes nothing.

    policies_read, catalogue_read: to be set when the topic of policies, and the catalogue, are read
    to the end that they had at the start.
    """

    def __init__(self) -> None:
        """Start without policies, ready."""
        self.in_force = InForce()
        self.refused = 0
        #: Called with the list and the version when a version comes into force.
        self.changed: Callable[[str, int], None] = lambda _list, _version: None
        self.policies_read, self.catalogue_read = asyncio.Event(), asyncio.Event()
        self._newest: dict[str, int] = {}
        self._read_to = 0
        self._waiting = False

    @property
    def ready(self) -> bool:
        """Whether lists can be made as the owner wants them; stays true once it is.

        Until both topics are read it is unknown what policies say, and which items were taken down.
        """
        if self._waiting:
            self._waiting = not (self.policies_read.is_set() and self.catalogue_read.is_set())
        return not self._waiting

    def wait(self) -> None:
        """Be ready only after `policies_read` and `catalogue_read`."""
        self._waiting = True

    @property
    def versions(self) -> dict[str, int]:
        """Version in force by list."""
        return {name: one.version for name, one in self.in_force.policies.by_list.items()}

    def newest(self, list_name: str) -> int:
        """Return the greatest version of a list that was read, in force or refused; 0: none."""
        return self._newest.get(list_name, 0)

    async def take(self, records: Sequence[LogRecord]) -> None:
        """Take records of the topic of policies; those that were taken before say nothing."""
        unread = [record for record in records if record.offset >= self._read_to]
        self._read_to = max([self._read_to, *(record.offset + 1 for record in unread)])
        for _, said in readable(ListPolicy, unread):
            if said.version < self._newest.get(said.list, 0):
                continue
            self._newest[said.list] = said.version
            try:
                policy = Policy.of(rules_of(said.rules), said.version)
            except PolicyError as error:
                self.refused += 1
                logger.error(
                    "version %d of the policy of %s is refused, version %s stays in force: %s",
                    said.version, said.list, self.versions.get(said.list, "none"), error,
                )  # fmt: skip
                continue
            by_list = {**self.in_force.policies.by_list, said.list: policy}
            self.in_force.policies = Policies(by_list=by_list)
            self.changed(said.list, said.version)
            logger.info("version %d of the policy of %s is in force", said.version, said.list)
            for part in policy.without_value:
                logger.warning(
                    "version %d of the policy of %s stays in force, but a part of it is NULL; "
                    "correct it: %s", said.version, said.list, part,
                )  # fmt: skip

    def take_items(self, items: Sequence[Item]) -> None:
        """Take entries of the catalogue, in the order of their records in each partition."""
        self.in_force.columns.put(
            [item_key(item.item_type, item.item_id) for item in items],
            [attributes_of(item) for item in items],
        )
