"""What the static job reads: the sum over the partitions' checkpoints."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from state import database
from state.artifacts import CorruptArtifact
from state.checkpoint import Checkpoints
from state.co_interactions import CoInteractions, read_co_interactions
from state.commit_record import CommitRecord, MadeFrom, check_meta, read_meta
from state.database import Database
from state.items import ItemNumbers, item_key
from state.run_files import RunFiles
from state.settings import StateSettings
from state.transitions import Transitions, read_transitions

__all__ = [
    "CATALOGUE_SCHEMA",
    "MergedState",
    "PartitionCounts",
    "merge_checkpoints",
    "merged_of",
    "partitions_of",
    "read_checkpoint",
]

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
    catalogue:       live items, columns of `CATALOGUE_SCHEMA`, one row an item; among them the
                     items of `settings.text_types` that `settings.text_users` users have had.
    offsets:         topic, by its `MadeFrom.log_name` -> partition -> next offset: everything
                     below is in the counts.
    watermark:       greatest bucket seen by any partition; -1 if there were no events.
    settings:        settings of the state.
    transitions:     summed over partitions, in the same window; none of a merge on a cluster.
    """

    co_interactions: CoInteractions
    catalogue: pl.DataFrame
    offsets: dict[str, dict[int, int]]
    watermark: int
    settings: StateSettings
    transitions: Transitions = field(default_factory=lambda: Transitions.sum([]))


@dataclass(frozen=True, kw_only=True)
class PartitionCounts:
    """What one partition brings to the sum.

    co_interactions: restricted to the window that the reader asked for.
    catalogue:       its live items, columns of `CATALOGUE_SCHEMA`.
    texts:           items of the text types that its users have had, in the same columns.
    positions:       topic, by its `MadeFrom.log_name` -> next offset.
    watermark:       greatest bucket that this partition has seen; -1 if it had no events.
    transitions:     of its users, in that window; none of what `read_checkpoint` returns.
    """

    partition: int
    co_interactions: CoInteractions
    catalogue: pl.DataFrame
    texts: pl.DataFrame
    positions: dict[str, int]
    watermark: int
    transitions: Transitions = field(default_factory=lambda: Transitions.sum([]))


