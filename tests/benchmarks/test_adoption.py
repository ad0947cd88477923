"""The benchmark of adoption, on a world of a few hundred items."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import adoption
from benchmarks.adoption import STAY, AdoptionPlan, run
from evaluation.reproduction.worlds import SIMULATED, plan_of
from static_layer.progress import silent


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_ITEMS": 120, "_USERS": 200, "_EVENTS": 8_000, "_DRAWS": 200}.items():
        monkeypatch.setattr(adoption, name, value)
    hgnn = plan_of(SIMULATED).hgnn
    little = replace(hgnn.train, epochs=1, max_edges_per_epoch=500, batch_size=250)
    plan = SimpleNamespace(hgnn=replace(hgnn, train=little))
    monkeypatch.setattr(adoption, "plan_of", lambda _: plan)


@pytest.mark.usefixtures("small")
def test_each_arm_is_asked_about_the_same_before_and_after(tmp_path: Path) -> None:
    arms = ("swap", "warm, kept, align")
    plan = AdoptionPlan(seeds=(1,), first=40.0, snapshot=70.0, every=6.0, switches=2, arms=arms)
    report = run(plan, tmp_path / "adoption.json", silent)
    assert json.loads((tmp_path / "adoption.json").read_text())["arms"] == report["arms"]
    first = [row for row in report["rows"] if row["switch"] == 1]
    assert [row["arm"] for row in first] == [STAY, *arms]
    assert len({row["before"] for row in first}) == 1, "they part at the first switch"
    assert len({(row["switch"], row["tests"]) for row in report["rows"]}) == 2
    stayed, swapped, kept = report["arms"]
    assert stayed["change"] == pytest.approx(0, abs=0.02), "only the weight of popularity may move"
    for arm in (swapped, kept):
        low, high = arm["ci"]
        assert low < arm["change"] < high
        assert arm["tests"] == sum(r["tests"] for r in report["rows"] if r["arm"] == arm["arm"])
