"""The catalogue of a night: items come, are taken down, come back, and change their attributes."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streams import Item, encode
from tests.simulated.worlds import ITEMS, PARTITIONS, TOPICS, TYPES

if TYPE_CHECKING:
    from tests.simulated.night import Night

Name = tuple[str, str]
"""Type and id of an item."""
ALL_OF_IT = dict.fromkeys(range(PARTITIONS), 1 << 60)


class Catalogue:
    """Writes entries, and says what is in force where a process has read the topic to."""

    def __init__(self, night: "Night", draw: random.Random) -> None:
        self._night, self._draw = night, draw
        self._names: list[Name] = [(of, item) for of in TYPES for item in ITEMS]
        self._launched = 0
        #: Partition, offset, and what was written there; None for a record without a value.
        self._said: list[tuple[int, int, Name, Item | None]] = []
        for name in self._names:
            if draw.random() < 0.7:  # the others have no entry, and so no attribute
                self._write(name, deleted=False)

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        return [(2, self.an_item_is_launched), (5, self.items_change)]

    def an_item_is_launched(self) -> None:
        """An item that no bundle has. It keeps its title: its vector is made of that once."""
        self._launched += 1
        name = self._draw.choice(TYPES), f"launch-{self._launched}"
        self._names.append(name)
        self._write(name, deleted=False)

    def items_change(self) -> None:
        """Some are taken down, also by a record without a value, come back, or are out of stock.

        Those that have changed before are drawn more often.
        """
        changed = [name for *_, name, _ in self._said[-8:]]
        for _ in range(self._draw.randint(1, 3)):
            name = self._draw.choice(self._draw.choice([self._names, changed or self._names]))
            if self._draw.random() < 0.1:
                place = self._night.log.append(TOPICS.catalogue, "\0".join(name).encode(), None)
                self._said.append((*place, name, None))
            else:
                self._write(name, deleted=self._draw.random() < 0.5)

    def _write(self, name: Name, *, deleted: bool) -> None:
        item = Item(
            item_type=name[0], item_id=name[1], title=name[1], deleted=deleted,
            attributes={"stock": self._draw.randint(0, 2)},
        )  # fmt: skip
        place = self._night.log.append(TOPICS.catalogue, item.key, encode(item))
        self._said.append((*place, name, item))

    def entries(self, read_to: Mapping[int, int]) -> dict[Name, Item | None]:
        """Return the entries in force where a process has read each partition to an offset.

        None for an item that was taken down.
        """
        return {
            name: None if item is None or item.deleted else item
            for part, offset, name, item in self._said
            if offset < read_to.get(part, 0)
        }

    def stored(self, part: int, end: int) -> dict[bytes, bytes]:
        """Return what the state of a partition has of the records before an offset."""
        entries = self.entries({part: end}).values()
        return {item.key: encode(item) for item in entries if item is not None}
