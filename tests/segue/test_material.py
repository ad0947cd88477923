"""How the demo cuts events in time."""

import polars as pl
import pytest

from segue.demo.material import DAY_MS, from_parquet, simulated
from simulation import WorldSettings

END = 1_750_000_000_000


def test_the_graph_ends_before_the_examples_and_both_before_the_test():
    world = WorldSettings(items=200, users=300, events=6_000, end_ms=END, reserve=4)
    found = simulated(world, seed=3, test_days=14, live_rate=20, live_seconds=2)
    graph, learn, test = (found.part(name)["timestamp"] for name in ("graph", "learn", "test"))
    assert graph.max() < found.graph_ms <= learn.min()
    assert learn.max() < found.split_ms <= test.min()
    assert len(graph) + len(learn) + len(test) == found.events.height
    assert 0.7 < len(graph) / (len(graph) + len(learn)) < 0.8
    assert found.split_ms == END - 14 * DAY_MS
    assert sum(not e.launch for e in found.live) == 40
    assert sum(e.launch for e in found.live) == 4


@pytest.fixture
def parquet(tmp_path):
    rows = 1_000
    events = pl.DataFrame(
        {
            "user_id": [n % 50 for n in range(rows)],
            "item_id": [n % 70 for n in range(rows)],
            "item_type": ["food" if n % 2 else "kitchen" for n in range(rows)],
            "timestamp": [END - (rows - n) * DAY_MS for n in range(rows)],
            "rating": [5] * rows,
        }
    )
    items = events.select("item_id", "item_type").unique().with_columns(title=pl.lit("thing"))
    events.write_parquet(tmp_path / "events.parquet")
    items.write_parquet(tmp_path / "items.parquet")
    return tmp_path / "events.parquet", tmp_path / "items.parquet"


def test_ones_own_events_may_have_integer_ids_and_span_years(parquet):
    found = from_parquet(*parquet, test_days=90, until_ms=None, live_rate=1, live_seconds=10)
    bucket_ms, buckets = found.window
    assert bucket_ms * buckets > 1_000 * DAY_MS
    assert found.events["user_id"].dtype == pl.String
    assert set(found.events["kind"]) == {"stream"}
    assert len(found.live) == 10
    assert min(e.row["timestamp"] for e in found.live) >= found.events["timestamp"].max()
    assert set(found.item_types) == {"food", "kitchen"}


def test_a_day_to_end_with_leaves_later_events_out(parquet):
    until = END - 100 * DAY_MS
    found = from_parquet(*parquet, test_days=30, until_ms=until, live_rate=1, live_seconds=0)
    assert found.events["timestamp"].max() < until
    assert found.split_ms == until - 30 * DAY_MS


def test_a_split_that_leaves_nothing_is_refused(parquet):
    with pytest.raises(ValueError, match="fewer test days"):
        from_parquet(*parquet, test_days=2_000, until_ms=None, live_rate=1, live_seconds=0)
