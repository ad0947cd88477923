"""The whole path in one process: a small world, from an empty log to live answers."""

import json
import os
import subprocess
import sys

from tests.waiting import LONG_S

SMALL = [
    "--world-items", "300", "--world-users", "600", "--world-events", "20000",
    "--live-seconds", "4", "--live-rate", "50", "--hgnn-epochs", "3",
]  # fmt: skip


def test_the_demo_on_the_embedded_log(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "KAFKA_BOOTSTRAP_SERVERS"}
    done = subprocess.run(
        [sys.executable, "-m", "segue", "demo", "--log", "embedded", *SMALL,
         "--set", f"data={tmp_path}"],
        capture_output=True, text=True, check=False, env=environment, timeout=LONG_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((tmp_path / "demo-report.json").read_text())
    assert report["runs_on"].startswith("the embedded log")
    assert report["records_in"] == report["applied"] + report["dead_lettered"]
    assert report["dead_lettered"] == sum(report["dead_letters"].values()) == 21
    assert report["live"]["served"] == 1.0
    assert set(report["latency_ms"]) == {"p50", "p95", "p99"}
    for item_type in ("podcast", "audiobook"):
        rates = report["hr_at_10"][item_type]
        assert rates["two_tower_hgnn"] > rates["popularity"]
    assert len(report["people"]) == 3
    assert "all accounted for" in done.stdout
