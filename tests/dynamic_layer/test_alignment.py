"""A new static bundle in a space of its own: the towers read it as if nothing had turned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dynamic_layer import (
    AdoptionSettings,
    DynamicBundle,
    DynamicSettings,
    Saved,
    Trainer,
    TrainerCheckpoints,
)
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.items.trained_items import rotation_onto
from dynamic_layer.measure.gate import judge
from dynamic_layer.measure.held_out import HeldOut
from static_layer.procrustes import procrustes
from tests.dynamic_layer.worlds import (
    SMALL,
    TEXT,
    TOPIC,
    WIDTH,
    Items,
    hit_rate,
    make_examples,
    make_items,
    unit,
)

RAW = replace(SMALL, adoption=AdoptionSettings(align=False, follow_steps=0))
FOLLOWING = replace(SMALL, adoption=AdoptionSettings(follow_steps=120))


def any_rotation(seed: int, width: int = WIDTH) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(width, width))
    return np.linalg.qr(drawn)[0].astype(np.float32)


def in_another_space(items: Items, seed: int, first_offset: int = 0) -> Items:
    """The same items, as an HGNN of another start would have them."""
    turn = any_rotation(seed)
    manifest = {"name": f"static-{seed}", "offsets": {TOPIC: {"0": first_offset}}}
    return replace(items, hgnn=items.hgnn @ turn, manifest=manifest)


def trained(items: Items, form: DynamicSettings = SMALL, n: int = 1_200) -> Trainer:
    trainer = Trainer(items, form, seed=0)
    trainer.add(make_examples(items, n))
    trainer.train()
    return trainer


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 12), noise=st.floats(0, 0.3))
def test_no_other_rotation_brings_the_vectors_nearer(seed: int, width: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    new, weight = rng.normal(size=(60, width)), rng.uniform(0.1, 2, 60)
    turn = any_rotation(seed, width)
    old = new @ turn + noise * rng.normal(size=new.shape)
    found = procrustes(new, old, weight)
    assert np.allclose(found @ found.T, np.eye(width), atol=1e-5), "orthogonal"

    def distance(by: NDArray[np.float32]) -> float:
        return float((weight[:, None] * (new @ by - old) ** 2).sum())

    best = distance(found)
    for other in (turn, np.eye(width), *(any_rotation(seed + n, width) for n in range(1, 6))):
        assert best <= distance(other) * (1 + 1e-5) + 1e-6


def test_only_items_that_both_have_and_somebody_met_say_how_the_space_lies() -> None:
    old = make_items(120)
    new = in_another_space(make_items(150), seed=4)
    new.hgnn[:120] = old.hgnn @ any_rotation(4)
    found = rotation_onto(old.item_keys, old.hgnn, new)
    assert found is not None
    assert np.allclose(found, any_rotation(4).T, atol=1e-3), "the thirty new ones say nothing"
    astray = np.arange(0, 120, 2)
    new.hgnn[astray] = old.hgnn[(astray + 7) % 120]
    new.users = np.where(np.isin(np.arange(150), astray), 0, 9)  # type: ignore[attr-defined]
    found = rotation_onto(old.item_keys, old.hgnn, new)
    assert found is not None
    assert np.allclose(found, any_rotation(4).T, atol=1e-3), "nor do those without users"


def test_there_is_no_rotation_where_nothing_is_shared() -> None:
    old, new = make_items(40), make_items(40)
    new.item_keys = new.item_keys + np.uint64(1)
    assert rotation_onto(old.item_keys, old.hgnn, new) is None
    wide = replace(make_items(40), hgnn=np.ones((40, WIDTH + 1), np.float32))
    assert rotation_onto(old.item_keys, old.hgnn, wide) is None
    idle = make_items(40)
    idle.users = np.zeros(40, np.int64)  # type: ignore[attr-defined]
    assert rotation_onto(old.item_keys, old.hgnn, idle) is None


def test_a_turned_space_changes_no_answer_once_it_is_aligned() -> None:
    items, after = make_items(), 600
    aligned, raw = trained(items), trained(items, RAW)
    examples = aligned.holdout()
    before = aligned.publish()
    for trainer in (aligned, raw):
        trainer.adopt(in_another_space(items, seed=7, first_offset=after))
    found, lost = aligned.publish(), raw.publish()
    torch.testing.assert_close(found.features.content, before.features.content, atol=1e-3, rtol=0)
    assert np.allclose(found.vectors, before.vectors, atol=1e-3)
    assert hit_rate(found, examples) == pytest.approx(hit_rate(before, examples), abs=0.01)
    assert hit_rate(lost, examples) < 0.95 * hit_rate(before, examples)


def test_the_gate_holds_a_new_space_against_the_bundle_that_is_served() -> None:
    items = make_items()
    raw = trained(items, RAW, n=4_500)
    served = raw.publish()
    raw.adopt(in_another_space(items, seed=7, first_offset=500))
    (reason,) = judge(raw.publish(), served, HeldOut(raw.holdout()), SMALL.gate).reasons
    assert "HR@10" in reason
    aligned = trained(items, n=4_500)
    aligned.adopt(in_another_space(items, seed=7, first_offset=500))
    assert judge(aligned.publish(), served, HeldOut(aligned.holdout()), SMALL.gate).reasons == []


def test_towers_follow_what_they_said_of_the_old_vectors() -> None:
    """What a rotation leaves: each vector is somewhat elsewhere, as after another training."""
    items = make_items()
    newer = in_another_space(items, seed=7, first_offset=1_100)
    noise = np.random.default_rng(5).normal(size=newer.hgnn.shape)
    newer.hgnn = unit(newer.hgnn + 0.25 * noise)
    found = {}
    for name, form in (("aligned", SMALL), ("following", FOLLOWING)):
        trainer = trained(items, form)
        examples = trainer.holdout()
        users = user_features(examples, trainer._items.rows, form.replay.history_cap)
        before = trainer.publish()
        trainer.adopt(newer)
        after = trainer.publish()
        near = (after.user_vectors(users) * before.user_vectors(users)).sum(dim=1).mean()
        found[name] = float((after.vectors * before.vectors).sum(axis=1).mean()), float(near)
        assert trainer.train().steps == 0, "no example was learned from again"
    assert found["following"][0] > found["aligned"][0] + 0.02
    assert found["following"][1] > found["aligned"][1]


def test_a_kill_changes_nothing_of_what_was_followed(tmp_path: Path) -> None:
    items = make_items()
    trainer = trained(items, FOLLOWING, n=600)
    TrainerCheckpoints(tmp_path).write(trainer, Saved(values={}))
    killed = Trainer(items, FOLLOWING, seed=0)
    for checkpoint in TrainerCheckpoints(tmp_path).newest():
        checkpoint.restore(killed)
    for one in (trainer, killed):
        one.adopt(in_another_space(items, seed=7, first_offset=300))
    assert np.array_equal(trainer.publish().vectors, killed.publish().vectors)


def test_one_adoption_after_the_other_stays_in_the_first_space() -> None:
    items = make_items()
    trainer = trained(items)
    before = trainer.publish()
    for seed in (3, 5, 8):
        trainer.adopt(in_another_space(items, seed=seed))
    content = trainer.publish().features.content
    torch.testing.assert_close(content, before.features.content, atol=2e-3, rtol=0)


def test_items_that_come_later_are_turned_too_and_the_bundle_remembers_it(tmp_path: Path) -> None:
    items = make_items()
    trainer = trained(items)
    trainer.adopt(in_another_space(items, seed=7))
    bundle = trainer.publish()
    assert bundle.rotation is not None
    bundle.save(tmp_path)
    new = {"item_types": ["podcast"], "languages": ["en"], "genres": [None]}
    text = np.asarray(items.text[:1], np.float32)
    cold = items.model.cold(torch.from_numpy(text)).detach().numpy() @ any_rotation(7).T
    for one in (bundle, DynamicBundle.load(tmp_path)):
        features, _ = one.embed(**new, text=text)
        assert np.allclose(features.content[:, TEXT:].numpy(), 12.0 * cold, atol=1e-3)


def test_a_kill_after_an_adoption_changes_no_weight(tmp_path: Path) -> None:
    items = make_items()
    newer = in_another_space(items, seed=7, first_offset=500)
    trainer = trained(items)
    trainer.publish()
    trainer.adopt(newer)
    TrainerCheckpoints(tmp_path).write(trainer, Saved(values={}))
    killed = Trainer(newer, SMALL, seed=0)
    for checkpoint in TrainerCheckpoints(tmp_path).newest():
        checkpoint.restore(killed)
    later = make_examples(items, 500, first_offset=1_200, seed=9)
    for one in (trainer, killed):
        one.add(later)
        assert one.train().steps
    first, second = trainer.publish(), killed.publish()
    assert torch.equal(first.features.content, second.features.content)
    assert np.array_equal(first.vectors, second.vectors)
    assert first.manifest["popularity"] == second.manifest["popularity"]
    third = in_another_space(items, seed=2)
    for one in (trainer, killed):
        one.adopt(third)
    assert np.array_equal(trainer.publish().vectors, killed.publish().vectors)


def test_the_weight_of_popularity_stays_until_there_are_examples_to_choose_another_by() -> None:
    items = make_items()
    trainer = trained(items)
    assert len(trainer.holdout()) > 60
    few = replace(SMALL.popularity, min_examples=50, weights=(0.0, 0.25, 0.5, 0.75))
    trainer.settings = replace(SMALL, popularity=few)
    chosen = trainer.publish().manifest["popularity"]
    other = 0.75 if chosen["weight"] != 0.75 else 0.25
    trainer._fit = replace(trainer._fit, weight=other)
    trainer.adopt(in_another_space(items, seed=7, first_offset=1_000))
    assert 0 < len(trainer.holdout()) < 50
    kept = trainer.publish().manifest["popularity"]
    assert kept["weight"] == other
    assert kept["examples"] == len(trainer.holdout())
    trainer.add(make_examples(items, 1_500, first_offset=1_200, seed=4))
    anew = trainer.publish().manifest["popularity"]
    assert anew["examples"] > 50
    trainer._fit = None
    assert trainer.publish().manifest["popularity"] == anew, "what was chosen before has no say"
