"""Item-item weights from vectors: every item hears of the nearest items of the histories."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dynamic_layer import RankingSettings, near_weights
from dynamic_layer.counts import vector_weights as module
from dynamic_layer.counts.vector_weights import centred, vector_weights
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.asking import asking
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.popularity.demand import DemandReader
from tests.dynamic_layer.headed import HEADED, NOW_MS, headed, live_of
from tests.dynamic_layer.worlds import unit


def slowly(vectors, types, known, k):
    """The definition, pair by pair."""
    own = centred(vectors).astype(np.float64)
    cosine = own @ own.T
    out = np.zeros(cosine.shape)
    for target in range(len(own)):
        for number in np.unique(types):
            rows = [row for row in np.flatnonzero(known & (types == number)) if row != target]
            rows.sort(key=lambda row: -cosine[row, target])
            for row in rows[:k]:
                out[row, target] = max(cosine[row, target], 0)
    return out


def world(n=120, types=2):
    rng = np.random.default_rng(4)
    return unit(rng.normal(size=(n, 6)) + 0.5), rng.integers(0, types, n), rng.random(n) < 0.7


def test_weights_are_cosines_of_the_nearest_items_of_each_type():
    vectors, types, known = world()
    found = vector_weights(vectors, types, known, 5)
    np.testing.assert_allclose(found.toarray(), slowly(vectors, types, known, 5), atol=1e-5)


def test_items_without_history_are_targets_and_no_sources():
    vectors, types, known = world()
    found = vector_weights(vectors, types, known, 5).toarray()
    assert not found[~known].any()
    assert (found[:, ~known] > 0).any(axis=0).all()
    assert not found.diagonal().any()


def test_many_types_share_the_sources():
    vectors, types, known = world(types=9)
    found = vector_weights(vectors, types, known, 5)
    expected = slowly(vectors, np.zeros(len(types), int), known, 5)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-5)


def test_lists_of_a_large_catalogue_find_nearly_the_same(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(20, 8))
    vectors = unit(np.repeat(centres, 100, axis=0) + 0.3 * rng.normal(size=(2_000, 8)))
    types, known = np.zeros(2_000, int), np.ones(2_000, bool)
    exact = vector_weights(vectors, types, known, 10).toarray() > 0
    monkeypatch.setattr(module, "_EXACT", 100)
    found = vector_weights(vectors, types, known, 10).toarray() > 0
    assert (exact & found).sum() > 0.9 * exact.sum()


def test_an_item_is_near_to_a_share_of_the_sources_at_most():
    vectors = unit(np.abs(np.random.default_rng(2).normal(size=(50, 8))) + 5 * np.eye(8)[0])
    types, known = np.zeros(50, int), np.arange(50) < 40
    near = vector_weights(vectors, types, known, 9, share=0.1)
    assert near.count_nonzero(axis=0).max() == 4
    assert not vector_weights(vectors, types, known, 9, share=0.02).nnz


def test_nothing_is_near_without_vectors_or_histories():
    vectors, types, known = world()
    assert not vector_weights(vectors, types, known & False, 5).nnz
    assert not vector_weights(np.zeros_like(vectors), types, known, 5).nnz
    assert not vector_weights(vectors[:0], types[:0], known[:0], 5).nnz


def test_the_settings_say_whose_vectors(monkeypatch: pytest.MonkeyPatch):
    vectors, types, known = world()
    bundle = SimpleNamespace(
        item_types=[f"type-{number}" for number in types],
        users=known.astype(np.int64),
        text=vectors.astype(np.float16),
        hgnn=vectors[:, ::-1].copy(),
    )
    assert near_weights(bundle, RankingSettings(near=())) == {}
    assert list(near_weights(bundle, RankingSettings())) == ["text"]
    assert not near_weights(bundle, RankingSettings())["text"].nnz, "too few to be near to a few"
    monkeypatch.setattr(module, "_NEAR_SHARE", 1.0)
    found = near_weights(bundle, RankingSettings(near=("hgnn", "text"), near_items=3))
    assert list(found) == ["hgnn", "text"]
    expected = vector_weights(bundle.hgnn, types, known, 3)
    assert (found["hgnn"] != expected).nnz == 0


def test_an_item_without_an_event_is_a_candidate_by_its_vector():
    """Counts say nothing of it, and the towers bring one item alone."""
    known = headed()
    bundle, number = known.bundle, known.bundle.features.type_number.numpy()
    n, history = len(number), np.array([[0, 12, 24]])
    text = unit(np.random.default_rng(3).normal(size=(n, 8)))
    of_type = np.flatnonzero(number == number[0])
    lonely = int(of_type[-1])
    text[lonely] = unit(text[history[0]].sum(axis=0, keepdims=True))[0]
    events = np.arange(n) != lonely
    ease = bundle.weights["ease"].multiply(np.outer(events, events)).tocsr()
    weights = {"ease": ease, "text": vector_weights(text, number, events, 8)}
    live = live_of(known.examples)
    settings = replace(HEADED.ranking, towers=1, demand=0)
    demand = DemandReader(
        live, ItemRows(bundle.item_keys), n, settings.demand_half_lives_days
    ).at(NOW_MS)  # fmt: skip
    found = {}
    for names in (("ease",), ("ease", "text")):
        own = replace(bundle, weights={name: weights[name] for name in names})
        maker = ListMaker(own, settings)
        users = asking(
            own, torch.nn.functional.normalize(torch.ones(1, own.vectors.shape[1])),
            history=history, age_s=np.full((1, 3), 60, np.float32), strong=np.ones((1, 3), bool),
        )  # fmt: skip
        proposed = maker.propose(users, int(number[0]), demand)
        found[names] = proposed.rows[0].tolist()
        groups = dict(zip(maker.names, maker.groups, strict=True))
    assert lonely not in found["ease",]
    assert lonely in found["ease", "text"]
    # Explanations call them by what they are made of.
    assert groups["text@30d"] == "vectors"
    assert groups["ease@30d"] == "weights"
    place = found["ease", "text"].index(lonely)
    assert proposed.values.features()[0, place, maker.names.index("text@30d")] > 0
