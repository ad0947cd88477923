"""What items without a past borrow from the items whose text is nearest."""

import numpy as np
import pytest
import scipy.sparse as sp

from dynamic_layer.counts.borrowed_weights import borrowed_weights, lenders

TEXT = np.array([[1, 0], [0.6, 0.8], [0, 1], [1, 0], [0.6, 0.8], [0, 0], [1, 0]], np.float32)
KNOWN = np.array([True, True, True, False, False, False, True])
TYPES = np.array([0, 0, 0, 0, 0, 0, 1])


def test_fresh_items_borrow_from_the_nearest_known_ones_of_their_type() -> None:
    lent = lenders(TEXT, KNOWN, TYPES, k=2)
    shares = lent.toarray()
    assert shares[3, :2] == pytest.approx(np.array([1, 0.6**4]) / (1 + 0.6**4))
    assert shares[4, 1] > shares[4, 2] > 0
    assert shares.sum(axis=1) == pytest.approx([0, 0, 0, 1, 1, 0, 0])  # item 5 has no text
    assert not shares[:, 6].any()  # of another type


def test_weights_are_the_lenders_and_lenders_are_sources_themselves() -> None:
    cosine = np.zeros((7, 7), np.float32)
    cosine[0, 2] = cosine[2, 0] = 0.5
    lent = lenders(TEXT, KNOWN, TYPES, k=1)
    weights = borrowed_weights(lent, sp.csr_array(cosine), 10).toarray()
    expected = np.zeros((7, 7))
    expected[0, 3], expected[2, 3], expected[1, 4] = 1, 0.5, 1
    np.testing.assert_allclose(weights, expected)


def test_without_text_nothing_is_borrowed() -> None:
    lent = lenders(np.zeros((7, 2), np.float32), KNOWN, TYPES)
    assert lent.nnz == 0
    assert borrowed_weights(lent, sp.csr_array((7, 7), dtype=np.float32), 10).nnz == 0
