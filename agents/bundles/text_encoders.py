"""Finds the text encoder for a bundle's new items and searches."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from static_layer import TextEncoder, TextModelError

__all__ = ["TextEncoders"]

logger = logging.getLogger(__name__)


class TextEncoders:
    """Finds the encoder whose vectors are comparable with a bundle's own.

    It is the encoder of the settings where these fit. A bundle that another model or backend made,
    for example one built before the settings changed, gets an encoder of that one.
    """

    def __init__(self, make: Callable[[], TextEncoder]) -> None:
        """make: the encoder of the settings, made when the first bundle comes."""
        self._make = make
        self._own: TextEncoder | None = None
        self._last: TextEncoder | None = None

    def of(self, manifest: Mapping[str, Any]) -> TextEncoder | None:
        """Return the encoder for a bundle; None, with a line in the log, where it is not here."""
        recipe = manifest.get("text")
        if recipe and self._last is not None and self._last.fingerprint == recipe["fingerprint"]:
            return self._last
        try:
            if self._own is None:
                self._own = self._make()
            # Bundles of earlier versions do not say.
            found = self._own.matching(recipe) if recipe else self._own
        except TextModelError as error:
            logger.error("new items are not recommended, texts are not searched: %s", error)
            return None
        if recipe and found is not self._own:
            logger.warning(
                "new items are encoded as the bundle's were: text model %s, backend %s, where the"
                " settings say %s, %s",
                recipe["model"], recipe["backend"], self._own.settings.model,
                self._own.settings.backend,
            )  # fmt: skip
            self._last = found
        return found
