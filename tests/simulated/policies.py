"""The policies of a night: versions that come, are refused, race each other, and are undone."""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agents.policies import PolicyBook, attributes_of
from agents.policy_text import PolicyFile
from agents.policy_versions import PolicyConflict, newest_of, undone, write_version
from dynamic_layer import InForce, Policies, Policy, rules_of
from state import item_key
from streams import Item, ListPolicy, LogRecord, decode, encode
from tests.simulated.catalogue import Name
from tests.simulated.worlds import ITEMS, TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night

_STOCK = {"item.stock": "number"}
_GOOD: tuple[dict[str, Any], ...] = (
    {},
    {"filter": "item.stock > 0", "types": _STOCK},
    {"filter": "item.type = 'song'"},
    {"bury": [{"when": "item.stock = 0", "factor": 9.0}], "types": _STOCK},
    {"slots": [{"position": 1, "item_type": "show", "item_id": ITEMS[0]}]},
)
_BAD: tuple[dict[str, Any], ...] = ({"filter": "item.stok > 0"}, {"surprise": 1})
_LISTS = ("*", "mix")


class ListPolicies:
    """Writes versions, and says what is in force where a process has read the topic to."""

    def __init__(self, night: "Night", draw: random.Random) -> None:
        self._night, self._draw = night, draw

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        if self._night.seed % 3 == 0:
            return []  # nights without a policy
        return [
            (3, self.a_policy_is_written), (1, self.a_policy_is_refused),
            (1, self.a_policy_is_undone),
        ]  # fmt: skip

    # What happens

    def a_policy_is_written(self) -> None:
        """Another person may write the same version at the same time."""
        rules = rules_of(self._draw.choice(_GOOD))
        self._write(PolicyFile(list_name=self._draw.choice(_LISTS), rules=rules))

    def a_policy_is_undone(self) -> None:
        """The version before with other rules is in force again, as a new version."""
        name = self._draw.choice(_LISTS)
        good = [said for said in self._good(1 << 60) if said.list == name]
        if not good:
            return
        earlier = [said.rules for said in good if said.rules != good[-1].rules]
        found = undone(newest_of(self._records(), name), name)[0]
        if found.rules != rules_of(earlier[-1] if earlier else {}):
            self._night.complain(f"an undo of version {good[-1].version} leads to {found.rules}")
        self._write(found)

    def a_policy_is_refused(self) -> None:
        """A producer that checks nothing writes a version that cannot be compiled."""
        name = self._draw.choice(_LISTS)
        self._append(self._next(name, self._draw.choice(_BAD)))

    def _write(self, policy: PolicyFile) -> None:
        other: ListPolicy | None = None
        races = self._draw.random() < 0.2

        async def read() -> Sequence[LogRecord]:
            nonlocal races, other
            found = self._records()
            if races:
                races, other = False, self._next(policy.list_name, self._draw.choice(_GOOD))
                self._append(other)
            return found

        async def append(key: bytes, value: bytes) -> None:
            self._night.log.append(TOPICS.policies, key, value)

        writing = write_version(
            read, append, policy, author="ann", comment="", now_ms=self._night.now
        )
        with suppress(PolicyConflict):
            self._night.learning.loop.whole(writing)
        if other is not None and self.in_force(1 << 60)[other.list] != other:
            self._night.complain(f"version {other.version} of a policy is not what was first")

    def _next(self, name: str, rules: dict[str, Any]) -> ListPolicy:
        newest = max((one.version for one in newest_of(self._records(), name)), default=0)
        return ListPolicy(
            list=name, version=newest + 1, author="bob", created_at=self._night.now, rules=rules
        )

    def _append(self, said: ListPolicy) -> None:
        self._night.log.append(TOPICS.policies, said.key, encode(said))

    def _records(self) -> list[LogRecord]:
        return list(self._night.log.read(TOPICS.policies, 0, 0, 100_000))

    # What has to be so

    def _good(self, read_to: int) -> list[ListPolicy]:
        """Return the versions that are no bad ones, ascending; of each the last record."""
        last: dict[tuple[str, int], ListPolicy] = {}
        for record in self._records():
            if record.offset < read_to:
                said = decode(ListPolicy, record.value or b"")
                last[said.list, said.version] = said
        good = [said for said in last.values() if said.rules not in _BAD]
        return sorted(good, key=lambda said: said.version)

    def in_force(self, read_to: int) -> dict[str, ListPolicy]:
        """Return by list the greatest version that is no bad one."""
        return {said.list: said for said in self._good(read_to)}

    def of_mix(self, read_to: int) -> ListPolicy | None:
        """Return the policy in force of the list `mix`: its own, if that has rules, or of all."""
        found = self.in_force(read_to)
        own = found.get("mix")
        return own if own is not None and own.rules else found.get("*")

    def compiled(self, read_to: int, entries: Mapping[Name, Item | None]) -> InForce:
        """Return what recommenders read: policies, and the attributes of the entries."""
        found = InForce()
        found.columns.put(
            [item_key(*name) for name in entries],
            [{} if item is None else attributes_of(item) for item in entries.values()],
        )
        found.policies = Policies(
            by_list={
                name: Policy.of(rules_of(said.rules), said.version)
                for name, said in self.in_force(read_to).items()
            }
        )
        return found


def leaves(said: ListPolicy | None, name: Name, item: Item | None) -> bool:
    """Return whether a policy's filter leaves an item; None: it has no entry."""
    match said.rules.get("filter") if said is not None else None:
        case "item.stock > 0":
            return item is not None and bool((item.attributes or {}).get("stock"))
        case "item.type = 'song'":
            # Of an item without an entry no attribute is known.
            return item is not None and name[0] == "song"
    return True


def check_policies(night: "Night", book: PolicyBook, read_to: int, who: str) -> None:
    """Note policies that are not in force where a process has read to."""
    expected = {name: said.version for name, said in night.policies.in_force(read_to).items()}
    if book.versions != expected:
        night.complain(f"{who} has versions {book.versions} of policies, not {expected}")
