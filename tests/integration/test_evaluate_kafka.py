"""`segue evaluate --from-kafka` reads the history in the log itself."""

import asyncio
import random
import uuid

import pytest
from typer.testing import CliRunner

from segue.cli import app
from streams import (
    Event,
    Item,
    KafkaSettings,
    TopicSettings,
    bulk_write,
    create_topics,
    encode,
    topics,
)
from streams.log_record import now_ms

pytestmark = pytest.mark.integration

DAY = 86_400_000


def test_a_history_is_evaluated_straight_from_the_log(broker, tmp_path):
    kafka = KafkaSettings(bootstrap_servers=broker)
    names = TopicSettings(prefix=f"history-{uuid.uuid4().hex[:8]}", partitions=2)
    create_topics(kafka, topics(names))
    draw, now = random.Random(1), now_ms()
    events = [
        Event(user_id=f"u{draw.randrange(30)}", item_type="book", item_id=f"b{draw.randrange(20)}",
              kind="stream", timestamp=now - draw.randrange(80 * DAY))
        for _ in range(1_500)
    ]  # fmt: skip
    items = [Item(item_type="book", item_id=f"b{n}", title=f"Book {n}") for n in range(20)]
    for topic, records in ((names.events, events), (names.catalogue, items)):
        asyncio.run(bulk_write(kafka, topic, 2, [(r.key, encode(r)) for r in records]))
    settings = {"topics.prefix": names.prefix, "topics.partitions": 2, "data": tmp_path,
                "kafka.bootstrap_servers": broker}  # fmt: skip
    flags = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(
        app,
        ["evaluate", "--from-kafka", "--models", "popularity", "--test-days", "20", "--repeats",
         "include", *flags],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "1,500 events and 20 items from the log" in done.output
    assert "popularity" in done.output
    files = ["a.parquet", "b.parquet"]
    refused = CliRunner().invoke(app, ["evaluate", *files, "--from-kafka", *flags])
    assert refused.exit_code == 2
    assert "--from-kafka takes no files" in refused.output
