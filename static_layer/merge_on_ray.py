"""The merge of the partitions' checkpoints on a Ray cluster, by Ray Data.

A task reads one partition and cuts its counts into shards by the key of a pair's first item; the
shards meet, each is summed where it lies, and this process puts the sums together. What it holds is
the sum alone, however many partitions there are.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from numpy.typing import NDArray

from state import (
    LONG,
    ArtifactStore,
    Checkpoints,
    CoInteractions,
    CorruptArtifact,
    MergedState,
    PartitionCounts,
    StateSettings,
    merged_of,
    partitions_of,
    read_checkpoint,
)

_PAIR_COLUMNS = ("left", "right", "count")


def merge_on_ray(
    store_url: str,
    settings: StateSettings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> MergedState:
    """Sum the furthest checkpoints of all partitions: equal to state.merge_checkpoints.

    store_url: of the artifact store, as every machine of the cluster reaches it.
    progress:  called with (partitions read, partitions).
    What merge_checkpoints raises is behind an error of Ray's (static_layer.on_ray finds it there).
    """
    checkpoints = Checkpoints(ArtifactStore(store_url, patience=LONG))
    partitions = partitions_of(checkpoints)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Else what a task raised would come without its kind.
    context.raise_original_map_exception = True
    shards = max(int(ray.cluster_resources().get("CPU", 1)), 1)
    # All partitions are cut to the window that the furthest one is in. If it proves to be another
    # one (a checkpoint was broken, or a newer one came), they are read again.
    watermark = max(_watermark(checkpoints, partition) for partition in partitions)
    while True:
        read = partial(_read, store_url, settings, watermark, shards)
        rows = (
            ray.data.from_items(
                [{"partition": partition} for partition in partitions],
                override_num_blocks=len(partitions),
            )
            .map_batches(read, batch_size=1, batch_format="pyarrow")
            .materialize()
        )
        facts = rows.select_columns(["partition", "facts", "catalogue", "texts"]).take_all()
        parts = [_part(row) for row in facts if row["facts"] is not None]
        found = max(part.watermark for part in parts)
        if found == watermark:
            break
        watermark = found
    if progress:
        progress(len(parts), len(partitions))
    summed = (
        rows.select_columns(["shard", *_PAIR_COLUMNS])
        .groupby("shard", num_partitions=shards)
        .map_groups(_summed, batch_format="pyarrow")
    )
    total = _total(list(summed.iter_batches(batch_size=None, batch_format="pyarrow")))
    parts.sort(key=lambda part: part.partition)
    return merged_of(parts, total, settings)


def _watermark(checkpoints: Checkpoints, partition: int) -> int:
    try:
        return checkpoints.manifest(partition, checkpoints.names(partition)[-1]).watermark
    except CorruptArtifact:
        return -1


def _read(
    store_url: str, settings: StateSettings, watermark: int, shards: int, batch: pa.Table
) -> pa.Table:
    """Read a partition: one row for each shard, the first with what else the partition knows."""
    partition = batch["partition"][0].as_py()
    checkpoints = Checkpoints(ArtifactStore(store_url, patience=LONG))
    part = read_checkpoint(checkpoints, partition, settings, watermark)
    counts = part.co_interactions
    columns: dict[str, NDArray[Any]] = {
        "left": counts.item_keys[counts.left],
        "right": counts.item_keys[counts.right],
        "count": counts.count,
    }
    # Keys are hashes: their remainders are spread evenly.
    shard = columns["left"] % np.uint64(shards)
    order = np.argsort(shard, kind="stable")
    starts = np.searchsorted(shard[order], np.arange(shards + 1, dtype=np.uint64))
    nothing = [None] * (shards - 1)
    known = json.dumps({"positions": part.positions, "watermark": part.watermark})
    return pa.table(
        {
            "partition": np.full(shards, partition),
            "shard": np.arange(shards),
            **{name: _lists(starts, column[order]) for name, column in columns.items()},
            "facts": pa.array([known, *nothing], pa.string()),
            "catalogue": pa.array([_packed(part.catalogue), *nothing], pa.large_binary()),
            "texts": pa.array([_packed(part.texts), *nothing], pa.large_binary()),
        }
    )


def _part(row: Mapping[str, Any]) -> PartitionCounts:
    """Return what a row says of its partition, the counts left out."""
    facts = json.loads(row["facts"])
    return PartitionCounts(
        partition=int(row["partition"]),
        co_interactions=CoInteractions.sum([]),
        catalogue=pl.read_ipc(row["catalogue"]),
        texts=pl.read_ipc(row["texts"]),
        positions=facts["positions"],
        watermark=facts["watermark"],
    )


def _packed(catalogue: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    catalogue.write_ipc(content)
    return content.getvalue()


def _lists(starts: NDArray[np.int64], values: NDArray[Any]) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(starts, values)


def _summed(rows: pa.Table) -> pa.Table:
    """Sum a shard: of all its rows one is made."""
    counts = _total([rows])
    ends = np.array([0, len(counts.count)])
    columns: dict[str, NDArray[Any]] = {
        "left": counts.item_keys[counts.left],
        "right": counts.item_keys[counts.right],
        "count": counts.count,
    }
    return pa.table({name: _lists(ends, column) for name, column in columns.items()})


def _total(tables: Sequence[pa.Table]) -> CoInteractions:
    left, right, count = (
        np.concatenate([pc.list_flatten(table[name]).to_numpy() for table in tables])
        for name in _PAIR_COLUMNS
    )
    return CoInteractions.from_pairs(left, right, count.astype(np.int64))
