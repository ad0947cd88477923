"""A head of few lists stays near what is expected; one of many learns for itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamic_layer import HeadSettings, HeadTrainer, Lists, RankingHead, Saved, Trainer
from dynamic_layer.lists.head_learning import _as_served
from tests.dynamic_layer.headed import HEADED, headed, live_of

NAMES = ["z:taste", "z:demand", "age", "z:noise"]
SETTINGS = HeadSettings(hidden=4, few_lists=200, few_strength=100.0)
EXPECTED = {"z:taste": 0.5, "age": 0.1, "unknown": 9.0}
LEARNED = ["z:taste", "z:demand", "z:noise"]
TRUE = np.array([2.0, 1.0, -1.0, 0.0], np.float32)


def lists_of(n: int, seed: int = 0) -> Lists:
    """Lists whose positives follow `TRUE`; the deviation of each feature is 2."""
    rng = np.random.default_rng(seed)
    features = rng.normal(1.0, 2.0, (n, 20, len(NAMES))).astype(np.float32)
    scores = features @ (TRUE / 2) + rng.gumbel(size=(n, 20))
    return Lists(
        features=features,
        label=np.arange(20) == scores.argmax(axis=1)[:, None],
        valid=np.ones((n, 20), np.bool_),
    )


def trained(n: int, settings: HeadSettings = SETTINGS) -> HeadTrainer:
    trainer = HeadTrainer(NAMES, settings, seed=1)
    trainer.expect(EXPECTED, LEARNED)
    trainer.add(lists_of(n))
    trainer.train()
    return trainer


def raw(head: RankingHead) -> dict[str, float]:
    """The weights of features as they are."""
    return dict(zip(NAMES, (head.linear.weight[0] / head.deviation).tolist(), strict=True))


def test_few_lists_move_what_they_can_teach_from_what_was_expected() -> None:
    found = {n: raw(trained(n).publish()) for n in (2, 20, 199)}
    for weights in found.values():
        assert weights["age"] == pytest.approx(EXPECTED["age"]), "these lists say otherwise"
    away = {n: abs(weights["z:demand"]) for n, weights in found.items()}
    assert away[2] < away[20] < away[199] < TRUE[1] / 2
    assert away[2] < 0.05
    assert away[199] > 0.2
    assert found[2]["z:taste"] == pytest.approx(EXPECTED["z:taste"], abs=0.05)
    assert EXPECTED["z:taste"] < found[199]["z:taste"]
    assert abs(found[199]["z:noise"]) < 0.1


def test_the_head_of_few_lists_is_linear() -> None:
    head = trained(50).publish()
    lists = lists_of(3, seed=9)
    scores = head(torch.from_numpy(lists.features)).detach().numpy()
    weights = np.array([raw(head)[name] for name in NAMES], np.float32)
    by_weights = lists.features @ weights
    np.testing.assert_allclose(
        scores - scores.mean(1, keepdims=True),
        by_weights - by_weights.mean(1, keepdims=True), atol=1e-3,
    )  # fmt: skip


def test_strength_of_what_is_expected() -> None:
    moved = [
        abs(raw(trained(50, replace(SETTINGS, few_strength=strength)).publish())["z:demand"])
        for strength in (1_000.0, 100.0, 10.0)
    ]
    assert moved == sorted(moved)
    assert moved[0] < moved[2] / 3


def test_with_many_lists_the_head_learns_all_by_itself() -> None:
    trainer = trained(199)
    assert trainer.manifest()["steps"] == 0
    trainer.add(lists_of(1, seed=3))
    trainer.train()
    # Those that waited have their epochs now, as if they had come together.
    steps = SETTINGS.epochs * 200 / SETTINGS.batch_size
    assert steps <= float(str(trainer.manifest()["steps"])) < steps + 7
    never = trained(50, replace(SETTINGS, few_lists=0))
    assert raw(never.publish())["age"] < 0, "it learns what these lists say of age"


def test_a_trainer_that_was_restored_expects_the_same() -> None:
    trainer = trained(50)
    other = HeadTrainer(NAMES, SETTINGS, seed=1)
    other.restore(trainer.saved())
    assert raw(other.publish()) == raw(trainer.publish())
    # A checkpoint of an earlier version does not say it; the next lesson does.
    saved = trainer.saved()
    earlier = saved.part("own")
    earlier.values.pop("expected")
    parts = {name: saved.part(name) for name in ("head", "published", "optimiser", "lists")}
    other.restore(Saved.joined({"own": earlier, **parts}))
    assert raw(other.publish()) != raw(trainer.publish())
    other.expect(EXPECTED, LEARNED)
    assert raw(other.publish()) == raw(trainer.publish())


def test_a_bundles_head_begins_with_how_the_bundle_itself_ranks() -> None:
    """Not with the popularity weight of the bundle that its lists were made with."""
    static, examples = headed().static, headed().examples
    settings = replace(
        HEADED,
        ranking=replace(
            HEADED.ranking,
            head=replace(HEADED.ranking.head, few_lists=10_000, few_strength=1e9),
        ),
        popularity=replace(HEADED.popularity, weights=(0.5,)),
    )
    trainer = Trainer(static, settings, seed=7, ranking=True, live=live_of(examples))
    trainer.add(examples)
    trainer.train()
    bundle = trainer.publish()
    learning = trainer._ranking
    assert learning is not None
    head = learning.publish(bundle)
    assert head is not None
    weights = dict(zip(head.names, (head.linear.weight[0] / head.deviation).tolist(), strict=True))
    served = _as_served(bundle)
    assert served["demand@7d"] == pytest.approx(0.5)
    for name, weight in served.items():
        if name in weights:
            assert weights[name] == pytest.approx(weight, rel=1e-3), name
    assert weights["z:ease@3650d"] > 0
    assert all(weights[name] == 0 for name in ("age", "silent", "history"))
