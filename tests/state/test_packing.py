"""A packed history is read as it was, and takes no more bytes than its bound."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.kernel import COLUMNS, NONE
from state.packing import pack, packed_bytes, rows_of

MOST = 2**62
words = st.sampled_from([0, 1, 2, 2**32, -1, -(2**63)])
#: Item, time, graph-making time (as its distance before the time, or NONE), two words of visits.
entries = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(0, MOST),
    st.sampled_from([NONE, 0, 1, 127, 128, MOST]),
    words,
    words,
)


def rows(history: list[tuple[int, ...]]) -> np.ndarray:
    found = np.array(history, np.int64).reshape(-1, COLUMNS)
    found = found[np.argsort(-found[:, 1], kind="stable")]
    strong = found[:, 1] - found[:, 2]
    found[:, 2] = np.where((found[:, 2] == NONE) | (strong < 0), NONE, strong)
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(entries, max_size=5), max_size=4))
def test_packed_histories_are_read_as_they_were(histories):
    parts = [rows(history) for history in histories]
    lengths = np.array([len(part) for part in parts], np.int64)
    out = np.empty(packed_bytes(lengths), np.uint8)
    together = np.concatenate([*parts, np.zeros((0, COLUMNS), np.int64)])
    ends = pack(together, np.cumsum(lengths) - lengths, lengths, out).tolist()
    for part, begin, end in zip(parts, [0, *ends], ends, strict=False):
        assert rows_of(out[begin:end].tobytes()).tolist() == part.tolist()


def test_the_bound_is_reached_by_numbers_of_the_greatest_length():
    """So no history overflows its bytes, and none keeps bytes that no history can need."""
    # Each of the three numbers, read as unsigned, has 64 bits: item, time, time before the other.
    longest = np.array([[-1, -2, 2, 7, 7]], np.int64)
    lengths = np.ones(1, np.int64)
    out = np.empty(packed_bytes(lengths), np.uint8)
    assert pack(longest, np.zeros(1, np.int64), lengths, out).tolist() == [len(out)]
    assert rows_of(out.tobytes()).tolist() == longest.tolist()
