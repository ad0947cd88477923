"""segue try: a folder of its own, a clear end for small data, and the whole way once."""

import json
import logging
import os
import random
import signal
import subprocess
import sys

import httpx
import polars as pl
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from segue.cli import app
from segue.demo.first_look import Budget, require_enough, try_settings
from segue.demo.material import from_tables
from segue.demo.runtime import DemoError
from segue.demo.trying import distinct_titles
from segue.screen import log_to_screen, log_warnings_only
from segue.settings import load_settings

NOW = 1_760_000_000_000
DAY = 86_400_000


def material(events, items=20):
    catalogue = pa.table({
        "item_id": [str(n) for n in range(items)], "item_type": ["item"] * items,
        "title": [f"T{n}" for n in range(items)],
    })  # fmt: skip
    frame = pl.DataFrame(
        events, schema=["user_id", "item_id", "item_type", "kind", "timestamp"], orient="row"
    )
    return from_tables("reads.csv on items.csv", catalogue, frame)


def history(users, each, items=20):
    return [
        (f"u{u}", str((u + n) % items), "item", "stream", NOW + n * DAY)
        for n in range(each) for u in range(users)
    ]  # fmt: skip


def run(*words):
    return CliRunner().invoke(app, ["try", "--no-serve", *words])


def test_generated_titles_that_repeat_are_numbered_within_their_type():
    rows = [("podcast", "On Yarn"), ("book", "On Yarn"), ("podcast", "On Yarn"), ("podcast", "A")]
    table = pa.table(dict(zip(("item_type", "title"), zip(*rows, strict=True), strict=True)))
    assert distinct_titles(table)["title"].to_pylist() == [
        "On Yarn", "On Yarn", "On Yarn, Part 2", "A"
    ]  # fmt: skip


@pytest.mark.parametrize(("verbose", "level"), [(False, logging.WARNING), (True, logging.DEBUG)])
def test_a_newcomer_sees_no_log_lines_unless_they_are_wanted(verbose, level):
    log_to_screen(verbose=verbose)
    log_warnings_only()
    try:
        assert logging.getLogger("agents.train").getEffectiveLevel() == level
    finally:
        log_to_screen()


def test_files_of_two_items_and_three_events_are_too_few_and_this_is_said(tmp_path):
    (tmp_path / "items.csv").write_text("id,title\na,A\nb,B\n")
    (tmp_path / "reads.csv").write_text(
        "user,item,time\nu,a,2025-01-01\nu,b,2025-01-02\nu,a,2025-01-03\n"
    )
    done = run("--events", str(tmp_path / "reads.csv"), "--items", str(tmp_path / "items.csv"),
               "--folder", str(tmp_path / "try"))  # fmt: skip
    assert done.exit_code == 1
    assert "3 events, 1 user, 2 items are too few to learn from" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "try").exists()
    # How the columns were read is said all the same.
    assert "user_id      = column user (guessed), e.g. u" in done.output


@pytest.mark.parametrize(
    ("events", "items"), [(history(9, 20), 20), (history(20, 4), 20), (history(20, 20), 9)]
)
def test_too_few_users_events_or_items_are_refused(events, items):
    with pytest.raises(DemoError, match="too few to learn from; expected at least 100 events"):
        require_enough(material(events, items))


def test_a_history_without_time_is_refused():
    with pytest.raises(ValueError, match="all events have nearly the same time"):
        material([("u", "1", "item", "stream", NOW)] * 5)


def test_every_event_is_before_the_split_and_lies_in_the_window():
    found = material(history(20, 200))
    assert found.part("test").is_empty()
    assert found.part("graph").height + found.part("learn").height == 4_000
    settings = try_settings(load_settings(), found, Budget())
    window = settings.state.window
    assert window.bucket_ms * window.buckets > 199 * DAY
    # Budgets are of work: nothing is cut short by a clock.
    assert settings.static.train.max_seconds == 0


def test_a_folder_of_other_files_is_not_emptied(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = run("--folder", str(tmp_path))
    assert done.exit_code == 1
    assert "holds files that `segue try` did not write" in done.output
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_one_file_alone_is_refused(tmp_path):
    done = run("--events", "reads.csv")
    assert done.exit_code == 2
    assert "--events and --items must be given together" in done.output


def test_a_file_that_is_missing_is_named(tmp_path):
    done = run("--events", "nowhere.csv", "--items", "none.csv", "--folder", str(tmp_path / "t"))
    assert done.exit_code == 1
    assert "file not found: none.csv" in done.output


def test_ones_own_files_become_lists_of_titles(tmp_path):
    """The whole way, on a history as small as is accepted; titles cannot control a terminal."""
    draw = random.Random(3)
    titles = [f"Item {n}" for n in range(40)]
    (tmp_path / "items.csv").write_text(
        "id,name\n" + "".join(f"{n},{title}\x1b]0;x\x07\n" for n, title in enumerate(titles))
    )
    rows = sorted((NOW + draw.randrange(90 * DAY) - 91 * DAY, u, draw.randrange(20) + 20 * (u % 2))
                  for u in range(24) for _ in range(12))  # fmt: skip
    (tmp_path / "reads.csv").write_text(
        "reader,article,when\n" + "".join(f"r{u},{i},{at}\n" for at, u, i in rows)
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "segue", "try", "--json", "--port", "0", "--folder", "made",
         "--events", "reads.csv", "--items", "items.csv"],
        stdout=subprocess.PIPE, stderr=(tmp_path / "log").open("w"), text=True, cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith(("SEGUE", "KAFKA"))},
    )  # fmt: skip
    try:
        said = running.stdout.readline()  # the report, once the console listens; none at its death
        log = (tmp_path / "log").read_text()
        assert said, log[-3000:]
        report = json.loads(said)
        page = httpx.get(report["console"].partition("#")[0])
        assert "<title>" in page.text
        running.send_signal(signal.SIGINT)
        assert running.wait() == 0
        # Libraries that are unloaded in the wrong order print what they "leaked".
        assert "leaked" not in (tmp_path / "log").read_text()
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
    assert (report["events"], report["users"], report["items"]) == (288, 24, 40)
    assert len(report["people"]) == 3
    for person in report["people"]:
        assert person["history"]
        assert person["recommended"]
        assert all(title.startswith("Item ") for title in person["recommended"])
    assert report["columns"]["reads.csv"]["user_id"] == "reader"
    assert "hgnn" in log  # progress, although there is no terminal
    assert {path.name for path in tmp_path.iterdir()} == {"items.csv", "log", "made", "reads.csv"}
