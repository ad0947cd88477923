"""The benchmark of the live graph reports work and agreement with batch inference."""

from pathlib import Path

from benchmarks.live_graph import LiveGraphPlan, run, show


def test_the_report_has_a_row_for_each_delta(tmp_path: Path) -> None:
    plan = LiveGraphPlan(items=120, users=40, before=8, rate=60, every_s=1.0, rounds=2)
    report = run(plan, tmp_path / "figures.json")
    assert [row["events"] for row in report["rows"]] == [60, 60]
    assert all(0 < row["changed"] <= 120 for row in report["rows"])
    assert report["least_cosine"] >= 0.9999
    show(report)
