"""What the static job reads: the sum over the partitions' checkpoints."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from rocksdict import Rdict

from state import database
from state.artifacts import CorruptArtifact
from state.checkpoint import Checkpoints
from state.co_interactions import CoInteractions, read_co_interactions
from state.commit_record import check_meta, read_meta
from state.items import ItemNumbers
from state.keys import item_key
from state.run_files import RunFiles
from state.settings import StateSettings

__all__ = ["CATALOGUE_SCHEMA", "MergedState", "merge_checkpoints"]

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
    partitions = checkpoints.partitions()
    if not partitions:
        raise ValueError("the artifact store holds no checkpoint: has a worker run yet?")
    with tempfile.TemporaryDirectory(prefix="segue-merge-") as scratch:
        folders = [Path(scratch) / str(partition) for partition in partitions]
        for partition, folder in zip(partitions, folders, strict=True):
            if checkpoints.restore(partition, folder) is None:
                raise CorruptArtifact(f"no checkpoint of partition {partition} is whole")
        return merge_folders(dict(zip(partitions, folders, strict=True)), settings, progress)


def merge_folders(
    folders: dict[int, Path],
    settings: StateSettings,
    progress: Callable[[int, int], None] | None = None,
) -> MergedState:
    """Sum the state in database folders (partition -> folder), opened read-only."""
    offsets: dict[str, dict[int, int]] = {}
    watermark = -1
    for partition, folder in folders.items():
        source = database.open_database(folder, settings, read_only=True)
        meta = read_meta(source)
        source.close()
        if meta is None:
            continue
        check_meta(meta, partition, settings, folder)
        watermark = max(watermark, meta.watermark)
        for topic, position in meta.positions.items():
            offsets.setdefault(topic, {})[partition] = position

    parts: list[CoInteractions] = []
    rows: list[dict[str, Any]] = []
    for done, folder in enumerate(folders.values(), 1):
        source = database.open_database(folder, settings, read_only=True)
        # A partition whose own clock is behind still holds buckets that have left the window.
        meta = read_meta(source)
        runs = meta.runs if meta else ()
        items = ItemNumbers.read(source)
        parts.append(read_co_interactions(RunFiles(folder), runs, items, settings, watermark))
        rows.extend(_catalogue_rows(source))
        source.close()
        if progress:
            progress(done, len(folders))
    return MergedState(
        co_interactions=CoInteractions.sum(parts),
        catalogue=_catalogue(rows),
        offsets=offsets,
        watermark=watermark,
        settings=settings,
    )


def _catalogue_rows(source: Rdict) -> Iterator[dict[str, Any]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    entries = database.scan(source, database.CATALOGUE, database.after(database.CATALOGUE))
    for _, value in entries:
        row = decode(value)
        if not row.get("deleted"):
            yield row


def _catalogue(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in rows] for name in CATALOGUE_SCHEMA if name != "item_key"
    }
    columns["item_key"] = [item_key(row["item_type"], row["item_id"]) for row in rows]
    return pl.DataFrame(columns, schema=CATALOGUE_SCHEMA).sort("item_key")
