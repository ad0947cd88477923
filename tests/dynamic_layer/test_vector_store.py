"""Scores of rows where they lie equal those of the gathered vectors."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dynamic_layer.items.vector_store import VectorStore


@given(
    first=st.integers(0, 12), late=st.integers(0, 12), wide=st.integers(1, 9), seed=st.integers(0)
)
def test_scores_are_the_inner_products(first, late, wide, seed):
    rng = np.random.default_rng(seed)
    rows = np.arange(first + late)
    if not len(rows):
        return
    vectors = rng.standard_normal((len(rows), 5), dtype=np.float32)
    store = VectorStore.of(vectors[:first]).append(rows[first:], vectors[first:])
    asked, found = rng.standard_normal((3, 5), dtype=np.float32), rng.choice(rows, (3, wide))
    expected = np.einsum("bd,bcd->bc", asked, vectors[found])
    np.testing.assert_allclose(store.scores(found, asked), expected, rtol=1e-4, atol=1e-5)


def test_vectors_may_be_a_view_of_others():
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    store = VectorStore.of(wide[:, :2])
    scores = store.scores(np.array([[3, 0]]), np.array([[1, 10]], np.float32))
    assert scores.tolist() == [[18.0 + 190.0, 10.0]]
