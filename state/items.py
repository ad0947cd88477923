"""Dense numbers for the items that a partition has seen."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from state import database
from state.database import Database
from state.keys import item_key

__all__ = ["ItemNumbers"]

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, str]).decode


class ItemNumbers:
    """Numbers 0, 1, 2, .. by first sight, and the key and name behind each.

    Numbers differ between partitions and between orders of arrival: nothing outside of a
    partition's database names an item by number.
    """

    def __init__(self, names: list[tuple[str, str]]) -> None:
        """Items in the order of their numbers, as (type, id)."""
        self._names = names
        self._by_type: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._keys = np.zeros(max(1024, 2 * len(names)), np.uint64)
        for number, (item_type, item_id) in enumerate(names):
            self._keys[number] = item_key(item_type, item_id)
            self._by_type[item_type][item_id] = number
        self._saved = len(names)

    @classmethod
    def read(cls, source: Database) -> "ItemNumbers":
        """Read the items of a database."""
        rows = source.scan(database.ITEMS, database.after(database.ITEMS))
        return cls([_unpack(value) for _, value in rows])

    @property
    def keys(self) -> npt.NDArray[np.uint64]:
        """Item keys, uint64 [>= n]; rows behind the last number are zero."""
        return self._keys

    def __len__(self) -> int:
        return len(self._names)

    def numbers(self, types: Sequence[str], ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Numbers of items, given to new ones on the way: int64 [n]."""
        by_type = self._by_type
        found = [by_type[t].get(i) for t, i in zip(types, ids, strict=True)]
        if None in found:
            for row, number in enumerate(found):
                if number is None:
                    name = types[row], ids[row]
                    known = self.find(*name)
                    found[row] = self._add(name) if known is None else known
        return np.array(found, np.int64)

    def find(self, item_type: str, item_id: str) -> int | None:
        """Number of an item; None if this partition has not seen it."""
        return self._by_type.get(item_type, {}).get(item_id)

    def name(self, number: int) -> tuple[str, str]:
        """Type and id of an item."""
        return self._names[number]

    def take_new(self) -> Iterator[tuple[int, bytes]]:
        """Number and stored form of the items that were added since the last call."""
        for number in range(self._saved, len(self._names)):
            yield number, _pack(self._names[number])
        self._saved = len(self._names)

    def _add(self, name: tuple[str, str]) -> int:
        number = len(self._names)
        if number == len(self._keys):
            self._keys = np.concatenate([self._keys, np.zeros_like(self._keys)])
        self._names.append(name)
        self._keys[number] = item_key(*name)
        item_type, item_id = name
        self._by_type[item_type][item_id] = number
        return number
