"""The job of `segue worker` as an application of Quix Streams, with its state in RocksDB.

    PYTHON_OF_THE_PEER benchmarks/peers/quix_streams.py BROKER TOPIC GROUP FOLDER

Histories by user and pair counts by (bucket, pair), an event at a time. A state of Quix Streams
belongs to a message's key. Events are keyed by user, and pairs are counted over all users: the key
is read as one name, so that all events of a partition share a state. The other way is `group_by`,
which writes each of the 15 pair deltas of an event to a topic of its own and reads it back.
Prints when the first event came; runs until SIGTERM.
"""

import json
import sys
import time
from typing import Any

from quixstreams import Application, State
from quixstreams.models import Deserializer

BUCKET_MS = 86_400_000
GRAPH_KIND = "stream"
HISTORY_CAP = 512
NONE = -1

History = dict[str, list[int]]
"""Item -> [latest event of any kind, latest graph-making event or NONE], ms UTC."""


class OneKey(Deserializer):
    """One key for all events of a partition."""

    def __call__(self, value: bytes, ctx: Any) -> str:
        return "partition"


def bucket_of(time_ms: int) -> int:
    return NONE if time_ms == NONE else time_ms // BUCKET_MS


def add(pairs: State, bucket: int, a: str, b: str, delta: int) -> None:
    key = f"{bucket}|{a}|{b}"
    count = pairs.get(key, 0) + delta
    if count:
        pairs.set(key, count)
    else:
        pairs.delete(key)


def move_strong(history: History, item: str, time_ms: int, pairs: State) -> None:
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
            add(pairs, before, a, b, -1)
        if after != NONE:
            add(pairs, after, a, b, 1)


def co_interactions(event: dict[str, Any], state: State) -> None:
    """Take an event into the user's history and the pair counts."""
    key = f"history|{event['user_id']}"
    history: History = state.get(key, {})
    item, time_ms = f"{event['item_type']}/{event['item_id']}", event["timestamp"]
    entry = history.setdefault(item, [time_ms, NONE])
    entry[0] = max(entry[0], time_ms)
    if event["kind"] == GRAPH_KIND and time_ms > entry[1]:
        move_strong(history, item, time_ms, state)
    if len(history) > HISTORY_CAP:
        oldest = min(history, key=lambda other: (history[other][0], other))
        move_strong(history, oldest, NONE, state)
        del history[oldest]
    state.set(key, history)


def create_app(broker: str, topic: str, group: str, folder: str) -> Application:
    app = Application(
        broker_address=broker,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=5.0,
        state_dir=folder,
        # The state is on this disk alone, as that of Kafka Streams without changelog.
        use_changelog_topics=False,
        auto_create_topics=False,
        loglevel="ERROR",
    )
    started = False

    def note_start(_event: dict[str, Any]) -> None:
        nonlocal started
        if not started:
            started = True
            print(json.dumps({"started": time.time_ns() // 1_000_000}), flush=True)

    events = app.dataframe(app.topic(topic, key_deserializer=OneKey(), value_deserializer="json"))
    events.update(note_start).update(co_interactions, stateful=True)
    return app


if __name__ == "__main__":
    create_app(*sys.argv[1:5]).run()
