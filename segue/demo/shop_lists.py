"""What a foreign consumer sees of a shop's lists: which hold an item that is gone, or break a rule.

It reads the topic of recommendations as any other program could: JSON by the names of the schema,
in no consumer group, with the log's own times.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from streams import LogRecord
from streams.log_following import Log, follow

__all__ = ["ALLOWED_MS", "IN_FORCE_MS", "Consumer", "Name", "Removal", "RuleFigures", "WrittenList"]

Name = tuple[str, str]
"""Item type and id."""

#: Lists that are written later than this after an item is gone must not hold it.
ALLOWED_MS = 1_000
#: Time after which lists follow a policy: one that was being made before may be written until then.
IN_FORCE_MS = 2_000


class WrittenList(NamedTuple):
    """A list and the log's time of it, ms UTC."""

    at_ms: int
    user: str
    items: tuple[Name, ...]


@dataclass(kw_only=True)
class Removal:
    """An item that left the shop, and what the lists after it show.

    at_ms: the log's time of the catalogue record. before: lists that held the item in live traffic
    until then. checked: lists written more than `ALLOWED_MS` after it; violations: of these, lists
    that hold the item; last_ms: time from the record to the last list that held it, if any did.
    """

    what: str
    item: Name
    title: str
    at_ms: int
    before: int = 0
    checked: int = 0
    violations: int = 0
    last_ms: int | None = None

    def count(self, lists: Collection[WrittenList]) -> None:
        """Fill in what lists show."""
        late = self.at_ms + ALLOWED_MS
        held = [one for one in lists if self.item in one.items]
        self.before = sum(one.at_ms < self.at_ms for one in held)
        self.checked = sum(one.at_ms > late for one in lists)
        self.violations = sum(one.at_ms > late for one in held)
        after = [one.at_ms - self.at_ms for one in held if one.at_ms >= self.at_ms]
        self.last_ms = max(after, default=None)

    def figures(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(kw_only=True)
class RuleFigures:
    """Lists that were checked against the rules, and how many break one; by rule."""

    lists: int = 0
    other_market: int = 0
    sold_out: int = 0
    creator: int = 0

    @classmethod
    def of(
        cls,
        lists: Collection[WrittenList],
        applied_ms: int,
        attributes: Mapping[Name, Mapping[str, Any]],
        countries: Mapping[str, str],
        most: int,
    ) -> "RuleFigures":
        """Count over the lists from `IN_FORCE_MS` after the policy came, ms UTC.

        attributes: of the items at the start; most: of one creator.
        """
        counted = [one for one in lists if one.at_ms > applied_ms + IN_FORCE_MS]
        found = cls(lists=len(counted))
        for one in counted:
            items = [attributes[item] for item in one.items]
            country = countries.get(one.user)
            found.other_market += any(country not in item["markets"] for item in items)
            found.sold_out += any(item["stock"] <= 0 for item in items)
            by_creator = Counter(item["creator"] for item in items)
            found.creator += any(count > most for count in by_creator.values())
        return found

    @property
    def broken(self) -> int:
        """Rules that lists break, over all lists."""
        return self.other_market + self.sold_out + self.creator


class Consumer:
    """Follows the topic of recommendations from its end on."""

    def __init__(self, log: Log, topic: str, ends: Mapping[int, int]) -> None:
        """Read from `ends`, by partition, on."""
        self.lists: list[WrittenList] = []
        self._log, self._topic = log, topic
        self._at = dict(ends)
        self._names: dict[Name, Name] = {}

    async def run(self) -> None:
        """Read without end."""
        first = {(self._topic, partition): offset for partition, offset in self._at.items()}
        async for records in follow(self._log, first, 4_096):
            for record in records:
                self._take(record)
            self._at[records[0].partition] = records[-1].offset + 1
            await asyncio.sleep(0)

    def has_read(self, ends: Mapping[int, int]) -> bool:
        """Whether it has read everything before these offsets."""
        return all(self._at.get(partition, 0) >= end for partition, end in ends.items())

    def most_frequent(self, wanted: Collection[Name]) -> Name | None:
        """Return which of some items most lists hold; None where no list holds one."""
        counts = Counter(item for one in self.lists for item in one.items)
        return next((item for item, _ in counts.most_common() if item in wanted), None)

    def _take(self, record: LogRecord) -> None:
        if record.value is None:
            return
        found = json.loads(record.value)
        names = [(item["item_type"], item["item_id"]) for item in found["items"]]
        items = tuple(self._names.setdefault(name, name) for name in names)
        self.lists.append(WrittenList(record.timestamp, found["user_id"], items))
