"""Catalogue records as the frame that texts and the static layer are made from."""

from collections.abc import Sequence

import polars as pl

from state import CATALOGUE_SCHEMA
from streams import Item

__all__ = ["catalogue_frame"]


def catalogue_frame(items: Sequence[Item]) -> pl.DataFrame:
    """Return the columns of items that their texts are made of, and their languages.

    The types of the columns do not depend on the values: a column may be null in all items.
    """
    names = ("item_type", "title", "description", "language", "genres")
    return pl.DataFrame(
        {name: [getattr(item, name) for item in items] for name in names},
        schema={name: CATALOGUE_SCHEMA[name] for name in names},
    )
