"""`segue export` writes what the log holds, as the workers' decoders read it."""

import asyncio

import polars as pl
import pytest

from segue.erasing import erase_user
from streams import EmbeddedLog, Event, Impression, ShownItem, encode, readable
from tests.segue.test_replay_and_state import NOW, PARTITIONS, World

COLUMNS = ["user_id", "item_type", "item_id", "kind", "timestamp"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("data")).make()


def export(world, folder, *more, status=0):
    return world.json("export", str(folder), "--log", "embedded", *more, status=status)


def in_the_log(world):
    """Rows of all good events, partition by partition."""
    topic = world.settings.topics.events
    with EmbeddedLog(world.folder / "embedded-log") as log:
        records = [r for n in range(PARTITIONS) for r in log.read(topic, n, 0, 10_000)]
    return [
        tuple(getattr(event, name) for name in COLUMNS) for _, event in readable(Event, records)
    ]


def test_events_and_live_items_are_written(world, tmp_path):
    found = export(world, tmp_path)
    events = pl.read_parquet(tmp_path / "events.parquet")
    assert events.columns == COLUMNS
    assert found["events"] == events.height == 500
    assert found["refused"] == 6
    assert set(events.rows()) <= set(in_the_log(world))
    items = pl.read_parquet(tmp_path / "items.parquet").sort("item_id")
    assert found["items"] == items.height == 29
    assert items.filter(pl.col("item_id") == "i7")["title"].to_list() == ["Title 7"]
    assert "i0" not in items["item_id"].to_list(), "a deleted item"
    assert {path.name for path in tmp_path.iterdir()} == {"events.parquet", "items.parquet"}


def test_a_period_is_of_log_times(world, tmp_path):
    assert export(world, tmp_path, "--from", "2023-11-14T23:00Z")["events"] == 200
    done = world.segue("export", str(tmp_path / "x"), "--log", "embedded", "--from",
                       "2030-01-01T00:00Z", status=1)  # fmt: skip
    assert "no event" in done.output


def test_files_are_not_replaced_unasked(world, tmp_path):
    (tmp_path / "items.parquet").write_text("mine")
    done = world.segue("export", str(tmp_path), "--log", "embedded", status=1)
    assert "items.parquet exists" in done.output
    assert (tmp_path / "items.parquet").read_text() == "mine"
    export(world, tmp_path, "--replace")
    assert pl.read_parquet(tmp_path / "items.parquet").height == 29


def test_an_erased_user_is_left_out(tmp_path):
    world = World(tmp_path / "data").make()
    with EmbeddedLog(world.folder / "embedded-log") as log:
        asyncio.run(erase_user(world.settings, "user-3", 0.0, log))
    found = export(world, tmp_path / "out")
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    assert found["erased"] > 0
    assert found["events"] + found["erased"] == 500
    assert "user-3" not in events["user_id"].to_list()


def test_impressions_are_no_events(tmp_path):
    world = World(tmp_path / "data").make()
    shown = Impression(
        user_id="user-1", timestamp=NOW,
        items=[ShownItem(item_id="i1", item_type="podcast", position=1)],
    )  # fmt: skip
    (tmp_path / "segue.toml").write_text(
        '[[sources]]\ntopic = "segue.impressions"\nformat = "impressions"\n'
    )
    with EmbeddedLog(world.folder / "embedded-log") as log:
        log.append(world.settings.topics.impressions, shown.key, encode(shown))
    found = export(world, tmp_path / "out", "--config", str(tmp_path / "segue.toml"))
    assert found["events"] == 500
    assert "segue:shown" not in pl.read_parquet(tmp_path / "out" / "events.parquet")["kind"]
