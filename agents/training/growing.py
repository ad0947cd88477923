"""Items of the catalogue that came after the static bundle, which the trainer learns meanwhile."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from agents.bundles.launched import Launched, encoded
from agents.bundles.text_encoders import TextEncoders
from agents.patience import Aside
from dynamic_layer import Trainer
from static_layer import TextEncoder
from streams import ItemCatalogue, LogRecord

__all__ = ["NewItemLearning"]

logger = logging.getLogger(__name__)

#: New items of the catalogue wait at most so long until the trainer learns them.
GROW_EVERY_MS = 5_000


class NewItemLearning:
    """Collects new items, and has a trainer learn them together."""

    def __init__(
        self,
        encoder: Callable[[], TextEncoder] | None,
        ticks_ms: Callable[[], int],
        aside: Aside,
        items: ItemCatalogue,
    ) -> None:
        """encoder: of texts, made when the first new item comes; without it none is learned.

        items: takes the records of the catalogue.
        """
        self._items = items
        self._launched = Launched()
        self._encoders = None if encoder is None else TextEncoders(encoder)
        self._ticks_ms, self._aside = ticks_ms, aside
        self._due_at: int | None = None

    @property
    def waiting(self) -> bool:
        """Whether items have come that were not learned yet."""
        return self._due_at is not None

    @property
    def due(self) -> bool:
        """Whether they have waited for long enough."""
        return self._due_at is not None and self._ticks_ms() >= self._due_at

    @property
    def possible(self) -> bool:
        """Whether there is an encoder of texts."""
        return self._encoders is not None

    def take(self, records: Sequence[LogRecord]) -> None:
        """Take records of a topic of the catalogue."""
        if self._launched.take(self._items.take(records))[1] and self._due_at is None:
            self._due_at = self._ticks_ms() + GROW_EVERY_MS

    async def learn(self, trainer: Trainer) -> None:
        """Have a trainer learn the items that its static bundle does not have from now on."""
        self._due_at = None
        waiting = self._launched.unknown(trainer)
        new = {key: item for key, item in waiting.items() if item.item_type in trainer.types}
        if not new or self._encoders is None:
            return
        encoder = await self._aside(partial(self._encoders.of, trainer.static.manifest))
        if encoder is None:  # the log says why
            return
        async for part in encoded(new, encoder):
            await self._aside(partial(trainer.grow, part))
        logger.info("learning %d items that came after the static bundle", len(new))
