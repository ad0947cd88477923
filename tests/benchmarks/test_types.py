"""The benchmark of item types: the same items and events in every row."""

import json
from pathlib import Path

from benchmarks.trained_world import World
from benchmarks.types import STAGES, TypesPlan, _counts, run


def test_each_number_of_types_has_a_row_with_ratios_to_two(tmp_path: Path) -> None:
    plan = TypesPlan(
        types=(1, 6), items=400, users=150, edges=400, steps=2, lists=4, repeat=1
    )  # fmt: skip
    report = run(plan, tmp_path / "types.json")
    assert json.loads((tmp_path / "types.json").read_text()) == json.loads(json.dumps(report))
    assert [row["types"] for row in report["rows"]] == [1, 2, 6]
    for row in report["rows"]:
        assert set(row["seconds"]) == set(row["ratios"]) == set(STAGES)
    assert set(report["rows"][1]["ratios"].values()) == {1.0}


def test_only_the_types_differ() -> None:
    one, many = (
        World.draw(items=300, users=50, history=12, seed=1, types=types)
        for types in (["a"], [f"t{number}" for number in range(40)])
    )
    assert (one.histories == many.histories).all()
    assert (one.items.hgnn == many.items.hgnn).all()
    assert len(set(many.items.item_types)) == 40
    first, second = _counts(one), _counts(many)
    assert sorted(first.count.tolist()) == sorted(second.count.tolist())
