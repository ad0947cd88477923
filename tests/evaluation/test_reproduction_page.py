"""The page says what the figures say, and nothing is said that they leave open."""

import json
from pathlib import Path
from typing import Any

from evaluation.reproduction.claims import CLAIMS, Claim, judge
from evaluation.reproduction.page import page_of
from evaluation.reproduction.targets import Target, frozen_share, met

ROOT = Path(__file__).parents[2]
CLAIM = Claim(says="a beats b", better="a", worse="b", role="major")


def figure(hr: float, half: float) -> dict[str, Any]:
    return {
        "users": 100, "hr_at_10": hr, "ci": [hr - half, hr + half], "by_seed": [hr],
        "mrr": hr / 2, "coverage": hr * 2,
    }  # fmt: skip


def report(a: float, b: float, half: float) -> dict[str, Any]:
    rows = [
        {"row": name, "group": "models", "figures": {"pod/all": figure(hr, half)}}
        for name, hr in (("a", a), ("b", b))
    ]
    return {"types": ["pod", "book"], "rows": rows}


def said(found: dict[str, Any], claim: Claim = CLAIM) -> str | None:
    verdict = judge(claim, found)
    return None if verdict is None else verdict.said


def test_a_direction_holds_where_the_intervals_leave_no_doubt() -> None:
    assert said(report(0.30, 0.20, 0.02)) == "holds"
    assert said(report(0.20, 0.30, 0.02)) == "does not hold"


def test_what_the_intervals_leave_open_is_noise() -> None:
    assert said(report(0.30, 0.28, 0.02)) == "as noise"
    assert said(report(0.28, 0.30, 0.02)) == "as noise"


def test_a_missing_row_has_no_verdict() -> None:
    found = report(0.3, 0.2, 0.01)
    found["rows"].pop()
    assert said(found) is None


def test_a_target_is_missed_below_its_ratio() -> None:
    target = Target(says="", world="w", better="a", worse="b", item_type="pod", ratio=1.08)
    assert met(target, report(0.22, 0.2, 0.01)) == ("reached", 0.22, 0.2)
    assert met(target, report(0.21, 0.2, 0.01)) == ("missed", 0.21, 0.2)
    assert met(target, {"rows": []}) is None


def test_frozen_and_daily_are_compared_over_all_days() -> None:
    rows = [
        {"row": name, "figures": {"pod/all": {"hr_at_10": hr}}}
        for name, hr in (
            ("daily-frozen+1d", 0.1),
            ("daily-fresh+1d", 0.2),
            ("daily-frozen+5d", 0.3),
            ("daily-fresh+5d", 0.3),
        )
    ]
    assert frozen_share({"types": ["pod"], "rows": rows}) == [("pod", 0.2, 0.25)]


def test_claims_name_rows_that_exist() -> None:
    from evaluation.reproduction.rows import rows_of  # noqa: PLC0415 - torch
    from evaluation.reproduction.worlds import plan_of  # noqa: PLC0415

    names = {row.name for row in rows_of(plan_of("simulated"))}
    assert {name for claim in CLAIMS for name in (claim.better, claim.worse)} <= names


def test_the_page_in_the_repository_is_that_of_its_figures() -> None:
    folder = ROOT / "benchmarks" / "reproduction"
    found = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("simulated", "lfm1m", "amazon-fk")
        if (folder / f"{name}.json").exists()
    }
    assert found
    notes = (folder / "notes.md").read_text()
    assert page_of(found, notes) == (ROOT / "benchmarks" / "REPRODUCTION.md").read_text()
