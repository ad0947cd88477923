"""The command stores every row as it comes, makes none twice, and writes the page from them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluation.reproduction import worlds
from evaluation.reproduction.rows import WorldPlan, in_papers_form
from segue.cli import app
from segue.commands import reproduce

plan_of = worlds.plan_of


def tiny(name: str) -> WorldPlan:
    plan = plan_of(name)
    train = replace(plan.hgnn.train, epochs=1, batch_size=128, max_edges_per_epoch=128)
    towers = replace(
        plan.towers,
        towers=replace(plan.towers.towers, layers=(16, 8)),
        replay=replace(plan.towers.replay, epochs=1.0, capacity=4_000),
        popularity=replace(plan.towers.popularity, fit_examples=16),
    )
    hgnn = replace(plan.hgnn, train=train)
    paper = in_papers_form(hgnn, epochs=1, edges=128)
    return replace(plan, hgnn=hgnn, paper=paper, towers=towers, side_seeds=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(worlds, "plan_of", tiny)
    monkeypatch.setattr("evaluation.reproduction.run._AGES_DAYS", (1.0,))
    for name, size in (("ITEMS", 60), ("USERS", 80), ("EVENTS", 2_000)):
        monkeypatch.setattr(reproduce, name, size)
    return tmp_path


def run(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(
        app,
        [
            "reproduce", "simulated", "--json", str(folder), "--seeds", "1",
            "--page", str(folder / "page.md"), "--set", f"data={folder}", *more,
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return done.output


def test_rows_are_stored_shown_and_not_made_again(folder: Path) -> None:
    rows = "popularity,2t-hgnn,2t-hgnn-demand,daily-frozen+1d"
    run(folder, "--only", rows)
    stored = json.loads((folder / "simulated.json").read_text())
    names = [row["row"] for row in stored["rows"]]
    assert names[:3] == ["popularity", "2t-hgnn", "2t-hgnn-demand"]
    assert {"daily-frozen+1d", "daily-fresh+1d"} <= set(names)  # the days are tested together
    for row in stored["rows"]:
        assert row["seeds"] == [1]
        assert {"podcast/all", "audiobook/warm_users"} <= set(row["figures"])
        assert all(0 <= cell["hr_at_10"] <= 1 for cell in row["figures"].values())
    page = (folder / "page.md").read_text()
    assert all(f"`{name}`" in page for name in names[:3])
    assert "2T-HGNN beats popularity" in page
    assert "A frozen HGNN against a daily one" in page
    run(folder, "--only", rows)
    assert json.loads((folder / "simulated.json").read_text()) == stored


def test_an_unknown_row_is_named(folder: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "simulated", "--only", "nonsense"])
    assert done.exit_code == 1
    assert "nonsense" in done.output


def test_real_data_need_their_folder(folder: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "lfm1m", "--json", str(folder)])
    assert done.exit_code == 1
    assert "--data" in done.output
