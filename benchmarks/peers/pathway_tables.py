"""The job of `segue worker` in Pathway: tables that follow the topic.

    PYTHON_OF_THE_PEER benchmarks/peers/pathway_tables.py BROKER TOPIC GROUP FOLDER

The latest graph-making event of each user and item, joined with itself by user, counted by (bucket,
pair). Pathway keeps the tables in memory, updates them in batches, writes the changed counts to
pairs.csv and its input to disk, from which it computes everything again after a crash; the mode
that stores the tables needs a licence key. Prints after each batch how many events are in the
tables; runs until SIGTERM.
"""

import json
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import pathway as pw

BUCKET_MS = 86_400_000
GRAPH_KIND = "stream"
COMMIT_MS = 5_000
WRITTEN = re.compile(r"pairs\.csv\): Done writing \d+ entries, time (\d+)")


class Event(pw.Schema):
    user_id: str
    item_id: str
    item_type: str
    kind: str
    timestamp: int


def pair_counts(events: pw.Table) -> pw.Table:
    """Return the counts by (bucket, a, b) of events."""
    strong = events.filter(pw.this.kind == GRAPH_KIND)
    latest = strong.select(
        pw.this.user_id,
        item=pw.this.item_type + "/" + pw.this.item_id,
        bucket=pw.this.timestamp // BUCKET_MS,
    )
    latest = latest.groupby(pw.this.user_id, pw.this.item).reduce(
        pw.this.user_id, pw.this.item, bucket=pw.reducers.max(pw.this.bucket)
    )
    other = latest.copy()
    pairs = latest.join(other, latest.user_id == other.user_id).filter(
        pw.left.item <= pw.right.item
    )
    pairs = pairs.select(
        a=pw.left.item,
        b=pw.right.item,
        bucket=pw.if_else(pw.left.bucket < pw.right.bucket, pw.left.bucket, pw.right.bucket),
    )
    return pairs.groupby(pw.this.bucket, pw.this.a, pw.this.b).reduce(
        pw.this.bucket, pw.this.a, pw.this.b, count=pw.reducers.count()
    )


class Progress(logging.Handler):
    """Prints how many events are in the written counts, whenever a batch was written."""

    def __init__(self, events: pw.Table) -> None:
        super().__init__()
        self._numbers = [(0, 0)]  # time of a batch, events up to its end
        pw.io.subscribe(events.reduce(number=pw.reducers.count()), self._note)

    def _note(self, key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            self._numbers.append((time, row["number"]))

    def emit(self, record: logging.LogRecord) -> None:
        """Read from Pathway's log before which time all batches are in the file."""
        if found := WRITTEN.search(record.getMessage()):
            done = max(n for batch, n in self._numbers if batch < int(found[1]))
            print(json.dumps({"events": done, "at": time.time_ns() // 1_000_000}), flush=True)


def main(broker: str, topic: str, group: str, folder: Path) -> None:
    folder.mkdir()
    settings = {
        "bootstrap.servers": broker,
        "group.id": group,
        "auto.offset.reset": "earliest",
        # Positions that were read, not what is in the tables. The first one tells the beginning.
        "auto.commit.interval.ms": "100",
    }
    events = pw.io.kafka.read(
        settings, topic, schema=Event, format="json", autocommit_duration_ms=COMMIT_MS
    )
    pw.io.csv.write(pair_counts(events), folder / "pairs.csv")
    logging.basicConfig(level=logging.INFO, handlers=[Progress(events)])
    backend = pw.persistence.Backend.filesystem(folder / "input")
    persistence = pw.persistence.Config(backend, snapshot_interval_ms=COMMIT_MS)
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=persistence,
        default_logging=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
