"""The demo on a real broker, kept running, and looked at with Kafka's own tools."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from streams import KafkaSettings, end_offsets, read_from
from streams.broker import DevelopmentBroker
from streams.distribution import POM
from streams.log_record import now_ms
from tests.waiting import LONG_S, PATIENCE_S, wait_until

SMALL = [
    "--world-items", "300", "--world-users", "600", "--world-events", "20000",
    "--live-seconds", "6", "--live-rate", "50", "--hgnn-epochs", "3", "--log", "kafka",
]  # fmt: skip
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "recommendation.json").read_text()
)


@pytest.fixture(scope="module")
def kept(jars, tmp_path_factory):
    """A demo that was left running: its data folder and its broker."""
    data = tmp_path_factory.mktemp("demo")
    (data / "kafka").mkdir()
    (data / "kafka" / "libs").symlink_to(jars)
    environment = {k: v for k, v in os.environ.items() if k != "KAFKA_BOOTSTRAP_SERVERS"}
    # Worker and trainer must use the demo's own folder below it.
    environment["SEGUE_DATA"] = str(data)

    def segue(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "segue", *arguments],
            capture_output=True, text=True, check=False, env=environment,
            timeout=LONG_S,
        )  # fmt: skip

    done = segue("demo", *SMALL, "--keep")
    try:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield data, DevelopmentBroker(data / "demo" / "kafka", POM, libs=jars), segue
    finally:
        # Also after a demo that failed at its end: its processes would outlive the tests.
        stopped = segue("demo", "--stop").stdout
    assert "stopped" in stopped


def consume(broker, topic, *options):
    """Lines of all records of a topic as Kafka's console consumer prints them."""
    ends = end_offsets(KafkaSettings(bootstrap_servers=broker.status().address), [topic])
    # With a number to reach there is no need to wait and see whether more comes.
    enough = [
        "--max-messages",
        str(sum(ends[topic].values())),
        "--timeout-ms",
        f"{PATIENCE_S * 1000:.0f}",
    ]
    command = broker.console_consumer(topic, "--from-beginning", *enough, *options)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE_S + 60
    )
    return done.stdout.splitlines()


def consume_json(broker, topic):
    """Values of all records of a topic."""
    return [json.loads(line) for line in consume(broker, topic) if line.startswith("{")]


@pytest.mark.integration
def test_a_stock_consumer_reads_valid_recommendations_of_new_items(kept):
    data, broker, _ = kept
    report = json.loads((data / "demo-report.json").read_text())
    assert report["records_in"] == report["applied"] + report["dead_lettered"]
    assert report["live"]["served"] >= 0.95
    answers = consume_json(broker, "segue.recommendations")
    assert answers
    schema = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
    for answer in answers:
        schema.validate(answer)
    types = {item["item_type"] for answer in answers for item in answer["items"]}
    assert types == {"podcast", "audiobook"}

    had = {}
    for place, event in consume_events(broker):
        had.setdefault(event.get("user_id"), []).append(
            (place, event.get("item_id"), event.get("kind"))
        )
    for answer in answers:
        source = (answer["source"]["partition"], answer["source"]["offset"])
        if answer["source"]["topic"] != "segue.events":
            continue
        before = {
            item
            for (partition, offset), item, kind in had[answer["user_id"]]
            if partition == source[0] and offset <= source[1] and kind == "stream"
        }
        assert not before & {item["item_id"] for item in answer["items"]}


def consume_events(broker):
    """((partition, offset), event) of every readable event."""
    printed = ["--property", "print.partition=true", "--property", "print.offset=true"]
    found = []
    for line in consume(broker, "segue.events", *printed):
        parts = line.split("\t", 2)
        if len(parts) != 3 or not parts[0].startswith("Partition:"):
            continue
        try:
            event = json.loads(parts[2])
        except ValueError:
            continue
        place = int(parts[0].partition(":")[2]), int(parts[1].partition(":")[2])
        found.append((place, event))
    return found


@pytest.mark.integration
def test_a_foreign_producer_gets_answers_for_newcomers(kept):
    data, broker, segue = kept
    catalogue = consume_json(broker, "segue.catalogue")
    # Ten items of one list say little of whether lists fit: one newcomer for each of the genres
    # and languages that most items have.
    podcasts = [i for i in catalogue if i["item_type"] == "podcast" and i.get("genres")]
    seeds = {(i.get("language"), *i["genres"]): i for i in podcasts}
    common = sorted(seeds.values(), key=lambda i: -share_about(i, catalogue))[:8]
    had = {
        f"newcomer-{n}": [item for item in catalogue if alike(item, seed)][:3]
        for n, seed in enumerate(common)
    }
    lines = "".join(
        f"{user}\t"
        + json.dumps(
            {
                "user_id": user,
                "item_id": i["item_id"],
                "item_type": i["item_type"],
                "kind": "stream",
                "timestamp": now_ms(),
            }
        )
        + "\n"
        for user, items in had.items()
        for i in items
    )
    subprocess.run(
        broker.console_producer("segue.events"), input=lines, text=True, check=True,
        capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    kafka = KafkaSettings(bootstrap_servers=broker.status().address)

    def answered():
        records = asyncio.run(read_from(kafka, "segue.recommendations"))
        lists = Counter(record.key.decode() for record in records)
        return all(lists[user] >= 3 for user in had)

    wait_until(answered, "an answer for each newcomer", every_s=0.5)
    answers = {user: [] for user in had}
    for answer in consume_json(broker, "segue.recommendations"):
        if answer["user_id"] in answers:
            answers[answer["user_id"]].append(answer)
    known = {(i["item_type"], i["item_id"]): i for i in catalogue}
    about = expected = 0.0
    for user, items in had.items():
        listed = [
            known[i["item_type"], i["item_id"]]
            for answer in answers[user][-3:]
            if answer["list"].startswith("discover")
            for i in answer["items"]
        ]
        assert listed
        assert not [i for i in listed if i in items]
        about += share_about(items[0], listed)
        expected += share_about(items[0], catalogue)
    # The lists are about what the newcomers listened to, more than the catalogue is.
    assert about > 1.2 * expected

    settings = ["--config", str(data / "demo" / "segue.toml")]
    view = segue("recommend", "newcomer-0", "--json", *settings)
    assert view.returncode == 0, view.stderr
    found = json.loads(view.stdout)
    assert {entry["item_id"] for entry in found["history"]} == {
        item["item_id"] for item in had["newcomer-0"]
    }
    assert set(found["lists"]) == {"mix", "discover-podcast", "discover-audiobook"}

    looked = segue("status", "--json", *settings)
    assert looked.returncode == 0, looked.stderr
    status = json.loads(looked.stdout)
    assert sum(row["lag"] for row in status["partitions"]) == 0
    assert set(status["models"]) == {"static", "dynamic"}


def alike(item, other):
    """Whether items have a language and a genre in common."""
    return item.get("language") == other.get("language") and bool(
        set(item.get("genres") or ()) & set(other.get("genres") or ())
    )


def share_about(item, others):
    """Share of items that are like one."""
    return sum(alike(other, item) for other in others) / len(others)
