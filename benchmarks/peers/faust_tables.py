"""The job of `segue worker` as an idiomatic Faust app: one agent, two tables on RocksDB.

    python -m benchmarks.peers.faust_tables BROKER TOPIC GROUP FOLDER

Histories by user and pair counts by (bucket, pair), an event at a time. Events come keyed by user,
so both tables lie with the partition of the event and nothing is repartitioned. Prints when the
first event came; runs until SIGTERM.
"""

import json
import logging
import sys
import time

import faust

BUCKET_MS = 86_400_000
GRAPH_KIND = "stream"
HISTORY_CAP = 512
PARTITIONS = 4
NONE = -1
# Faust's own block cache is 2 GiB for each partition of each table.
ROCKSDB = {"block_cache_size": 64 << 20, "write_buffer_size": 32 << 20}


class Event(faust.Record, serializer="json"):
    user_id: str
    item_id: str
    item_type: str
    kind: str
    timestamp: int


History = dict[str, list[int]]
"""Item -> [latest event of any kind, latest graph-making event or NONE], ms UTC."""


def bucket_of(time_ms: int) -> int:
    return NONE if time_ms == NONE else time_ms // BUCKET_MS


def move_strong(history: History, item: str, time_ms: int, pairs: "faust.Table[str, int]") -> None:
    """Set the graph-making time of an item and write what that changes of the user's pairs."""
    was, now = bucket_of(history[item][1]), bucket_of(time_ms)
    history[item][1] = time_ms
    if was == now:
        return
    for other, (_, strong) in history.items():
        # The item with itself is a pair, too: from `was` to `now`.
        theirs = max(was, now) if other == item else bucket_of(strong)
        before, after = min(was, theirs), min(now, theirs)
        if before == after:
            continue
        a, b = sorted((item, other))
        if before != NONE:
            pairs[f"{before}|{a}|{b}"] -= 1
        if after != NONE:
            pairs[f"{after}|{a}|{b}"] += 1


def create_app(broker: str, topic: str, group: str, folder: str) -> faust.App:
    app = faust.App(
        group,
        broker=[f"kafka://{address}" for address in broker.split(",")],
        store="rocksdb://",
        datadir=folder,
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        key_serializer="raw",
        value_serializer="json",
        broker_commit_interval=5.0,
        producer_compression_type="lz4",
        producer_max_batch_size=256 << 10,
    )
    events = app.topic(topic, key_type=bytes, value_type=Event)
    histories = app.Table("histories", default=dict, partitions=PARTITIONS, options=dict(ROCKSDB))
    pairs = app.Table("pairs", default=int, partitions=PARTITIONS, options=dict(ROCKSDB))
    started = False

    @app.agent(events)
    async def co_interactions(stream: "faust.Stream[Event]") -> None:
        nonlocal started
        async for event in stream:
            if not started:
                started = True
                # Faust's worker turns what is printed into log lines.
                print(json.dumps({"started": time.time_ns() // 1_000_000}), file=sys.__stdout__)
            history: History = histories[event.user_id]
            item = f"{event.item_type}/{event.item_id}"
            entry = history.setdefault(item, [event.timestamp, NONE])
            entry[0] = max(entry[0], event.timestamp)
            if event.kind == GRAPH_KIND and event.timestamp > entry[1]:
                move_strong(history, item, event.timestamp, pairs)
            if len(history) > HISTORY_CAP:
                oldest = min(history, key=lambda other: (history[other][0], other))
                move_strong(history, oldest, NONE, pairs)
                del history[oldest]
            histories[event.user_id] = history

    return app


if __name__ == "__main__":
    # Faust logs several lines an event about its own full buffer; that is not the job.
    logging.getLogger("faust.transport.producer").setLevel(logging.ERROR)
    faust.Worker(create_app(*sys.argv[1:5]), loglevel="error").execute_from_commandline()
