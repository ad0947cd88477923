"""A bundle makes its lists of each held-out example once, whatever is asked about them."""

import numpy as np
import pytest

from dynamic_layer import HeldOut
from dynamic_layer.measure import held_out
from tests.dynamic_layer.headed import headed


def test_hits_of_parts_are_those_of_the_whole_and_each_example_is_ranked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, trainer = headed().bundle, headed().trainer
    examples, popularity = trainer.holdout(), trainer.popularity
    whole = held_out.head_hits(bundle, examples.newest(len(examples)), popularity)
    asked, head_hits = [], held_out.head_hits

    def counted(bundle, examples, popularity):
        asked.append(len(examples))
        return head_hits(bundle, examples, popularity)

    monkeypatch.setattr(held_out, "head_hits", counted)
    found = HeldOut(examples, popularity)
    for n in (30, 7, 50, len(examples) + 1, 50):
        hits = found.own_hits(bundle, n)
        assert len(hits) == min(n, len(examples))
        # Examples that are ranked together share the moment of their demand: a few may differ.
        assert (hits == whole[-n:]).mean() >= 0.9
        np.testing.assert_array_equal(hits[-7:], found.own_hits(bundle, 7)[-n:])
    assert asked == [30, 20, len(examples) - 50]
    assert len(found.own_hits(bundle, 0)) == 0
    assert 0 < whole.sum() < len(whole)
