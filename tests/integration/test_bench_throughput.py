"""segue bench throughput, on a real broker with few events."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import librdkafka_reading
from benchmarks.job import BenchError
from benchmarks.jobs import JOBS
from benchmarks.listening import Listening, work_of
from benchmarks.throughput import Plan, run
from streams import KafkaSettings
from tests.integration.conftest import fill
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
EVENTS = 3_000


def bench(address, *options):
    """Run the command; at a timeout it ends what it has started."""
    # Settings of a deployment must not reach the workers: they would count something else.
    own = {"KAFKA_BOOTSTRAP_SERVERS": address, "PYTHONPATH": str(ROOT)}
    environment = os.environ | own | {"SEGUE_STATE__WINDOW__BUCKETS": "3"}
    command = [sys.executable, "-m", "segue", "bench", "throughput", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            said, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate()
        return process.returncode, said


@pytest.mark.integration
def test_the_worker_is_measured_over_both_transports_and_its_counts_are_checked(broker, tmp_path):
    file = tmp_path / "bench.json"
    jobs = ["segue", "segue-librdkafka", "drain"]
    options = ["--jobs", ",".join(jobs), "--events", str(EVENTS), "--repeat", "1"]
    status, said = bench(broker, *options, "--json", str(file))
    assert status == 0, said
    rows = json.loads(file.read_text())["jobs"]
    assert [(row["job"], row["events"]) for row in rows] == [(job, EVENTS) for job in jobs]
    for row in rows:
        assert row["runs_per_second"] == [pytest.approx(EVENTS / row["seconds"])]
        assert row["deltas_per_event"] == work_of(Listening.generate(EVENTS, 1)).deltas / EVENTS
        assert row["peak_rss_bytes"] > 0
        assert row["of_drain"] == [row["events_per_second"] / rows[2]["events_per_second"]]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.integration
def test_a_job_that_cannot_be_had_is_left_out_with_the_reason(broker, tmp_path, monkeypatch):
    monkeypatch.setattr(JOBS["kafka-streams"], "prepare", refuse)
    plan = Plan(jobs=("drain", "kafka-streams"), events=(EVENTS,), repeat=1, broker=broker)
    report = run(plan, tmp_path)
    assert [row["job"] for row in report["jobs"]] == ["drain"]
    assert report["skipped"] == {"kafka-streams": "no Maven here"}
    with pytest.raises(BenchError, match="no Maven here"):
        run(Plan(jobs=("kafka-streams",), broker=broker), tmp_path)


@pytest.mark.integration
def test_the_cost_of_reading_is_divided_into_its_parts(broker, new_topic, monkeypatch):
    topic = new_topic("reading", partitions=librdkafka_reading.PARTITIONS)
    monkeypatch.setattr(librdkafka_reading, "TOPIC", topic)
    asyncio.run(fill(broker, topic, 1, (b"%d" % n for n in range(2_000))))
    before = gc.get_threshold()
    found = librdkafka_reading.measure(KafkaSettings(bootstrap_servers=broker), 2_000, 1)
    assert gc.get_threshold() == before
    for parts in found.values():
        ours = parts["consume"] + parts["columns"]
        assert 0 < ours <= parts["all"] - parts["threads"] + 0.02  # rounded


def refuse():
    raise BenchError("no Maven here")
