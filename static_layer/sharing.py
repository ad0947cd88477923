"""What the processes of one static job give each other: the merged state, and text vectors.

Arrays and JSON travel between them, nothing that could be executed. A process that is alone gets
back what it gives.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from state import CoInteractions, MergedState, StateSettings
from static_layer.parallel import Parallel
from static_layer.progress import Progress, silent
from static_layer.text import TextEncoder

_KINDS: dict[str, type[np.generic]] = {
    "facts": np.uint8,
    "catalogue": np.uint8,
    "item_keys": np.uint64,
    "left": np.int32,
    "right": np.int32,
    "count": np.int32,
}


def share_state(merged: MergedState | None, settings: StateSettings) -> MergedState:
    """Return the first process's merged state on all; the others give None.

    So the checkpoints are merged once, and a worker that writes one meanwhile cannot give two
    processes different graphs. settings: of the state, which every process has.
    """
    if Parallel.here().rank == 0 and merged is None:
        raise ValueError("expected the merged state from the first process, which gave none")
    if Parallel.here().size == 1 and merged is not None:
        return merged
    parts = _packed(merged) if merged is not None else dict.fromkeys(_KINDS)
    # In the same order on all processes: the order of `_KINDS`.
    shared = {name: _shared(parts[name], kind) for name, kind in _KINDS.items()}
    facts = json.loads(shared["facts"].tobytes())
    return merged or MergedState(
        co_interactions=CoInteractions(
            item_keys=shared["item_keys"],
            left=shared["left"],
            right=shared["right"],
            count=shared["count"],
        ),
        catalogue=pl.read_ipc(io.BytesIO(shared["catalogue"].tobytes())),
        offsets={
            topic: {int(partition): offset for partition, offset in partitions.items()}
            for topic, partitions in facts["offsets"].items()
        },
        watermark=facts["watermark"],
        settings=settings,
    )


def _packed(merged: MergedState) -> dict[str, NDArray[Any] | None]:
    """Return the parts of a merged state as flat arrays, by the names in `_KINDS`."""
    catalogue = io.BytesIO()
    merged.catalogue.write_ipc(catalogue)
    facts = json.dumps({"offsets": merged.offsets, "watermark": merged.watermark}).encode()
    counts = merged.co_interactions
    return {
        "facts": np.frombuffer(facts, np.uint8),
        "catalogue": np.frombuffer(catalogue.getbuffer(), np.uint8),
        "item_keys": counts.item_keys,
        "left": counts.left,
        "right": counts.right,
        "count": counts.count,
    }


def _shared(array: NDArray[Any] | None, kind: type[np.generic]) -> NDArray[Any]:
    """Return the first process's array; the others give None."""
    parallel = Parallel.here()
    length = int(parallel.firsts(0.0 if array is None else len(array), parallel.device))
    array = np.empty(length, kind) if array is None else array
    parallel.fill(array)
    return array


def encode_together(
    encoder: TextEncoder, texts: Sequence[str], progress: Progress = silent, *, mapped: bool
) -> NDArray[np.floating]:
    """Return the vectors of all texts, of which every process has encoded its part.

    See TextEncoder.encode. No disk has to be common to the processes.
    """
    parallel = Parallel.here()
    if parallel.size == 1:
        return encoder.encode(texts, progress, mapped=mapped)
    part = parallel.part(len(texts))
    mine = encoder.encode(texts[part], progress, mapped=mapped)
    vectors = encoder.room((len(texts), mine.shape[1]), mapped=mapped)
    vectors[part] = mine
    for rank in range(parallel.size):
        parallel.fill(vectors[Parallel(rank=rank, size=parallel.size).part(len(texts))], rank)
    return vectors
