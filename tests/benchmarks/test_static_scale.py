"""The static benchmark runs the job on real checkpoints of the size that was asked for."""

from pathlib import Path

import pytest

from benchmarks.static_scale import StaticPlan, generate, measure, run_samplers
from static_layer import StaticBundle

PLAN = StaticPlan(items=2_000, edges=40_000, fan_outs=(2, 2), batch_size=2048, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("static")
    generate(folder, PLAN)
    return folder


def test_one_epoch_of_the_job_with_time_and_memory_by_stage(folder: Path) -> None:
    row = measure(folder, PLAN)
    assert row["edges"] == pytest.approx(PLAN.edges, rel=0.15)
    assert set(row["stages"]) == {
        "merge", "text", "graph", "structure", "hgnn", "vectors", "save",
    }  # fmt: skip
    assert all(stage["seconds"] > 0 for stage in row["stages"].values())
    assert row["seconds"] == pytest.approx(
        sum(stage["seconds"] for stage in row["stages"].values())
    )
    assert 0.05 < row["peak_gib"] < 8
    # Balanced: six relations, each with as many edges as the smallest one has left.
    smallest = min(row["relations"].values())
    assert 0.85 * 6 * smallest < row["epoch_edges"] <= 6 * smallest
    bundle = StaticBundle.load(folder / "bundle")
    assert len(bundle.items) == PLAN.items
    assert len(bundle.offsets["events"]) == 4


def test_samplers_are_measured_on_the_same_graph(tmp_path: Path) -> None:
    report = run_samplers(PLAN, 2, tmp_path / "samplers.json")
    assert report["samplers"][0]["sampler"] == "torch"
    assert all(row["neighbours_per_s"] > 0 for row in report["samplers"])