def merge_checkpoints(
    checkpoints: Checkpoints,
    settings: StateSettings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> MergedState:
    """Sum the furthest checkpoints of all partitions.

    progress: called with (partitions read, partitions).
    Raises CorruptArtifact if a partition has checkpoints but none is whole, WrongState if one was
    made with other settings, ValueError if there is no checkpoint at all.
    """
    partitions = partitions_of(checkpoints)
    with tempfile.TemporaryDirectory(prefix="segue-merge-") as scratch:
        folders = {partition: Path(scratch) / str(partition) for partition in partitions}
        for partition, folder in folders.items():
            _restore(checkpoints, partition, folder)
        return merge_folders(folders, settings, progress)


def partitions_of(checkpoints: Checkpoints) -> list[int]:
    """Return the partitions that have checkpoints; raises ValueError where none has."""
    partitions = checkpoints.partitions()
    if not partitions:
        raise ValueError("the artifact store holds no checkpoint: has a worker run yet?")
    return partitions


def merge_folders(
    folders: dict[int, Path],
    settings: StateSettings,
    progress: Callable[[int, int], None] | None = None,
) -> MergedState:
    """Sum the state in database folders (partition -> folder), opened read-only."""
    watermark = -1
    for partition, folder in folders.items():
        source = database.open_database(folder, settings, read_only=True)
        meta = read_meta(source)
        source.close()
        if meta is not None:
            check_meta(meta, partition, settings, folder)
            watermark = max(watermark, meta.watermark)
    parts: list[PartitionCounts] = []
    for partition, folder in folders.items():
        parts.append(_read(folder, partition, settings, watermark, transitions=True))
        if progress:
            progress(len(parts), len(folders))
    return merged_of(parts, CoInteractions.sum([part.co_interactions for part in parts]), settings)


def read_checkpoint(
    checkpoints: Checkpoints, partition: int, settings: StateSettings, watermark: int
) -> PartitionCounts:
    """Read a partition's furthest checkpoint, restricted to the window that ends at `watermark`.

    Raises CorruptArtifact if none is whole, WrongState if it was made with other settings.
    """
    with tempfile.TemporaryDirectory(prefix="segue-merge-") as scratch:
        folder = Path(scratch) / str(partition)
        _restore(checkpoints, partition, folder)
        return _read(folder, partition, settings, watermark, transitions=False)


def merged_of(
    parts: Sequence[PartitionCounts], co_interactions: CoInteractions, settings: StateSettings
) -> MergedState:
    """Put the partitions' parts and the sum of their counts together."""
    offsets: dict[str, dict[int, int]] = {}
    for part in parts:
        for topic, position in part.positions.items():
            offsets.setdefault(topic, {})[part.partition] = position
    entries = pl.concat([part.catalogue for part in parts])
    texts = pl.concat([part.texts for part in parts]).unique("item_key")
    # Partitions hold the users apart, so that their sum counts each user of an item once.
    often = co_interactions.item_keys[co_interactions.users >= settings.text_users]
    texts = texts.filter(pl.col("item_key").is_in(pl.Series(often, dtype=pl.UInt64).implode()))
    texts = texts.join(entries, on="item_key", how="anti")
    return MergedState(
        co_interactions=co_interactions,
        catalogue=pl.concat([entries, texts]).sort("item_key"),
        offsets=offsets,
        watermark=max(part.watermark for part in parts),
        settings=settings,
        transitions=Transitions.sum([part.transitions for part in parts]),
    )


def with_items(merged: MergedState, items: Sequence[Mapping[str, Any]]) -> MergedState:
    """Return a merged state with another catalogue.

    items: live items, values by the names of `CATALOGUE_SCHEMA`. Items of the text types stay that
           are not among them.
    """
    entries = _catalogue(items)
    texts = merged.catalogue.filter(pl.col("item_type").is_in(merged.settings.text_types))
    texts = texts.join(entries, on="item_key", how="anti")
    return replace(merged, catalogue=pl.concat([entries, texts]).sort("item_key"))


def _restore(checkpoints: Checkpoints, partition: int, folder: Path) -> None:
    if checkpoints.restore(partition, folder) is None:
        raise CorruptArtifact(f"no checkpoint of partition {partition} is whole")


def _read(
    folder: Path, partition: int, settings: StateSettings, watermark: int, *, transitions: bool
) -> PartitionCounts:
    source = database.open_database(folder, settings, read_only=True)
    meta = read_meta(source)
    if meta is not None:
        check_meta(meta, partition, settings, folder)
    # A partition whose own clock is behind still holds buckets that have left the window.
    items = ItemNumbers(source)
    counts = read_co_interactions(
        RunFiles(folder), meta.runs if meta else (), items, settings, watermark
    )
    followed = (
        read_transitions(source, items, settings, watermark) if transitions else Transitions.sum([])
    )
    rows = list(_catalogue_rows(source))
    texts = list(_text_rows(items, counts, settings))
    source.close()
    return PartitionCounts(
        partition=partition,
        co_interactions=counts,
        catalogue=_catalogue(rows),
        texts=_catalogue(texts),
        positions=_by_log_name(meta) if meta else {},
        watermark=meta.watermark if meta else -1,
        transitions=followed,
    )


def _by_log_name(meta: CommitRecord) -> dict[str, int]:
    made = meta.made_from
    return {made.get(topic, MadeFrom()).log_name(topic): at for topic, at in meta.positions.items()}


def _catalogue_rows(source: Database) -> Iterator[dict[str, Any]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    entries = source.scan(database.CATALOGUE, database.after(database.CATALOGUE))
    for _, value in entries:
        row = decode(value)
        if not row.get("deleted"):
            yield row


def _text_rows(
    items: ItemNumbers, counts: CoInteractions, settings: StateSettings
) -> Iterator[dict[str, Any]]:
    """Entries of the text types' items with users inside the window: the text is the title."""
    if not settings.text_types:
        return
    alive = np.isin(items.keys[: len(items)], counts.item_keys)
    for (item_type, item_id), lives in zip(items.names(), alive.tolist(), strict=True):
        if lives and item_type in settings.text_types:
            yield {"item_type": item_type, "item_id": item_id, "title": item_id}


def _catalogue(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in rows] for name in CATALOGUE_SCHEMA if name != "item_key"
    }
    columns["item_key"] = [item_key(row["item_type"], row["item_id"]) for row in rows]
    return pl.DataFrame(columns, schema=CATALOGUE_SCHEMA)
