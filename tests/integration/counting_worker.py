"""A worker process whose store is a folder: one file for each partition, replaced by each batch.

What it stores is not idempotent on purpose: a record applied twice, or left out, changes the sum.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from streams.app import create_app
from streams.batches import Batch
from streams.running import serve
from streams.security import KafkaSettings
from streams.stop_limit import StopLimit


class PartitionFiles:
    """Next offset, number and sum of the values applied, by topic and partition."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, topic: str, partition: int) -> dict[str, int]:
        file = self._folder / f"{topic}.{partition}.json"
        if not file.exists():
            return {"next": 0, "count": 0, "sum": 0}
        return dict(json.loads(file.read_text()))

    def apply(self, batch: Batch) -> None:
        state = self.read(batch.topic, batch.partition)
        if batch[0].offset != state["next"]:
            raise ValueError(f"expected offset {state['next']}, got {batch[0].offset}")
        state = {
            "next": batch.next_offset,
            "count": state["count"] + len(batch),
            "sum": state["sum"] + sum(int(record.value) for record in batch),
        }
        file = self._folder / f"{batch.topic}.{batch.partition}.json"
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.replace(file)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--max-batch", type=int, default=100)
    parser.add_argument("--rebalance-timeout", type=float, default=60.0)
    parser.add_argument("--restore", type=float, default=0.0, help="seconds a first open takes")
    parser.add_argument("--transport", default="faust")
    parser.add_argument("topics", nargs="+")
    options = parser.parse_args()
    store = PartitionFiles(options.folder)
    held: set[tuple[str, int]] = set()

    def tell(happened: str) -> None:
        line = json.dumps({"happened": happened, "held": sorted(held)})
        with (options.folder / f"{options.name}.log").open("a") as log:
            log.write(line + "\n")

    opened: set[tuple[str, int]] = set()

    async def on_assigned(partitions: set[tuple[str, int]]) -> None:
        if options.restore and partitions - opened:
            tell("restoring")
            await asyncio.sleep(options.restore)
            opened.update(partitions)
        held.update(partitions)
        tell("assigned")

    async def on_revoked(partitions: set[tuple[str, int]]) -> None:
        held.difference_update(partitions)
        tell("revoked")

    app = create_app(
        options.group,
        KafkaSettings(bootstrap_servers=options.broker, transport=options.transport),
        batched=dict.fromkeys(options.topics, options.max_batch),
        positions=lambda topic, partition: store.read(topic, partition)["next"],
        on_assigned=on_assigned,
        on_revoked=on_revoked,
        session_timeout_s=2.0,
        rebalance_timeout_s=options.rebalance_timeout,
    )

    @app.batches(*options.topics)
    async def count(batch: Batch) -> None:
        store.apply(batch)
        await app.commit_positions({(batch.topic, batch.partition): batch.next_offset})

    return asyncio.run(serve(app, on_stop=StopLimit().begin))


if __name__ == "__main__":
    sys.exit(main())
