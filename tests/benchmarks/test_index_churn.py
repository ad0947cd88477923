"""A small catalogue under churn, without a clock: recall holds, and nothing deleted comes back."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.index_churn import ChurnPlan, measure
from dynamic_layer import IndexSettings, ItemIndex
from segue.commands import bench

PLAN = ChurnPlan(
    items=10_000,
    width=32,
    churn=0.2,
    minutes=0.5,
    rate=8.0,
    batch=8,
    tick_s=1.0,
    check_s=3.0,
    paced=False,
    settings=IndexSettings(ivf_above=2_000, fresh_limit=300, fresh_share=0.0),
)


def test_recall_holds_and_nothing_deleted_is_returned_while_indexes_are_swapped() -> None:
    report = measure(PLAN)
    assert report["lists"] > 0
    assert report["replaced"] == 1_000
    assert report["folds"] >= 3
    assert report["most_fresh"] <= 400
    assert report["deleted_returned"] == 0
    assert report["recall"]["least"] >= 0.99


def test_a_deleted_item_that_is_returned_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ItemIndex, "remove", lambda index, rows: None)
    told = ["index", "--items", "300", "--churn", "20", "--minutes", "0.02", "--width", "16",
            "--json", str(tmp_path / "f.json")]  # fmt: skip
    result = CliRunner().invoke(bench.app, told)
    assert result.exit_code == 1, result.output
    assert "deleted items returned" in result.output
