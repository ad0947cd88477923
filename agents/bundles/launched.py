"""Items of the catalogue that a bundle does not have: followed, encoded, added in batches."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agents.bundles.catalogue_frame import catalogue_frame
from dynamic_layer import NewItems, times_of
from state import item_key
from static_layer import TextEncoder, catalogue_texts
from streams import Item

__all__ = ["Launched", "encoded"]

#: New items that are embedded at once.
FRESH_BATCH = 256


class Holder(Protocol):
    """What knows items: a worker's recommender, or a trainer."""

    def knows(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Return which items are held, bool [m]."""

    def lasting(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Return which items are of the static bundle, bool [m]."""


class Launched:
    """Follows catalogue entries of any partition, for workers and for the trainer.

    Entries stay until a static bundle has their items. A dynamic bundle that has them is no
    reason to forget: an earlier one may be served again.
    """

    def __init__(self) -> None:
        """Start without entries."""
        self._waiting: dict[int, Item] = {}
        self.deleted: set[int] = set()

    def take(self, entries: Sequence[Item]) -> tuple[set[int], set[int]]:
        """Take entries; returns the keys that were deleted, and those of the others."""
        items = {item_key(item.item_type, item.item_id): item for item in entries}
        gone = {key for key, item in items.items() if item.deleted}
        live = {key: item for key, item in items.items() if not item.deleted}
        self.deleted = (self.deleted | gone) - live.keys()
        self._waiting.update(live)
        for key in gone:
            self._waiting.pop(key, None)
        return gone, set(live)

    def unknown(self, holder: Holder, keys: Collection[int] | None = None) -> dict[int, Item]:
        """Return entries of items that a holder does not know; forget those of its static bundle.

        keys: only of these items; of all when None.
        """
        asked = [key for key in (self._waiting if keys is None else keys) if key in self._waiting]
        numbers = np.array(asked, np.uint64)
        known, lasting = holder.knows(numbers), holder.lasting(numbers)
        found = {key: self._waiting[key] for key, k in zip(asked, known, strict=True) if not k}
        for key in numbers[lasting].tolist():
            del self._waiting[key]
        return found


async def encoded(items: Mapping[int, Item], encoder: TextEncoder) -> AsyncIterator[NewItems]:
    """Yield items with their texts' vectors, in batches that are encoded in another thread.

    In order of keys: in which order the catalogue is read depends on the load of machines.
    """
    keys = sorted(items)
    for start in range(0, len(keys), FRESH_BATCH):
        chosen = keys[start : start + FRESH_BATCH]
        part = [items[key] for key in chosen]
        yield NewItems(
            item_keys=np.array(chosen, np.uint64),
            item_ids=[item.item_id for item in part],
            item_types=[item.item_type for item in part],
            languages=[item.language for item in part],
            genres=[item.genres for item in part],
            titles=[item.title for item in part],
            published_ms=times_of(item.published_at for item in part),
            text=await asyncio.to_thread(_vectors, encoder, part),
        )


def _vectors(encoder: TextEncoder, items: Sequence[Item]) -> npt.NDArray[np.floating]:
    """Return the text vectors [m, dt] of items."""
    return encoder.encode(catalogue_texts(catalogue_frame(items))[0])
