"""The shop of the demo on a real broker: what a foreign consumer sees after an item has left."""

import json
import os
import subprocess
import sys
import uuid
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka import KafkaAdminClient

from streams import KafkaSettings, end_offsets
from tests.segue.test_demo_shop import SMALL
from tests.waiting import LONG_S, PATIENCE_S

pytestmark = pytest.mark.integration

#: A list that is written later than this after an item has left must not hold it.
ALLOWED_MS = 1_000


class Record(NamedTuple):
    """A record as any consumer sees it: the broker's time, ms UTC, and the JSON of the value."""

    at_ms: int
    value: dict


@pytest.fixture
def prefix(broker):
    """First part of the names of this test's topics; they go when the test ends."""
    found = f"shop-{uuid.uuid4().hex[:8]}"
    yield found
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.delete_topics([name for name in admin.list_topics() if name.startswith(f"{found}.")])
    admin.close()


async def records(broker, topic):
    """All records of a topic that have a value, in order of time."""
    ends = end_offsets(KafkaSettings(bootstrap_servers=broker), [topic])[topic]
    found = []
    async with AIOKafkaConsumer(
        bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest"
    ) as consumer:
        places = {TopicPartition(topic, number): end for number, end in ends.items()}
        consumer.assign([*places])
        for place, end in places.items():
            while await consumer.position(place) < end:
                polled = await consumer.getmany(place, timeout_ms=round(PATIENCE_S * 1_000))
                assert polled, f"{place} is not read to its end"
                found += polled[place]
    with_value = [Record(r.timestamp, json.loads(r.value)) for r in found if r.value is not None]
    return sorted(with_value, key=lambda record: record.at_ms)


def name_of(item):
    return item["item_type"], item["item_id"]


def left(catalogue):
    """Times at which items left: what happened -> (item, ms UTC)."""
    stock, found = {}, {}
    for at_ms, item in catalogue:
        name, attributes = name_of(item), item.get("attributes") or {}
        if item.get("deleted"):
            found["takedown"] = (name, at_ms)
        elif stock.get(name, 0) > 0 and attributes["stock"] == 0:
            found["stock runs out"] = (name, at_ms)
        stock[name] = attributes.get("stock", 0)
    return found


async def test_no_list_holds_an_item_a_second_after_it_has_left(broker, prefix, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "segue", "demo", "--shop", "--log", "kafka", *SMALL, "--json",
         "--set", f"data={tmp_path}", "--set", f"topics.prefix={prefix}"],
        capture_output=True, text=True, check=False, timeout=LONG_S,
        env=os.environ | {"KAFKA_BOOTSTRAP_SERVERS": broker},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert broker in report["runs_on"]
    gone = left(await records(broker, f"{prefix}.catalogue"))
    lists = await records(broker, f"{prefix}.recommendations")
    assert gone.keys() == {"stock runs out", "takedown"}
    for one in report["removals"]:
        item, at_ms = gone[one["what"]]
        assert (item, at_ms) == (tuple(one["item"]), one["at_ms"])
        held = [r.at_ms for r in lists if item in map(name_of, r.value["items"])]
        assert any(held_ms < at_ms for held_ms in held), "no list held the item before"
        assert any(r.at_ms > at_ms + ALLOWED_MS for r in lists), "no list was written after"
        late = [held_ms - at_ms for held_ms in held if held_ms > at_ms + ALLOWED_MS]
        assert not late, f"{one['what']}: lists hold the item {late} ms after it has left"
