"""segue evaluate, as people call it."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from segue.cli import app
from tests.evaluation.worlds import random_dataset

FAST = ["--models", "popularity,item_cf"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    dataset = random_dataset(0, users=80, items=60, events=1_500)
    events = pl.DataFrame(
        {
            "user_id": dataset.users[dataset.events.user],
            "item_id": dataset.items["item_id"].gather(dataset.events.item),
            "item_type": dataset.items["item_type"].gather(dataset.events.item),
            "timestamp": dataset.events.timestamp,
        }
    )
    events.write_parquet(tmp_path / "events.parquet")
    dataset.items.write_parquet(tmp_path / "items.parquet")
    return [str(tmp_path / "events.parquet"), str(tmp_path / "items.parquet")]


def evaluate(files: list[str], *more: str):
    return CliRunner().invoke(app, ["evaluate", *files, *more])


def test_the_rows_have_the_form_that_others_read(files, tmp_path):
    out, plot = tmp_path / "rows.json", tmp_path / "rows.png"
    done = evaluate(files, *FAST, "--test-days", "10", "--json", str(out), "--plot", str(plot))
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    rows = report["rows"]
    wanted = {
        "model", "item_type", "segment", "users", "hr_at_10", "hr_at_10_ci", "ndcg_at_10", "mrr",
        "coverage", "seconds",
    }  # fmt: skip
    assert all(wanted <= row.keys() for row in rows)
    assert {row["model"] for row in rows} == {"popularity", "item_cf"}
    assert {row["item_type"] for row in rows} == {"all", "pod", "book"}
    overall = [r for r in rows if (r["item_type"], r["segment"]) == ("all", "all")]
    assert len(overall) == 2
    assert overall[0]["users"] == report["trial"]["test_users"]
    low, high = overall[0]["hr_at_10_ci"]
    assert 0 <= low <= overall[0]["hr_at_10"] <= high <= 1
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "all, all" in done.output


def test_the_product_has_no_row_where_each_user_is_asked_at_another_time(files, tmp_path):
    out = tmp_path / "rows.json"
    done = evaluate(files, "--models", "popularity,segue", "--protocol", "loo", "--json", str(out))
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert {row["model"] for row in report["rows"]} == {"popularity"}
    assert "expected --protocol time" in report["skipped"]["segue"]
    assert "segue has no rows" in done.output


def test_the_other_protocols_and_tuning(files, tmp_path):
    out = tmp_path / "rows.json"
    for options in (
        ["--protocol", "loo", "--repeats", "include"],
        ["--protocol", "sampled", "--min-events", "5", "--candidates", "trained"],
        ["--test-days", "10", "--tune", "3", "--models", "popularity_recent", "--users", "20"],
        ["--test-days", "10", "--where", "item_type = 'pod'", "--order", "item_id"],
    ):
        done = evaluate(files, *FAST, *options, "--json", str(out))
        assert done.exit_code == 0, done.output
        assert json.loads(out.read_text())["rows"]
    report = json.loads(out.read_text())
    assert {row["item_type"] for row in report["rows"]} == {"all", "pod"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "popularity,magic"], "got magic"),
        (["--protocol", "backwards"], "expected a protocol of time, loo, sampled"),
        (["--test-days", "4000"], "choose a split inside the data"),
        (["--repeats", "maybe"], "exclude or include"),
        (["--where", "nosuch = 1"], "cannot keep events where"),
        (["--order", "nosuch"], "missing: nosuch"),
        (["--until", "soon"], "expected a day such as"),
        (["--json", "/nowhere/at/all.json"], "there is no folder"),
    ],
)
def test_mistakes_are_explained(files, options, message):
    done = evaluate(files, *FAST, *options)
    assert done.exit_code != 0
    assert message in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


def test_bad_files_are_explained(files, tmp_path):
    broken, empty = tmp_path / "broken.parquet", tmp_path / "empty.parquet"
    broken.write_bytes(b"no parquet")
    table = tmp_path / "events.csv"
    events = pl.read_parquet(files[0])
    events.write_csv(table)
    events.clear().write_parquet(empty)
    holes, odd = tmp_path / "holes.parquet", tmp_path / "odd.parquet"
    events.with_columns(user_id=pl.lit(None, pl.String)).write_parquet(holes)
    events.with_columns(timestamp=pl.lit("today")).write_parquet(odd)
    for first, message in (
        (str(broken), "no readable Parquet file"),
        (str(table), "expected a Parquet file, got"),
        (str(tmp_path / "none.parquet"), "file not found:"),
        (files[1], "missing: user_id, timestamp"),
        (str(empty), "there are none"),
        (str(holes), "rows have no user_id"),
        (str(odd), "expected timestamp in ms UTC"),
    ):
        done = evaluate([first, files[1]], *FAST)
        assert done.exit_code == 1
        assert message in " ".join(done.output.split())
        assert "Traceback" not in done.output


def test_a_stream_is_replayed_day_by_day(files, tmp_path):
    out, plot = tmp_path / "stream.json", tmp_path / "days.svg"
    done = evaluate(
        files, "--protocol", "prequential", "--models", "popularity_1d,bigrams", "--ask", "basket",
        "--test-days", "6", "--json", str(out), "--plot", str(plot),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert {row["model"] for row in report["rows"]} == {"popularity_1d", "bigrams"}
    days = [day for day in report["days"] if day["model"] == "bigrams"]
    assert sum(day["asked"] for day in days) == report["trial"]["questions"]
    assert "</svg>" in plot.read_text()
    assert "popularity_1d" in done.output


def test_an_arm_that_does_not_exist_is_named(files):
    done = evaluate(files, "--protocol", "prequential", "--models", "popularity")
    assert done.exit_code == 1
    assert "'popularity'" in done.output
