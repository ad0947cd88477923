"""What the static job reads: the sum over the partitions' checkpoints."""

from dataclasses import dataclass

import polars as pl

from state.co_interactions import CoInteractions
from state.settings import StateSettings

__all__ = ["CATALOGUE_SCHEMA", "MergedState"]

#: Columns of the merged catalogue. Only `item_key`, `item_id` and `item_type` are never null.
CATALOGUE_SCHEMA = pl.Schema(
    {
        "item_key": pl.UInt64(),
        "item_id": pl.String(),
        "item_type": pl.String(),
        "title": pl.String(),
        "description": pl.String(),
        "language": pl.String(),
        "genres": pl.List(pl.String()),
        "published_at": pl.Int64(),
    }
)


@dataclass(frozen=True, kw_only=True)
class MergedState:
    """The state of all partitions at the offsets of their checkpoints.

    co_interactions: summed over partitions and restricted to the common window.
    catalogue:       live items, columns of `CATALOGUE_SCHEMA`, one row an item.
    offsets:         topic -> partition -> next offset: everything below is in the counts.
    watermark:       greatest bucket seen by any partition; -1 if there were no events.
    settings:        settings of the state.
    """

    co_interactions: CoInteractions
    catalogue: pl.DataFrame
    offsets: dict[str, dict[int, int]]
    watermark: int
    settings: StateSettings
