"""segue bench throughput, on a real broker with few events."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.listening import Listening, work_of
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
EVENTS = 3_000


def bench(address, *options):
    """Run the command; at a timeout it ends what it has started."""
    environment = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": address, "PYTHONPATH": str(ROOT)}
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
def test_the_worker_is_measured_and_its_counts_are_checked(broker, tmp_path):
    file = tmp_path / "bench.json"
    options = ["--jobs", "segue", "--events", str(EVENTS), "--repeat", "1", "--json", str(file)]
    status, said = bench(broker, *options)
    assert status == 0, said
    (row,) = json.loads(file.read_text())["jobs"]
    assert (row["job"], row["events"]) == ("segue", EVENTS)
    assert row["events_per_second"] == pytest.approx(EVENTS / row["seconds"])
    assert row["deltas_per_event"] == work_of(Listening.generate(EVENTS, 1)).deltas / EVENTS
    assert row["peak_rss_bytes"] > 0
    assert list(tmp_path.iterdir()) == [file]
