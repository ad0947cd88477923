"""What the trainer measured and the gate decided, from the artifact store to the page's figures."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.training.quality import DECISIONS, QualityStore
from console.click_through import BUCKETS, ClickThrough
from console.quality import BUNDLES, DAYS, FRESH_MS, Quality
from dynamic_layer import Asked, Row
from dynamic_layer.measure.prequential import _date, _line
from state import ArtifactStore, PartitionState, StateSettings, Window
from streams import list_code
from tests.console.worlds import NOW, World, decision
from tests.dynamic_layer.worlds import DAY_MS
from tests.state.streams_of_events import BUCKET, Event
from tests.state.test_shown import Impression, columns, feed_all
from tests.state.test_taken import feed_all_events


def view(world: World, quality: Quality | None = None) -> dict:
    return asyncio.run((quality or Quality(world.settings.store(), lambda: NOW)).view())


def test_figures_are_added_up_by_day_and_by_bundle(world: World):
    rows = world.measured(days=4, generations=3)
    found = view(world)
    assert found["problem"] is None
    assert len(found["days"]) == 4 * 2
    assert [row["generation"] for row in found["bundles"]] == [1, 1, 2, 2, 3, 3]
    for row in found["days"]:
        day = sorted({name.day for name in rows})[
            sorted({r["day"] for r in found["days"]}).index(row["day"])
        ]
        more = 12 if row["item_type"] == "podcast" else 0
        hits = sum(40 + day % 7 + generation + more for generation in (1, 2, 3))
        assert row["examples"] == 600
        assert row["hr_at_10"] == pytest.approx(hits / 600)
        assert row["popularity_hr_at_10"] == pytest.approx((90 - 1.5 * more) / 600)
    for row in found["bundles"]:
        assert row["examples"] == 800
        assert row["popularity_mrr"] == pytest.approx(12 / 200)


def test_the_newest_days_and_bundles_are_shown(world: World):
    world.measured(days=DAYS + 5, generations=BUNDLES + 4)
    found = view(world)
    assert len({row["day"] for row in found["days"]}) == DAYS
    generations = {row["generation"] for row in found["bundles"]}
    assert generations == set(range(5, BUNDLES + 5))
    store = QualityStore(world.settings.store(), keep_days=10)
    store.put_days([])
    assert len(store.days()) == 10, "older ones go"
    assert store.days()[-1] == found["days"][-1]["day"]


def test_figures_are_news_soon_and_days_that_are_over_are_read_once(world: World, monkeypatch):
    clock = SimpleNamespace(ms=NOW)
    world.measured(days=8, generations=1)
    quality = Quality(world.settings.store(), lambda: clock.ms)
    read = []
    rows = QualityStore.rows
    monkeypatch.setattr(
        QualityStore, "rows", lambda store, day: read.append(day) or rows(store, day)
    )
    first = view(world, quality)
    assert len(read) == 8
    world.measured(days=8, generations=2)
    assert view(world, quality) == first, "within five seconds nobody asks the store again"
    clock.ms += FRESH_MS
    second = view(world, quality)
    assert len(read) == 8 + 3
    assert second["days"][-1]["examples"] == 2 * first["days"][-1]["examples"]


def test_what_the_trainers_of_all_channels_left_is_shown_arm_by_arm(world: World):
    world.measured(days=2, generations=1)
    canary = QualityStore(world.settings.store(), keep_days=9, channel="next")
    row = Row(NOW // DAY_MS, "podcast", 90, "new")
    file = world.folder / f"{_date(row.day)}.jsonl"
    file.write_text(_line(row, Asked(examples=50, hits=10)))
    canary.put_days([file])
    canary.decided(decision(90, "too bad"))
    found = view(world)
    arms = {(r["arm"], r["generation"]): r["hr_at_10"] for r in found["bundles"]}
    assert arms.keys() == {("default", 1), ("new", 90)}, "bundles are numbered by channel"
    assert arms["new", 90] == 0.2
    assert [r["arm"] for r in found["days"]].count("new") == 1
    assert [one["generation"] for one in found["decisions"]] == [90]


def test_decisions_are_kept_whoever_wrote_them(world: World):
    for generation in range(3):  # each by a trainer on another disk
        world.decided(generation, *(["too bad"] if generation == 1 else []))
    found = view(world)["decisions"]
    assert [one["generation"] for one in found] == [2, 1, 0], "the newest first"
    assert [one["reasons"] for one in found] == [[], ["too bad"], []]
    store = QualityStore(world.settings.store(), keep_days=1)
    for generation in range(3, DECISIONS + 1):
        store.decided(decision(generation))
    assert [one["generation"] for one in store.decisions()] == list(range(1, DECISIONS + 1))


def test_a_store_that_fails_stops_no_trainer_and_loses_nothing(tmp_path: Path, monkeypatch, caplog):
    quality = QualityStore(ArtifactStore(str(tmp_path / "store")), keep_days=9)
    files = [tmp_path / f"2025-06-0{day}.jsonl" for day in (1, 2)]
    for file in files:
        file.write_text('{"day": "x"}\n')

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(ArtifactStore, "put_bytes", full)
        quality.put_days(files[:1])
        quality.decided(decision(1))
    assert "figures could not be stored" in caplog.text
    assert "decision could not be stored" in caplog.text
    assert quality.days() == []
    quality.put_days(files[1:])
    assert quality.days() == ["2025-06-01", "2025-06-02"]
    quality.decided(decision(2))
    assert [one["generation"] for one in quality.decisions()] == [1, 2]


def test_a_torn_file_is_a_problem_that_is_said(world: World):
    world.measured(days=2)
    world.settings.store().put_bytes(b'{"day": ', "quality/prequential/2023-12-15.jsonl")
    found = view(world)
    assert "cannot be read" in found["problem"]
    assert found["days"] == []


def test_click_through_is_added_up_over_partitions_and_read_again_where_it_changed(tmp_path):
    setting = StateSettings(
        window=Window(bucket_ms=BUCKET), delta_room=1 << 12, impressions=True,
        taken_hours=BUCKET / 3_600_000,
    )  # fmt: skip
    states = [PartitionState(tmp_path / str(n), n, setting) for n in range(2)]
    replica = SimpleNamespace(
        state_settings=setting, partitions=SimpleNamespace(states=dict(enumerate(states)))
    )
    found = ClickThrough(replica, lambda: {"home", "mix", "empty"})
    assert found.view()["rows"] == []
    for state, user in zip(states, ("ann", "bob"), strict=True):
        feed_all(state, [Impression(user, ("i1", "i2"), 40_500, of=list_code(f"mix/{user}"))], [])
        state.commit()
    feed_all_events(states[0], Event("ann", "i1", "stream", 40_600))
    states[0].commit()
    rows = found.view()["rows"]
    assert [(r["position"], r["shown"], r["taken"], r["rate"]) for r in rows] == [
        ("1", 2, 1, 0.5), ("2", 2, 0, 0.0),
    ]  # fmt: skip
    assert [(r["list"], r["shown"], r["taken"]) for r in found.view()["lists"]] == [("mix", 4, 1)]
    assert 0 < rows[0]["low"] < 0.5 < rows[0]["high"] < 1
    # A later bucket; the rest of a long list; and what has left the newest buckets.
    long = Impression("ann", tuple(f"i{n}" for n in range(4, 36)), 41_000)
    states[0].apply_events("shown", columns([(1, long)]), 2)
    states[0].commit()
    rows = found.view()["rows"]
    assert [r["position"] for r in rows] == [*map(str, range(1, 21)), "21 and on"]
    assert (rows[-1]["shown"], rows[0]["shown"]) == (12, 3)
    lists = found.view()["lists"]
    assert [(r["list"], r["shown"], r["taken"]) for r in lists] == [("mix", 4, 1), (None, 32, 0)]
    assert lists[0]["low"] < lists[0]["rate"] == 0.25 < lists[0]["high"]
    of_home = Impression("ann", ("i40", "i41"), 41_000, of=list_code("home"))
    states[0].apply_events("shown", columns([(2, of_home)]), 3)
    states[0].commit()
    assert [r["list"] for r in found.view()["lists"]] == ["home", "mix", None]
    feed_all_events(states[1], Event("bob", "i9", "stream", (41 + BUCKETS) * BUCKET))
    states[1].commit()
    assert found.view()["rows"] == []
    for state in states:
        state.close()
    replica.state_settings = replace(setting, impressions=False)
    assert found.view() is None
