"""At every point of start, rebalance, commit and stop, a signal or a failure ends the process."""

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.integration.conftest import fill
from tests.integration.stopping_points import POINTS

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ENDS_WITHIN_S = 10.0


Outcomes = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def outcomes(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Cases of a transport, forked by one process: importing the clients costs seconds.

    One action at each point; with STOPS=all every action, which takes some minutes.
    """
    more = ["--all"] if os.environ.get("STOPS") == "all" else []

    @functools.cache
    def of(transport: str) -> list[dict[str, Any]]:
        return list(run_workers(broker, tmp_path_factory.mktemp("stopping"), transport, *more))

    return of


def run_workers(broker: str, folder: Path, transport: str, *more: str) -> Iterator[dict[str, Any]]:
    """Yield the outcomes of cases as they end."""
    topics = {name: f"stopping-{name}-{transport}" for name in ("events", "requests")}
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.create_topics([NewTopic(topic, 2, 1) for topic in topics.values()])
    admin.close()
    for topic in topics.values():
        for partition in range(2):
            asyncio.run(fill(broker, topic, partition, (b"%d" % n for n in range(50))))
    options = ["--broker", broker, "--folder", str(folder), "--transport", transport, *more]
    options += [f"--{name}={topic}" for name, topic in topics.items()]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.stopping_worker", *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            yield json.loads(line)
    assert running.returncode == 0


def faults_of(outcome: dict[str, Any]) -> str | None:
    """What is wrong with an outcome; None if nothing is."""
    if not outcome["reached"]:
        return "the point was not reached"
    if outcome["killed"]:
        return "the process did not end"
    if "the stop did not end within" in outcome["output"]:
        return "the stop needed its limit"
    if outcome["seconds"] >= ENDS_WITHIN_S:
        return f"the process took {outcome['seconds']:.1f} s to end"
    expected = {"term": 0, "crash": 1}.get(outcome["action"], outcome["status"])
    if outcome["status"] != expected:
        return f"status {outcome['status']} instead of {expected}"
    return None


@pytest.mark.parametrize(
    ("transport", "point"),
    [(name, point.name) for name, points in POINTS.items() for point in points.every],
)
def test_the_process_ends_whatever_happens_at(
    transport: str, point: str, outcomes: Outcomes
) -> None:
    ours = [outcome for outcome in outcomes(transport) if outcome["point"] == point]
    assert ours
    for outcome in ours:
        fault = faults_of(outcome)
        assert fault is None, f"{fault}; {outcome['action']}:\n{outcome['output'][-3000:]}"


@pytest.mark.parametrize("transport", POINTS)
def test_a_start_that_fails_ends_without_a_signal(transport: str, outcomes: Outcomes) -> None:
    points = POINTS[transport]
    at_start = {point.name: point for point in points.start[: points.fatal]}
    failed = [
        outcome
        for outcome in outcomes(transport)
        if outcome["point"] in at_start and outcome["action"] in ("raise", "cancel")
    ]
    assert len(failed) == sum(len({"raise", "cancel"} & {*p.actions}) for p in at_start.values())
    for outcome in failed:
        assert (outcome["status"], outcome["signalled"]) == (1, False), outcome["output"][-3000:]
