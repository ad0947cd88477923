"""The first sentence of the page *Now*: what it says of a view, and where it sends the reader."""

import re
from pathlib import Path
from typing import Any

import pytest

from console import ConsoleSettings, health
from console.health import findings
from console.letters import FIXES
from console.series import RANGES, Second, Series
from streams import Reason

ROOT = Path(__file__).parents[2]
NOW = 1_700_000_000_000


def view(seconds: list[dict[str, Any]] | None = None, **changed: Any) -> dict[str, Any]:
    """A healthy system of one partition."""
    own = {
        "time": NOW, "log_answers": True, "behind": 0, "seconds": seconds or [second()] * 60,
        "latency_ms": {"answers": 100, "p50": 20.0, "p95": 80.0, "p99": 120.0},
        "partitions": [{"partition": 0, "workers_lag": 3}],
        "channels": [
            {"channel": "default", "served": "g1", "lacks_bundle": False, "pinned": None}
        ],
        "models": {"static": made(1), "dynamic": made(1)},
    }  # fmt: skip
    return own | changed


def made(ago_ms: int) -> dict[str, int]:
    return {"created_at": NOW - ago_ms}


def second(**changed: Any) -> dict[str, Any]:
    return {"events": 20.0, "answers": 4.0, "refused": 0, "lag": 5} | changed


def channel(**changed: Any) -> list[dict[str, Any]]:
    return [view()["channels"][0] | changed]


def lags(first: int, step: int, answers: float = 4.0) -> list[dict[str, Any]]:
    return [second(lag=first + step * n, answers=answers) for n in range(60)]


def test_a_healthy_system_has_no_finding():
    assert findings(view()) == []


@pytest.mark.parametrize(
    ("what", "runbook", "says"),
    [
        (view(log_answers=False), "SegueNothingApplied", "Kafka does not answer"),
        (view(channels=channel(pinned="g0")), "SeguePinned", "g0 is pinned, but g1 is served"),
        (view(behind=1_200), "", "still reads the log: 1,200 records"),
        (view(partitions=[{"partition": 4, "workers_lag": 50_001}]), "SegueWorkersBehind", "4"),
        (view(lags(10, 1)), "SegueWorkersBehind", "69 records wait"),
        (view(lags(10, 0, answers=0.0)), "SegueNothingApplied", "10 records wait"),
        (view(latency_ms={"answers": 20, "p99": 1_500.0}), "SegueAnswersLate", "1.5 s"),
        (view([second(refused=1)] * 60), "SegueManyDeadLetters", "5.0 %"),
        (view(channels=channel(served=None)), "SegueBundleOld", "No bundle is served"),
        (view(channels=channel(lacks_bundle=True)), "SegueChannelLacksBundle", "of its own"),
        (view(channels=channel(pinned="g0", served="g0")), "SeguePinned", "g0 is pinned:"),
        (view(models={"static": made(70_000_000)}), "SegueStaticBuildFails", "19 h"),
        (view(models={"dynamic": made(7_300_000)}), "SegueBundleOld", "2 h"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_runbook_section(what, runbook, says):
    (found,) = findings(what)
    assert found.runbook == runbook
    assert says in found.text


@pytest.mark.parametrize(
    "what",
    [
        view(lags(9, 1, answers=0.0)),
        view([*lags(100, 1)[:-1], second(lag=100)]),
        view(lags(100, 1)[:59]),
        view([second(lag=None, answers=0.0)] * 60),
        view(latency_ms={"answers": 19, "p99": 5_000.0}),
        view([second(refused=1)] * 9 + [second()] * 51),
        view([second(events=0.0)] * 60, models={"dynamic": made(9_000_000)}),
    ],
)
def test_too_little_evidence_is_no_finding(what):
    assert findings(what) == []


def test_the_worst_comes_first():
    found = findings(view(channels=channel(pinned="g0", served="g0"), log_answers=False))
    assert [one.level for one in found] == ["bad", "warn"]


def test_sections_and_limits_are_those_of_the_alerts():
    source = Path(health.__file__).read_text()
    named = set(re.findall(r'"(Segue\w+)"', source))
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert named <= set(sections)
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    rules = dict(re.findall(r"alert: (\w+)\n\s+expr: (.+)", alerts))
    assert rules["SegueWorkersBehind"].endswith(f"> {health.LAG_RECORDS}")
    assert rules["SegueAnswersLate"].endswith(f"> {health.LATE_MS // 1000}")
    assert rules["SegueManyDeadLetters"].endswith(f"> {health.REFUSED_SHARE}")
    assert f"> {health.BUNDLE_AGE_S})" in rules["SegueBundleOld"]
    assert rules["SegueStaticBuildFails"].endswith(f"> {health.STATIC_AGE_S}")


def test_every_range_sums_the_same_seconds():
    series = Series()
    for number in range(40):
        series.add(
            Second(
                time=number, events=number, answers=2, refused=1, late=(10, 20), lag=number % 7
            )
        )  # fmt: skip
    assert [p["events"] for p in series.points(300)] == list(range(40))
    for shown, step in RANGES.items():
        points = series.points(shown)
        assert len(points) == -(-40 // step)
        assert points[-1]["time"] == 39
        assert sum(p["refused"] for p in points) == 40
    quarter = series.points(3_600)[0]
    assert quarter == {
        "time": 14, "events": 7.0, "answers": 2.0, "refused": 15, "p95_ms": 20.0, "lag": 6,
    }  # fmt: skip


def test_a_range_forgets_its_oldest_points():
    series = Series()
    for number in range(310):
        series.add(Second(time=number, events=0, answers=0, refused=0, late=(), lag=None))
    assert [p["time"] for p in series.points(300)] == list(range(10, 310))
    assert series.points(300)[0]["p95_ms"] is None


def test_every_reason_has_a_fix():
    assert set(FIXES) == set(Reason)
    source = (ROOT / "console" / "static" / "pages" / "letters.js").read_text()
    assert [r for r in Reason if not re.search(rf"\b{r.value}: \"", source)] == []


@pytest.mark.parametrize("address", ["javascript:alert(1)", "docs.example", "/docs"])
def test_the_address_of_the_documentation_is_one_of_the_web(address):
    with pytest.raises(ValueError, match=r"console\.docs_url: expected http\(s\)://"):
        ConsoleSettings(docs_url=address)


def test_a_range_of_the_charts_has_its_step(running):
    with running.client() as client:
        for shown, step in RANGES.items():
            found = client.get("/console/series", params={"seconds": shown}).json()
            assert found["step"] == step
            assert len(found["points"]) <= shown // step + 1
        refused = client.get("/console/series", params={"seconds": 7})
        assert refused.status_code == 422
        assert "expected one of 300, 3600, 86400, got 7" in refused.json()["detail"]
