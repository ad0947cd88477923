"""The pages of quality are what their stored figures say."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.__main__ import FIGURES, NOTES, PAGES, keep
from benchmarks.quality.page import command_of, page_of
from benchmarks.quality.sections import SECTIONS, Run, Section
from benchmarks.quality.targets import Target, verdict
from evaluation.models import chosen
from evaluation.prequential import ARMS

RUN = Run(name="run", models="ours,theirs", seeds=2)
SECTION = Section(name="lfm1m", title="A set", data="LFM", options="--test-days 3", runs=(RUN,))


def row(model: str, hits: float, **others: Any) -> dict[str, Any]:
    figures = {"ndcg_at_10": 0.1, "mrr": 0.1, "recall_at_100": 0.2, "coverage": 0.5}
    return {
        "model": model, "item_type": "all", "segment": "all", "users": 10, "hr_at_10": hits,
        "hr_at_10_ci": [hits - 0.01, hits + 0.01], "hr_at_10_seeds": [hits, hits], "seconds": 1.0,
        **figures, **others,
    }  # fmt: skip


def report(*rows: dict[str, Any]) -> dict[str, Any]:
    trial = {"train_events": 5, "test_users": 10, "held_out": 20, "candidates": 30}
    return {"trial": trial, "rows": list(rows)}


def test_a_table_has_the_best_model_first(tmp_path: Path) -> None:
    (tmp_path / "lfm1m.md").write_text("What is said.")
    page = page_of([SECTION], {"run": report(row("theirs", 0.2), row("segue", 0.5))}, tmp_path)
    assert "segue evaluate LFM --test-days 3 --seeds 2 --models ours,theirs" in page
    assert page.index("| `segue` |") < page.index("| `theirs` |")
    assert "lfm1m: at least .490 | `segue` | 0.4900 | 0.5000 | reached |" in page
    assert page.endswith("What is said.\n")


def test_what_was_not_run_is_named(tmp_path: Path) -> None:
    page = page_of([SECTION], {}, tmp_path)
    assert "**Not measured yet:** `ours`, `theirs`." in page
    assert "at least .490 | `segue` | | | not measured |" in page


@pytest.mark.parametrize(("hits", "reached"), [(0.26, True), (0.24, False)])
def test_a_target_is_judged_by_the_best_of_the_others(hits: float, reached: bool) -> None:
    target = Target(says="", section="", model="segue", over=("pop", "text"), ratio=1.25)
    rows = [row("segue", hits), row("popular", 0.2), row("text_knn", 0.1), row("ease", 0.9)]
    found = verdict(target, rows)
    assert found is not None
    assert found[0] == hits
    assert found[1] == pytest.approx(0.25)
    assert found[2] is reached
    assert verdict(target, rows[:1]) is None
    assert verdict(target, rows[1:]) is None


def test_a_stored_report_does_not_say_where_the_data_lay(tmp_path: Path) -> None:
    file, kept = tmp_path / "report.json", tmp_path / "kept.json"
    whole = {**report(row("segue", 0.123456789)), "command": "segue evaluate /home/me/events"}
    file.write_text(json.dumps(whole))
    keep(file, "segue evaluate LFM", kept)
    assert "/home" not in kept.read_text()
    assert json.loads(kept.read_text())["rows"][0]["hr_at_10"] == 0.12346


def test_every_run_asks_for_models_that_exist() -> None:
    for section in SECTIONS:
        for run in section.runs:
            names = run.models.split(",")
            assert shlex.split(command_of(section, run))[:2] == ["segue", "evaluate"]
            if section.page == "quality" or section.served:
                chosen(names)
            else:
                assert set(names) <= set(ARMS)


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_are_those_of_the_figures(name: str) -> None:
    reports = {file.stem: json.loads(file.read_text()) for file in FIGURES.glob("*.json")}
    sections = [section for section in SECTIONS if section.page == name]
    assert PAGES[name].read_text() == page_of(sections, reports, NOTES)


def test_served_figures_are_tables_by_stratum_with_the_gains_of_the_same_questions() -> None:
    section = Section(
        name="s", title="S", data="NEWS", options="--served --live", page="freshness", served=True,
        runs=(Run(name="s", models="popularity", more="--asked 10"),),
    )  # fmt: skip
    rows = [
        {"model": model, "segment": segment, "item_type": "all", "hr_at_10": hits, "served": own,
         "hr_at_10_ci": (hits - 0.1, hits + 0.1), "published": [3]}
        for model, own, hits in (("segue", True, 0.3), ("segue daily", True, 0.4),
                                 ("bigrams", False, 0.2))
        for segment in ("all", "age_1h")
    ]  # fmt: skip
    # Lists of one type are other questions: they stand in no table of all.
    rows += [{**one, "item_type": "food", "hr_at_10": 0.9} for one in rows]
    gain = {"model": "segue daily", "over": "segue", "item_type": "all", "mode": "live",
            "gain": 1 / 3, "gain_ci": (0.1, 0.5)}  # fmt: skip
    gains = [{**gain, "segment": "all"}, {**gain, "segment": "age_1h", "gain": -0.25}]
    gains.append({**gain, "segment": "all", "mode": "frozen", "gain": 9.0})
    facts = {"questions": 10, "test_days": 2.0, "train_events": 5, "strata": {"age_1h": 4}}
    page = page_of([section], {"s": {"trial": facts, "rows": rows, "gains": gains}}, NOTES)
    assert "`--asked 10`: 10 questions in 2 days, 5 events before." in page
    assert "| HR@10 | bundles | all (95 %) | age_1h (40%) |" in page
    assert "| `segue daily` | 4 | 0.4000 (0.3000-0.5000) | 0.4000 |" in page
    assert "| `bigrams` |  | 0.2000 (0.1000-0.3000) | 0.2000 |" in page
    assert "| `segue daily` | `segue` | +33.3% (+10.0% to +50.0%) | -25.0% (" in page
    assert "900" not in page
    assert "segue simulate history --to NEWS/events.parquet --world news" in page


def test_arms_of_the_product_stand_by_tier_with_their_paired_gains(tmp_path: Path) -> None:
    tiers = ("all", "head", "mid", "tail", "new", "cold")
    rows = [
        row(model, 0.3, segment=tier, label=label, mode="frozen")
        for model in ("segue", "segue without hgnn") for tier in tiers
        for label in ("horizon", "next")
    ]  # fmt: skip
    gain = {
        "model": "segue", "over": "segue without hgnn", "item_type": "all", "segment": "tail",
        "label": "horizon", "mode": "frozen", "gain": 0.25, "gain_ci": [0.1, 0.4],
    }  # fmt: skip
    section = Section(
        name="graph", title="Arms", data="LFM", options="--served", runs=(RUN,), arms=True
    )
    page = page_of([section], {"run": {**report(*rows), "gains": [gain]}}, tmp_path)
    assert "| HR@10, users | all (10) | head (10) |" in page
    assert page.count("| `segue without hgnn` |") == 1  # of one label
    expected = "| `segue` over `segue without hgnn` |  |  |  | +25.0% (+10.0% to +40.0%) |  |  |"
    assert expected in page
