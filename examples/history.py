"""Example data of the tutorials: `history.py radio` or `history.py shop`.

400 people and 120 items of two kinds on six subjects, 60 days; each person keeps to two subjects.
"""

import csv
import json
import os
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

SUBJECTS = [
    "jazz piano", "garden and soil", "space travel", "old crime", "sea and sailing", "street food"
]  # fmt: skip
draw, now = random.Random(1), datetime.now(UTC)


def items(*kinds: str) -> Iterator[dict]:
    for kind in kinds:
        for n in range(60):
            subject = SUBJECTS[n % 6]
            name = f"{subject.title()}, {kind} {n}"
            about = f"A {kind} about {subject}."
            yield {"id": f"{kind}-{n}", "kind": kind, "name": name, "about": about}


def choices(of: list[dict]) -> Iterator[tuple[int, dict, datetime]]:
    """Yield who chose which item, and when; one choice in ten is of any subject."""
    for person in range(400):
        loved = draw.sample(range(6), 2)
        pool = [item for item in of if int(item["id"].split("-")[1]) % 6 in loved]
        for _ in range(draw.randint(15, 35)):
            item = draw.choice(of if draw.random() < 0.1 else pool)
            yield person, item, now - timedelta(days=60 * draw.random(), seconds=1)


def write(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def radio() -> None:
    """A station: its items in a file, its plays on the topic radio.heard, keyed by user."""
    of = list(items("show", "song"))
    named = {"id": "slug", "kind": "class"}
    rows = [{named.get(name, name): value for name, value in item.items()} for item in of]
    write(Path("var/radio/items.jsonl"), rows)
    broker = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    keep = {"retention.ms": "-1"}  # or Kafka would delete what is 60 days old
    topic = NewTopic("radio.heard", 3, 1, topic_configs=keep)
    KafkaAdminClient(bootstrap_servers=broker).create_topics([topic])
    producer = KafkaProducer(bootstrap_servers=broker)
    plays = sorted(choices(of), key=lambda play: play[2])
    for person, item, at in plays:
        record = {
            "who": {"no": person}, "did": "finish" if draw.random() < 0.8 else "bookmark",
            "what": {"slug": item["id"], "class": item["kind"]}, "at": at.isoformat(),
        }  # fmt: skip
        value, key = json.dumps(record).encode(), str(person).encode()
        producer.send("radio.heard", value, key, timestamp_ms=int(at.timestamp() * 1000))
    producer.flush()
    print(f"{len(plays):,} events")


def shop() -> None:
    """A shop of two countries: its products and its orders, in files."""
    markets = [["DE"], ["US"], ["DE", "US"], ["DE", "US"]]
    products = [
        {"sku": item.pop("id"), **item, "stock": draw.randint(2, 40),
         "price": round(draw.uniform(5, 60), 2), "creator": f"maker-{draw.randrange(30)}",
         "markets": draw.choice(markets)}
        for item in items("book", "game")
    ]  # fmt: skip
    write(Path("var/my-shop/products.jsonl"), products)
    with Path("var/my-shop/orders.csv").open("w", newline="") as file:
        orders = csv.writer(file)
        orders.writerow(["customer", "sku", "ordered_at"])
        for person, item, at in choices(list(items("book", "game"))):
            orders.writerow([f"customer-{person}", item["id"], at.isoformat()])


if __name__ == "__main__":
    {"radio": radio, "shop": shop}[sys.argv[1]]()
