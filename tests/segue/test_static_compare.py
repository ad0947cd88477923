"""The comparison of HGNN recipes sees no future, and prints what it measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from dynamic_layer import ExampleBatch
from evaluation import Dataset, Interactions, TimeSplit, dataset_of, time_split
from segue import static_trial
from segue.cli import app
from segue.static_trial import DAY_MS, TrialPlan, cold_dataset, item_keys

DAYS, TEST_DAYS = 40, 10


def frames(seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sixty users on eighty items of two types, in four communities; items 70.. appear late."""
    rng = np.random.default_rng(seed)
    size = 2_000
    user = rng.integers(60, size=size)
    day = np.sort(rng.integers(DAYS, size=size))
    item = (rng.integers(20, size=size) * 4 + user % 4) % np.where(day < 32, 70, 80)
    events = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in user],
            "item_id": [f"i{number}" for number in item],
            "item_type": ["food" if number % 2 else "tool" for number in item],
            "timestamp": day * DAY_MS + rng.integers(DAY_MS, size=size),
        }
    ).sort("timestamp")
    items = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(80)],
            "item_type": ["food" if number % 2 else "tool" for number in range(80)],
            "title": [f"thing {number} for club {number % 4}" for number in range(80)],
        }
    )
    return events, items


@pytest.fixture
def world() -> tuple[Dataset, TimeSplit, TrialPlan]:
    dataset = dataset_of(*frames())
    split = time_split(dataset.events, test_days=TEST_DAYS, end_ms=DAYS * DAY_MS)
    return dataset, split, TrialPlan(example_days=8)


def test_the_graph_ends_where_the_examples_begin(
    world: tuple[Dataset, TimeSplit, TrialPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, split, plan = world
    seen: list[Interactions] = []
    counted = static_trial.co_interactions

    class Stop(Exception):
        pass

    def spy(events: Interactions, keys: np.ndarray) -> object:  # type: ignore[type-arg]
        seen.append(events)
        counted(events, keys)
        raise Stop

    monkeypatch.setattr(static_trial, "co_interactions", spy)
    with pytest.raises(Stop):
        static_trial.static_bundle(
            dataset, split, plan, None, seed=1, encoder=None, progress=lambda *_: None  # type: ignore[arg-type]
        )  # fmt: skip
    examples = static_trial._examples(dataset, split, plan)
    boundary = (DAYS - TEST_DAYS - 8) * DAY_MS
    assert seen[0].timestamp.max() < boundary <= examples.timestamp.min()
    assert examples.timestamp.max() < split.at_ms


def test_counts_are_those_of_the_definition(world: tuple[Dataset, TimeSplit, TrialPlan]) -> None:
    dataset, split, _ = world
    keys = item_keys(dataset)
    counts = static_trial.co_interactions(split.train, keys)
    users: dict[int, set[int]] = {}
    for user, item in zip(split.train.user.tolist(), split.train.item.tolist(), strict=True):
        users.setdefault(int(keys[item]), set()).add(user)
    for a, b, count in zip(counts.left, counts.right, counts.count, strict=True):
        pair = int(counts.item_keys[a]), int(counts.item_keys[b])
        assert count == len(users[pair[0]] & users[pair[1]])
    assert len(np.unique(counts.left.astype(np.int64) * len(keys) + counts.right)) == len(
        counts.left
    )


def test_an_examples_history_is_what_came_before_it(
    world: tuple[Dataset, TimeSplit, TrialPlan],
) -> None:
    dataset, split, plan = world
    examples: ExampleBatch = static_trial._examples(dataset, split, replace(plan, history_cap=5))
    keys, events = item_keys(dataset), split.train
    recent = np.flatnonzero(events.timestamp >= examples.timestamp.min())
    assert len(examples) == len(recent)
    for number, event in enumerate(recent[:200].tolist()):
        before = [
            row for row in range(event) if events.user[row] == events.user[event]
        ]  # in order of time
        expected = list(dict.fromkeys(int(keys[events.item[row]]) for row in reversed(before)))
        mine = slice(examples.indptr[number], examples.indptr[number + 1])
        assert examples.history_item[mine].tolist() == expected[:5]
        assert examples.repeat[number] == (int(keys[events.item[event]]) in expected[:5])
        assert (examples.history_time[mine] <= examples.timestamp[number]).all()


def test_cold_items_have_no_event_before_the_split(
    world: tuple[Dataset, TimeSplit, TrialPlan],
) -> None:
    dataset, split, _ = world
    cold = cold_dataset(dataset, split).rows_of_type("cold")
    assert sorted(dataset.items["item_id"][cold.tolist()]) == [f"i{n}" for n in range(70, 80)]


def test_the_command_reports_every_model_of_each_recipe(tmp_path: Path) -> None:
    events, items = frames()
    events.write_parquet(tmp_path / "events.parquet")
    items.write_parquet(tmp_path / "items.parquet")
    done = CliRunner().invoke(
        app,
        [
            "static", "compare", str(tmp_path / "events.parquet"), str(tmp_path / "items.parquet"),
            "--split", "1970-01-31", "--test-days", "10", "--example-days", "8", "--seeds", "1",
            "--recipe", "default", "--recipe", "paper", "--json", str(tmp_path / "rows.json"),
            "--set", f"data={tmp_path}", "--set", "static.train.max_seconds=0.5",
            "--set", "static.train.epochs=1",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {(row["recipe"], row["model"], row["item_type"]) for row in rows} == {
        (recipe, model, item_type)
        for recipe in ("default", "paper")
        for model in ("text-KNN", "HGNN-KNN", "two-tower", "two-tower HGNN")
        for item_type in ("food", "tool", "cold")
    }
    assert all(0 <= row["hr_at_10"] <= 1 for row in rows)
