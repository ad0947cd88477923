"""The inner loop over plain arrays: it stops before its log of deltas could overflow."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.deltas import cells_of, empty_deltas, grown
from state.kernel import COLUMNS, Deltas, apply_events

BUCKET, WINDOW, CAP, ITEMS = 1_000, 4, 3, 6
events = st.lists(
    st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 9 * BUCKET)), min_size=1, max_size=30
)


def applied(stream: list[tuple[int, int]], deltas: Deltas) -> tuple[list[int], Deltas]:
    """Apply one user's strong events; returns where the loop stopped, and the log."""
    n, none = len(stream), np.zeros(0, np.int64)
    item, time = np.array(stream, np.int64).T.copy()
    rows, lengths = np.zeros((CAP + 1, COLUMNS), np.int64), np.zeros(1, np.int64)
    watermark, stops = np.full(1, -1, np.int64), [0]
    too_old, wanted, repeat = (np.zeros(n, bool) for _ in range(3))
    while stops[-1] < n:
        stops.append(
            apply_events(
                stops[-1], rows, np.zeros(1, np.int64), lengths, np.zeros(n, np.int64), item,
                time, np.ones(n, bool), np.arange(ITEMS, dtype=np.uint64), BUCKET, WINDOW, CAP,
                watermark, deltas, too_old, wanted, np.zeros(n + 1, np.int64), none, none, none,
                0, repeat,
            )
        )  # fmt: skip
        assert deltas[2][0] <= len(deltas[0])
        if stops[-1] < n:
            deltas = grown(deltas)
    return stops, deltas


@settings(max_examples=100, deadline=None)
@given(events, st.integers(1, 40), st.sampled_from([0, 1 << 40]))
def test_a_small_log_that_grows_has_the_deltas_of_a_great_one(stream, room, beyond):
    """beyond: what lies in memory behind the number of rows in use."""
    great = empty_deltas(1 << 14)
    stops, expected = applied(stream, great)
    assert stops == [0, len(stream)], "nothing stops where there is room"
    small = (*empty_deltas(room)[:2], np.array([0, beyond])[:1])
    _, found = applied(stream, small)
    first_live = max(max(time for _, time in stream) // BUCKET - WINDOW + 1, 0)
    for one, other in zip(
        *(cells_of(log, first_live, ITEMS) for log in (found, expected)), strict=True
    ):
        assert one.tolist() == other.tolist()
    # The log that there is has room for the first event of all.
    if room >= 2 * (2 * CAP + 2):
        stops, _ = applied(stream[:1], (*empty_deltas(room)[:2], np.array([0, beyond])[:1]))
        assert stops == [0, 1]
