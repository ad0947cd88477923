"""The world has the measured marks of the real one, at any size and seed."""

import time

import pyarrow as pa
import pytest

from simulation import EVENT_SCHEMA, ITEM_SCHEMA, World, WorldSettings
from tests.simulation.marks import Marks, marks

DAY = 86_400_000


def table(rows: list[tuple[str, str, str, str, int]]) -> pa.Table:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return pa.table(columns, schema=EVENT_SCHEMA)


def catalogue(**sizes: int) -> pa.Table:
    rows = [
        {"item_id": str(number), "item_type": name}
        for name, size in sizes.items()
        for number in range(size)
    ]
    return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)


def test_heavy_users_and_head_items_are_counted_by_streams() -> None:
    streams = [("a", "0")] * 6 + [("b", "0"), ("c", "0"), ("d", "1"), ("d", "1")]
    events = table([(u, i, "book", "stream", n) for n, (u, i) in enumerate(streams)])
    found = marks(events, catalogue(book=5)).by_type["book"]
    assert found.heavy_users == 0.6  # one of four users made six of ten streams
    assert found.head_items == 0.8  # one of five items has eight of them


def test_first_streams_of_a_type_are_compared_with_those_of_the_first_type() -> None:
    events = table(
        [
            ("a", "0", "show", "stream", 1),
            ("a", "0", "book", "stream", 2),
            ("b", "0", "book", "stream", 3),
            ("b", "0", "show", "stream", 4),
            ("c", "0", "show", "follow", 5),
            ("c", "0", "book", "stream", 6),
            ("d", "0", "show", "stream", 7),
        ]
    )
    found = marks(events, catalogue(show=1, book=1))
    assert found.by_type["book"].had_used_first_type == pytest.approx(1 / 3)


def test_odds_compare_how_a_user_met_an_item() -> None:
    rows = [("end", "0", "book", "stream", 100 * DAY)]
    # After a first stream one of two comes back (odds 1); after a follow three of four (odds 3).
    for user, kind, returns in [
        ("a", "stream", True),
        ("b", "stream", False),
        *[(f"f{number}", "follow", number < 3) for number in range(4)],
    ]:
        rows.append((user, "0", "book", kind, DAY))
        if returns:
            rows.append((user, "0", "book", "stream", 2 * DAY))
    found = marks(table(sorted(rows, key=lambda row: row[-1])), catalogue(book=1))
    assert found.odds == {"follow": pytest.approx(3.0)}


def assert_like_the_papers(found: Marks, *, within: float) -> None:
    books = found.by_type["audiobook"]
    assert books.heavy_users == pytest.approx(0.75, abs=within)
    assert books.head_items > 0.80 - within
    assert books.had_used_first_type > 0.70
    assert found.odds["follow"] > found.odds["preview"] > found.odds["intent"] > 1
    assert found.odds["follow"] == pytest.approx(2.18, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_world_of_4_000_users_has_the_marks(seed: int) -> None:
    world = World(WorldSettings(users=4_000, items=2_000, events=200_000), seed=seed)
    events = pa.Table.from_batches(list(world.history()))
    assert_like_the_papers(marks(events, world.catalogue()), within=0.03)


def test_a_million_events_have_the_marks_and_are_drawn_in_under_ten_seconds() -> None:
    begun = time.process_time()
    world = World(WorldSettings(), seed=0)
    events = pa.Table.from_batches(list(world.history()))
    assert time.process_time() - begun < 10
    assert len(events) == pytest.approx(1_000_000, rel=0.01)
    found = marks(events, world.catalogue())
    assert_like_the_papers(found, within=0.03)
    assert found.by_type["audiobook"].head_items > 0.80
