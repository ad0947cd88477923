"""Beyond the largest size a stage goes on by its own power of the number of items."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.static_curve import draw, extrapolated


def row(items: int) -> dict[str, Any]:
    stages = {
        "merge": {"seconds": items / 1e4, "peak_gib": 1.0},
        "hgnn": {"seconds": (items / 1e5) ** 2, "peak_gib": items / 1e6},
    }
    seconds = sum(stage["seconds"] for stage in stages.values())
    return {
        "plan": {"items": items}, "edges": 20 * items, "stages": stages, "seconds": seconds,
        "peak_gib": max(stage["peak_gib"] for stage in stages.values()),
    }  # fmt: skip


def test_each_stage_goes_on_by_its_power() -> None:
    found = extrapolated([row(10_000), row(100_000), row(1_000_000)], 4_000_000)
    assert found == pytest.approx((400 + 1_600, 4.0))


def test_two_large_sizes_are_needed() -> None:
    assert extrapolated([row(10_000), row(100_000)], 4_000_000) is None


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw([row(100_000), row(1_000_000)], tmp_path / "curve.svg")
    assert "<svg" in (tmp_path / "curve.svg").read_text()
