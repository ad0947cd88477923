"""The head: its loss by hand, what it learns, and that it comes back as it was saved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dynamic_layer import CorruptBundle
from dynamic_layer.head.ranking_head import HeadTrainer, Lists, RankingHead, listwise_loss
from dynamic_layer.settings import HeadSettings

NAMES = ["taste", "demand", "noise"]
SMALL = HeadSettings(hidden=8, negatives=20, epochs=8.0, batch_size=32)


def make_lists(n: int = 300, *, seed: int = 0, candidates: int = 20) -> Lists:
    """Taste decides where demand is high; the noise says nothing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, candidates, 3)).astype(np.float32)
    worth = features[:, :, 0] * (features[:, :, 1] > 0)
    label = np.zeros((n, candidates), np.bool_)
    label[np.arange(n), worth.argmax(axis=1)] = True
    valid = np.ones_like(label)
    valid[:, -2:] = False
    return Lists(features=features, label=label & valid, valid=valid)


def hit_rate(head: RankingHead, lists: Lists) -> float:
    useful = lists.label.any(axis=1)
    best = head.scores(np.asarray(lists.features, np.float32), lists.valid).argmax(axis=1)
    return float(lists.label[np.arange(len(lists)), best][useful].mean())


def trained(seed: int, settings: HeadSettings = SMALL) -> RankingHead:
    trainer = HeadTrainer(NAMES, settings, seed=seed)
    trainer.add(make_lists())
    trainer.train()
    return trainer.publish()


def test_a_head_begins_where_it_is_told_to() -> None:
    rng = np.random.default_rng(0)
    lists = Lists(
        features=rng.normal(3.0, 2.0, (30, 12, 3)).astype(np.float32),
        label=np.arange(12) == rng.integers(12, size=(30, 1)),
        valid=np.ones((30, 12), bool),
    )
    trainer = HeadTrainer(["a", "b", "c"], seed=1, initial={"b": 2.0, "unknown": 9.0})
    trainer.add(lists)
    trainer._scale()
    scores = trainer._head(torch.from_numpy(lists.features)).detach().numpy()
    by_b = 2.0 * lists.features[:, :, 1]
    np.testing.assert_allclose(
        scores - scores.mean(1, keepdims=True), by_b - by_b.mean(1, keepdims=True), atol=1e-3
    )
    trainer.train()
    moved = trainer.publish()(torch.from_numpy(lists.features)).detach().numpy()
    assert not np.allclose(moved, scores, atol=1e-2)


def test_a_head_follows_features_that_drift_and_forgets_nothing() -> None:
    """Counts grow a hundredfold after the first lists; what was learned keeps its order."""
    trainer = HeadTrainer(NAMES, SMALL, seed=0)
    trainer.add(make_lists())
    trainer.train()
    before = trainer.publish()
    later = make_lists(2_000, seed=1)
    moved = replace(later, features=later.features * [1.0, 100.0, 1.0] + [0.0, 500.0, 0.0])
    trainer.settings = replace(SMALL, capacity=1_000)
    trainer.add(replace(moved, features=moved.features.astype(np.float32)))
    trainer._scale()
    # Scores of the same features differ by a constant of the list, if at all.
    features = torch.from_numpy(later.features[:50])
    apart = (trainer._published(features) - before(features)).detach().numpy()
    np.testing.assert_allclose(apart - apart.mean(axis=1, keepdims=True), 0, atol=2e-3)
    trainer.train()
    head = trainer.publish()
    assert head.mean.numpy() == pytest.approx([0, 500, 0], abs=3)
    assert head.deviation.numpy() == pytest.approx([1, 100, 1], rel=0.05)


def test_loss_is_cross_entropy_of_each_positive_against_the_negatives() -> None:
    scores = torch.tensor([[1.0, 0.0, -1.0, 9.0], [0.5, 0.5, 0.0, 0.0]])
    label = torch.tensor([[True, True, False, True], [False, False, False, False]])
    valid = torch.tensor([[True, True, True, False], [True, True, True, True]])
    first = np.log(1 + np.exp(-1 - 1))
    second = np.log(1 + np.exp(-1 - 0))
    assert float(listwise_loss(scores, label, valid)) == pytest.approx((first + second) / 2)


def test_loss_has_finite_gradients_where_a_list_has_no_negatives() -> None:
    scores = torch.zeros(1, 2, requires_grad=True)
    loss = listwise_loss(scores, torch.tensor([[True, False]]), torch.tensor([[True, False]]))
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0.0
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def test_a_head_learns_what_no_line_can_say() -> None:
    test = make_lists(seed=9)
    assert hit_rate(trained(1), test) > 0.6
    assert hit_rate(trained(1, HeadSettings(hidden=0, epochs=8.0)), test) < hit_rate(
        trained(1), test
    )


def test_equal_seeds_give_equal_heads_and_other_seeds_others() -> None:
    features = make_lists(seed=3).features
    valid = make_lists(seed=3).valid
    one, same, other = (trained(seed).scores(features, valid) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one[:, :-2], other[:, :-2])


def test_steps_in_two_calls_go_on_where_they_ended() -> None:
    trainer = HeadTrainer(NAMES, SMALL, seed=1)
    trainer.add(make_lists())
    first = trainer.train(max_steps=5)
    second = trainer.train()
    assert second < first
    assert np.isnan(trainer.train())  # every list had its epochs
    trainer.add(make_lists(40, seed=5))
    assert np.isfinite(trainer.train())


def test_lists_without_a_choice_teach_nothing() -> None:
    lists = make_lists(3)
    lists.label[0] = False
    lists.valid[1] = lists.label[1]
    trainer = HeadTrainer(NAMES, SMALL, seed=1)
    assert trainer.add(lists) == 1
    assert trainer.held == 1
    assert np.isnan(HeadTrainer(NAMES, SMALL, seed=1).train())


def test_memory_is_bounded() -> None:
    trainer = HeadTrainer(NAMES, HeadSettings(capacity=100), seed=1)
    for seed in range(6):
        trainer.add(make_lists(40, seed=seed))
        assert trainer.held < 100 + 40


def test_lists_of_different_lengths_meet_in_a_batch() -> None:
    trainer = HeadTrainer(NAMES, SMALL, seed=1)
    trainer.add(make_lists(30, candidates=8))
    trainer.add(make_lists(30, candidates=20))
    assert np.isfinite(trainer.train())


def test_a_saved_head_scores_the_same(tmp_path: Path) -> None:
    head, lists = trained(4), make_lists(seed=6)
    head.save(tmp_path)
    loaded = RankingHead.load(tmp_path)
    assert loaded.names == NAMES
    np.testing.assert_array_equal(
        head.scores(lists.features, lists.valid), loaded.scores(lists.features, lists.valid)
    )


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_a_file_that_is_no_head_is_said_to_be_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "head.safetensors").write_bytes(content)
    with pytest.raises(CorruptBundle, match="expected a head"):
        RankingHead.load(tmp_path)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        Lists(
            features=np.zeros((2, 3, 1), np.float32),
            label=np.zeros((2, 3), np.bool_),
            valid=np.zeros((2, 4), np.bool_),
        )
