"""Examples of a past at hand hold each event's history just before it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.examples.from_events import examples_of


def build(rows: list[tuple[int, int, int]], first: int = 0, cap: int = 100) -> ExampleBatch:
    columns = np.array(sorted(rows, key=lambda row: row[2]), np.int64).reshape(-1, 3).T
    return examples_of(
        user=columns[0],
        item_key=columns[1].astype(np.uint64),
        timestamp=columns[2],
        strong=np.ones(columns.shape[1], np.bool_),
        first=first,
        history_cap=cap,
    )


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 12)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 8),
)
def test_histories_are_what_a_plain_reading_gives(
    rows: list[tuple[int, int, int]], cap: int
) -> None:
    batch, ordered = build(rows, cap=cap), sorted(rows, key=lambda row: row[2])
    for place, (user, item, time) in enumerate(ordered):
        earlier = [row for row in ordered[:place] if row[0] == user and row[2] < time]
        latest: dict[int, int] = {}
        for _, other, at in earlier[::-1][:cap]:
            latest.setdefault(other, at)
        part = slice(batch.indptr[place], batch.indptr[place + 1])
        assert batch.history_item[part].tolist() == list(latest)
        assert batch.history_time[part].tolist() == list(latest.values())
        assert batch.repeat[place] == (item in latest)


def test_a_basket_tells_nothing_of_itself() -> None:
    batch = build([(0, 1, 5), (0, 2, 5), (0, 3, 5)])
    assert np.diff(batch.indptr).tolist() == [0, 0, 0]


def test_only_events_from_the_first_on_are_examples() -> None:
    batch = build([(0, 1, 1), (0, 2, 2), (0, 3, 3)], first=2)
    assert batch.target.tolist() == [3]
    assert batch.offset.tolist() == [2]
    assert batch.history_item.tolist() == [2, 1]
