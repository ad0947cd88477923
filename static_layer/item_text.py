"""The sentence by which an item is known to the text encoder."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray


def item_text(
    item_type: str, title: str | None, description: str | None, genres: Sequence[str] | None
) -> tuple[str, bool]:
    """Return the text of an item, and whether it has any text of its own.

    An item without title and description is described by its type and genres, so that its
    vector is at least near those of its kind.

    >>> item_text("podcast", "Rivers", "A walk along the Elbe.", None)
    ('Rivers. A walk along the Elbe.', True)
    >>> item_text("track", "Ohm", "Ohm by Faraday", None)
    ('Ohm by Faraday', True)
    >>> item_text("audiobook", None, " ", ["crime", "history"])
    ('audiobook: crime, history', False)
    """
    title, description = (title or "").strip(), (description or "").strip()
    if title and description:
        # A description that opens with the title would only spend tokens on it twice.
        return (description if description.startswith(title) else f"{title}. {description}"), True
    if title or description:
        return title or description, True
    return (f"{item_type}: {', '.join(genres)}" if genres else item_type), False


def catalogue_texts(catalogue: pl.DataFrame) -> tuple[list[str], NDArray[np.bool_]]:
    """Return each row's text and, as bool[n], whether the row has any text of its own."""
    empty: list[None] = [None] * catalogue.height

    def column(name: str) -> list[object]:
        return catalogue[name].to_list() if name in catalogue.columns else list(empty)

    pairs = [
        item_text(item_type, title, description, genres)  # type: ignore[arg-type]
        for item_type, title, description, genres in zip(
            column("item_type"),
            column("title"),
            column("description"),
            column("genres"),
            strict=True,
        )
    ]
    return [text for text, _ in pairs], np.array([own for _, own in pairs], dtype=np.bool_)
