"""The best of what a search found is what sorting says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.index.hits import Hits


@settings(deadline=None)  # the first call compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(0, 40),
    k=st.integers(0, 50),
    excluded=st.integers(0, 6),
)
def test_the_best_are_the_first_of_a_stable_sort(
    seed: int, width: int, k: int, excluded: int
) -> None:
    rng = np.random.default_rng(seed)
    # Few scores, so that many are equal; some places hold nothing.
    scores = rng.choice(np.array([-np.inf, -1, 0, 1, 2, 3], np.float32), size=(3, width))
    rows = np.stack([rng.permutation(60)[:width] for _ in range(3)]).reshape(3, width)
    rows = np.where(np.isneginf(scores), -1, rows)
    exclude = rng.integers(-1, 80, size=(3, excluded))
    best = Hits(rows, scores).best(k, exclude)
    assert best.rows.shape == best.scores.shape == (3, k)
    for query in range(3):
        may = [n for n in range(width) if rows[query, n] not in {-1, *exclude[query].tolist()}]
        chosen = sorted(may, key=lambda n: -scores[query, n])[:k]
        missing = k - len(chosen)
        assert best.rows[query].tolist() == [*rows[query, chosen].tolist(), *[-1] * missing]
        expected = [*scores[query, chosen].tolist(), *[-np.inf] * missing]
        assert best.scores[query].tolist() == expected


def test_what_is_not_a_number_is_not_found() -> None:
    found = Hits(np.array([[4, 5, 6]]), np.array([[np.nan, 1.0, np.nan]], np.float32)).best(2)
    assert found.rows.tolist() == [[5, -1]]


def test_lists_of_other_layouts_are_read_alike() -> None:
    rows = np.broadcast_to(np.arange(5), (2, 5))
    scores = np.asfortranarray(np.array([[1, 5, 3, 2, 4], [5, 4, 3, 2, 1]], np.float32))
    assert Hits(rows, scores).best(2).rows.tolist() == [[1, 4], [0, 1]]
