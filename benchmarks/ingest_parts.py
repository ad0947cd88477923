"""Where the processor time of an event goes: reading, decoding, applying, committing.

    python -m benchmarks.ingest_parts 500000 --repeat 3

The bytes that fetches bring (compressed record batches) are read, decoded, applied and committed as
by a worker, in one process. Reading and decoding are measured twice in turns: as columns, and as
records that aiokafka makes and the general decoder reads. Not in it: the broker, the network, the
event loops, and users who wait for answers; `segue bench throughput` has all of it.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from agents import WorkerSettings
from benchmarks.listening import Listening
from state import PartitionState, StateSettings, compile_kernels
from streams import EventRules, LogRecord, decode_events
from streams.record_batches import MessageSet, PartitionColumns
from streams.warming import compile_record_kernels

__all__ = ["measure"]

TP = TopicPartition("events", 0)
BATCH = WorkerSettings().batch
COMMIT_DELTAS = WorkerSettings().commit_deltas
#: Records of a batch of a producer, batches of a fetch, and zstd's number.
PRODUCED, FETCHED, ZSTD = 2_000, 10, 4
#: Records that are taken of a fetch at once.
POLL = 8_192

Fetch = tuple[int, bytes]


def fetches(listening: Listening) -> list[Fetch]:
    """The bytes of each fetch, and the offset at which it begins."""
    batches: list[Fetch] = []
    records = listening.records()
    times = listening.time.tolist()
    for first in range(0, len(listening), PRODUCED):
        builder = DefaultRecordBatchBuilder(2, ZSTD, 0, -1, -1, -1, 1 << 30)
        for place, moment in enumerate(times[first : first + PRODUCED]):
            key, value = next(records)
            builder.append(place, moment, key, value, [])
        data = builder.build()
        data[:8] = first.to_bytes(8, "big")
        batches.append((first, bytes(data)))
    return [
        (batches[at][0], b"".join(data for _, data in batches[at : at + FETCHED]))
        for at in range(0, len(batches), FETCHED)
    ]


def _as_records(first: int, data: bytes) -> Iterator[Sequence[LogRecord]]:
    found = PartitionRecords(TP, MemoryRecords(data), None, first, None, None, True, READ_COMMITTED)
    records: list[Any] = list(found)
    for at in range(0, len(records), BATCH):
        yield records[at : at + BATCH]


def _as_columns(first: int, data: bytes) -> Iterator[Sequence[LogRecord]]:
    found = PartitionColumns(TP, MessageSet(data), None, first, None, None, True, READ_COMMITTED)
    while (columns := found.take(POLL)) is not None:
        for at in range(0, len(columns), BATCH):
            yield columns[at : at + BATCH]


def measure(events: int, seed: int, repeat: int) -> dict[str, dict[str, list[float]]]:
    """Return by path and part the microseconds an event of each repetition."""
    compile_kernels()
    compile_record_kernels()
    sets = fetches(Listening.generate(events, seed))
    # As in a worker: the collector does not look through what the imports made.
    gc.collect()
    gc.freeze()
    paths = {"records": _as_records, "columns": _as_columns}
    found: dict[str, dict[str, list[float]]] = {path: {} for path in paths}
    for _ in range(repeat):
        for path, read in paths.items():
            spent = dict.fromkeys(("reading", "decoding", "applying", "committing"), 0.0)
            with tempfile.TemporaryDirectory(prefix="segue-ingest-") as scratch:
                state = PartitionState(Path(scratch), 0, StateSettings())
                for first, data in sets:
                    begin = time.process_time()
                    batches = list(read(first, data))
                    spent["reading"] += time.process_time() - begin
                    for batch in batches:
                        _ingest(state, batch, spent)
                begin = time.process_time()
                state.commit()
                spent["committing"] += time.process_time() - begin
                state.close()
            for part, seconds in spent.items():
                found[path].setdefault(part, []).append(round(seconds / events * 1e6, 3))
    return found


def _ingest(state: PartitionState, batch: Sequence[LogRecord], spent: dict[str, float]) -> None:
    begin = time.process_time()
    events, _ = decode_events(batch, EventRules())
    decoded = time.process_time()
    state.apply_events(TP.topic, events, batch[-1].offset + 1)
    applied = time.process_time()
    if state.pending > COMMIT_DELTAS:
        state.commit()
    spent["decoding"] += decoded - begin
    spent["applying"] += applied - decoded
    spent["committing"] += time.process_time() - applied


def main() -> None:
    """Print the median of each part and the ratios of the repetitions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    found = measure(arguments.events, arguments.seed, arguments.repeat)
    for path, parts in found.items():
        print(path, {part: float(np.median(times)) for part, times in parts.items()})
    for part in ("reading", "decoding"):
        pairs = zip(found["records"][part], found["columns"][part], strict=True)
        print(f"{part}: records / columns", sorted(round(r / c, 2) for r, c in pairs))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
