"""Text vectors of a data set's catalogue."""

import numpy as np
import numpy.typing as npt
import polars as pl

from static_layer import Progress, TextEncoder, TextSettings, catalogue_texts

__all__ = ["TextVectors", "has_text"]


class TextVectors:
    """Encodes a catalogue at the first call and remembers it.

    A model that reads no text then never waits for the encoder.
    """

    def __init__(self, items: pl.DataFrame, settings: TextSettings, progress: Progress) -> None:
        """items: the catalogue; settings: of the encoder, with the file of its cache."""
        self._items, self._settings, self._progress = readable(items), settings, progress
        self._vectors: npt.NDArray[np.float32] | None = None

    def __call__(self) -> npt.NDArray[np.float32]:
        """Return unit vectors f32[n_items, d], one per row of the catalogue."""
        if self._vectors is None:
            encoder = self.encoder()
            try:
                texts, _ = catalogue_texts(self._items)
                self._vectors = encoder.encode(texts, self._progress)
            finally:
                encoder.close()
        return self._vectors

    def encoder(self) -> TextEncoder:
        """Make the encoder behind the vectors; the caller closes it."""
        return TextEncoder(self._settings)


def has_text(items: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Which catalogue rows have a title or a description, bool[n_items]."""
    return catalogue_texts(readable(items))[1]


def readable(items: pl.DataFrame) -> pl.DataFrame:
    """Only the columns that make text, as strings; genres where they are a list of strings."""
    text = [pl.col(n).cast(pl.String) for n in ("title", "description") if n in items.columns]
    genres = [pl.col("genres")] if items.schema.get("genres") == pl.List(pl.String()) else []
    return items.select("item_type", *text, *genres)
