"""Scores from values are what a head says of the features that are made of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.head.features import LOUD, PairValues
from dynamic_layer.head.list_scores import ListScorer
from dynamic_layer.head.ranking_head import RankingHead

PAIRS, OWN, USERS, CANDIDATES = 4, 3, 20, 50


def head_of(seed: int, hidden: int) -> RankingHead:
    """A head whose features have means and deviations of very different sizes."""
    names = [f"z:{n}" for n in range(PAIRS)] + [str(n) for n in range(PAIRS + OWN)]
    torch.manual_seed(seed)
    head = RankingHead(names, hidden)
    with torch.no_grad():
        head.linear.weight.normal_()
        head.mean.normal_(0, 3)
        head.deviation.uniform_(0.1, 5)
    return head.eval()


def values_of(seed: int, *, mixed: bool) -> PairValues:
    """Lists with few and no candidates; a value of few, which is cut, and one that is constant."""
    rng = np.random.default_rng(seed)
    pairs = rng.normal(2, 3, (USERS, CANDIDATES, PAIRS)).astype(np.float32)
    pairs[:, :, 1] = rng.random((USERS, CANDIDATES)) < 0.01
    pairs[:, :, 2] = 7.1
    valid = rng.random((USERS, CANDIDATES)) < rng.random((USERS, 1))
    valid[0] = False
    own = rng.normal(size=(USERS, CANDIDATES if mixed else 1, OWN)).astype(np.float32)
    return PairValues(pairs=pairs, valid=valid, own=own)


@settings(deadline=None, max_examples=30)  # the first call compiles
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([0, 8]))
def test_they_are_those_of_the_features(seed: int, mixed: bool, hidden: int) -> None:
    head, values = head_of(seed, hidden), values_of(seed, mixed=mixed)
    found, wanted = ListScorer(head).scores(values), head.scores(values.features(), values.valid)
    assert np.array_equal(np.isneginf(found), ~values.valid)
    np.testing.assert_allclose(found[values.valid], wanted[values.valid], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sign", [-1, 1])
def test_what_is_far_from_the_mean_is_cut(sign: int) -> None:
    values = values_of(1, mixed=False)
    values.valid[:] = True
    values.pairs[1, :, 0] = np.arange(CANDIDATES) == 3
    values.pairs[1, :, 0] *= sign
    standard = values.features()[1, 3, 0]
    assert standard == sign * LOUD
    centred, _, scale = values.centred()
    assert abs(centred[1, 3, 0] * scale[1, 0]) > LOUD
    head = head_of(2, 8)
    np.testing.assert_allclose(
        ListScorer(head).scores(values)[1], head.scores(values.features(), values.valid)[1],
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
