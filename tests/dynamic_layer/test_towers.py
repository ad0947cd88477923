"""Towers and loss."""

import pytest
import torch

from dynamic_layer.items.features import item_features
from dynamic_layer.settings import recipe
from dynamic_layer.towers.two_tower import TwoTower, candidates, inclusion_log_q, sampled_softmax
from tests.dynamic_layer.worlds import SMALL, make_items


def test_item_vectors_have_length_one_and_do_not_depend_on_chunks() -> None:
    items = make_items(30)
    features = item_features(
        types=["audiobook", "podcast"],
        item_types=items.item_types,
        languages=items.languages,
        genres=items.genres,
        text=items.text,
        hgnn=items.hgnn,
    )
    model = TwoTower(features.content.shape[1], 2, SMALL.towers).eval()
    whole, chunked = model.item_vectors(features), model.item_vectors(features, chunk=7)
    torch.testing.assert_close(whole, chunked)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(30))


def test_loss_is_the_cross_entropy_of_the_target_among_all_candidates() -> None:
    users, items = torch.eye(2), torch.eye(2)
    loss = sampled_softmax(users, items, torch.tensor([0, 1]), torch.ones(2), temperature=0.5)
    assert float(loss) == pytest.approx(float(torch.log1p(torch.exp(torch.tensor(-2.0)))))


def test_examples_without_weight_do_not_count() -> None:
    users, items = torch.randn(3, 4), torch.randn(5, 4)
    place = torch.tensor([0, 1, 2])
    weight = torch.tensor([1.0, 0.0, 1.0])
    kept = sampled_softmax(users[[0, 2]], items, place[[0, 2]], torch.ones(2), temperature=1.0)
    both = sampled_softmax(users, items, place, weight, temperature=1.0)
    torch.testing.assert_close(both, kept)


def test_log_q_takes_popularity_out_of_the_logits() -> None:
    users, items = torch.zeros(1, 2), torch.zeros(2, 2)
    log_q = torch.log(torch.tensor([0.9, 0.1]))
    place, one = torch.tensor([1]), torch.ones(1)
    corrected = sampled_softmax(users, items, place, one, temperature=1.0, log_q=log_q)
    assert float(torch.exp(-corrected)) == pytest.approx(0.9)


def test_log_q_is_the_chance_to_be_in_the_batch() -> None:
    found = torch.exp(inclusion_log_q(torch.tensor([0.5, 0.01]), 2))
    assert found.tolist() == pytest.approx([0.75, 0.0199], abs=1e-6)


def test_candidates_hold_each_item_once() -> None:
    rows, place = candidates(torch.tensor([5, 5, 2]), torch.tensor([2, 9, 9]))
    assert rows.tolist() == [2, 5, 9]
    assert rows[place].tolist() == [5, 5, 2]


def test_recipes_are_named() -> None:
    assert recipe("paper").loss.log_q
    assert recipe("default").loss.uniform_negatives
    with pytest.raises(ValueError, match="'paper'"):
        recipe("other")
