"""The gate refuses broken bundles and says why."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamic_layer import (
    DynamicBundle,
    GateSettings,
    HeldOut,
    IndexSettings,
    ItemIndex,
    Trainer,
    judge,
)
from dynamic_layer.bundles.bundle import served_vectors
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.items.features import ItemRows
from dynamic_layer.measure import gate
from dynamic_layer.measure.gate import Judgement
from dynamic_layer.measure.loss import Loss, loss_of

GATE = GateSettings()


def reasons(candidate: DynamicBundle, served: DynamicBundle, trainer: Trainer) -> str:
    return "; ".join(judge(candidate, served, HeldOut(trainer.holdout()), GATE).reasons)


def test_a_good_bundle_passes_with_and_without_one_in_use(
    trainer: Trainer, bundle: DynamicBundle
) -> None:
    assert judge(bundle, bundle, HeldOut(trainer.holdout()), GATE).reasons == []
    assert judge(bundle, None, HeldOut(trainer.holdout()), GATE).reasons == []


def test_weights_that_are_not_numbers_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    broken = trainer.publish()
    with torch.no_grad():
        next(broken.model.parameters()).fill_(torch.nan)
    assert "NaN" in reasons(broken, bundle, trainer)


def test_shuffled_vectors_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    shuffled = bundle.vectors[np.random.default_rng(0).permutation(len(bundle.vectors))]
    assert "item tower" in reasons(replace(bundle, vectors=shuffled), bundle, trainer)


def test_shuffled_item_keys_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    keys = np.random.default_rng(0).permutation(bundle.item_keys)
    assert "HR@10" in reasons(replace(bundle, item_keys=keys), bundle, trainer)


def test_collapsed_vectors_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    same = np.repeat(bundle.vectors[:1], len(bundle.vectors), axis=0)
    assert "cosine" in reasons(replace(bundle, vectors=same), bundle, trainer)


KINDS = [
    IndexSettings(),
    IndexSettings(ivf_above=20, storage="float32"),
    IndexSettings(ivf_above=20, storage="int4"),
]


def index_of(bundle: DynamicBundle, settings: IndexSettings) -> ItemIndex:
    index = ItemIndex(
        served_vectors(bundle.vectors, bundle.bias), bundle.features.type_number.numpy(), settings
    )
    assert all((built.lists > 0) == (settings.ivf_above == 20) for built in index.built.values())
    return index


@pytest.mark.parametrize("settings", KINDS)
def test_an_index_that_misses_items_is_refused(
    trainer: Trainer, bundle: DynamicBundle, settings: IndexSettings
) -> None:
    index = index_of(bundle, settings)
    assert reasons(replace(bundle, index=index), bundle, trainer) == ""
    index.remove(np.arange(0, len(bundle.vectors), 20))
    assert "recall" in reasons(replace(bundle, index=index), bundle, trainer)
    # Also where there are few questions to ask of it.
    few = HeldOut(trainer.holdout().newest(100))
    found = judge(replace(bundle, index=index), bundle, few, GATE).reasons
    assert any("recall" in reason for reason in found)


@pytest.mark.parametrize("settings", KINDS[1:])
def test_lists_with_shuffled_item_ids_are_refused(
    trainer: Trainer, bundle: DynamicBundle, settings: IndexSettings
) -> None:
    index = index_of(bundle, settings)
    for built in index.built.values():
        vectors = index.vectors(built.rows)
        built.index.reset()
        shuffled = np.random.default_rng(0).permutation(built.rows)
        built.index.add_with_ids(built.coded(vectors), shuffled)
    assert "recall" in reasons(replace(bundle, index=index), bundle, trainer)


def newest(trainer: Trainer, n: int) -> HeldOut:
    return HeldOut(trainer.holdout().newest(n))


def coverage(bundle: DynamicBundle, held_out: HeldOut) -> float:
    """Distinct items in the first ten places of all, per item that could be there."""
    questions = held_out.newest(len(held_out))
    users = user_features(questions, ItemRows(bundle.item_keys), bundle.history_cap)
    rows = bundle.index.search(bundle.queries(bundle.user_vectors(users)), 10).rows
    return len({*rows.ravel().tolist()}) / min(len(bundle.vectors), rows.size)


@pytest.mark.parametrize(("number", "enough"), [(255, False), (256, True)])
def test_coverage_and_hits_need_256_questions(
    trainer: Trainer, bundle: DynamicBundle, number: int, enough: bool
) -> None:
    held_out = newest(trainer, number)
    assert len(held_out) == number
    found = judge(bundle, bundle, held_out, replace(GATE, min_coverage=1.1))
    assert [reason.split()[1] for reason in found.reasons] == ["coverage"] * enough
    assert found.held_out == number
    assert (found.hr_at_10, found.best_hr_at_10) == (found.served_hr_at_10, None)
    assert (found.hr_at_10 is not None) == enough


def test_coverage_is_that_of_the_newest_questions(
    trainer: Trainer, bundle: DynamicBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_SAMPLE", 16)  # 256 questions find all items of this small world
    expected = coverage(bundle, newest(trainer, 16))
    assert expected < 1.0
    for limit, said in [(expected, []), (expected + 1e-6, [f"got {expected:.4f}"])]:
        settings = replace(GATE, min_coverage=limit)
        found = judge(bundle, None, HeldOut(trainer.holdout()), settings).reasons
        assert [reason.split(", ")[1] for reason in found] == said


def test_what_is_at_a_limit_may_serve(trainer: Trainer, bundle: DynamicBundle) -> None:
    strict = replace(GATE, min_recall=1.0, max_similarity=1.0)
    exact = index_of(bundle, IndexSettings(storage="float32"))
    held_out = HeldOut(trainer.holdout())
    assert judge(replace(bundle, index=exact), None, held_out, strict).reasons == []
    same = np.zeros_like(bundle.vectors)
    same[:, 0] = 1.0
    found = judge(replace(bundle, vectors=same), None, held_out, strict).reasons
    assert not any("cosine" in reason for reason in found)


def test_without_questions_items_are_searched_for(trainer: Trainer, bundle: DynamicBundle) -> None:
    assert judge(bundle, bundle, newest(trainer, 0), GATE) == Judgement(reasons=[])
    index = index_of(bundle, IndexSettings(storage="float32"))
    index.remove(np.arange(0, len(bundle.vectors), 20))
    [reason] = judge(replace(bundle, index=index), None, newest(trainer, 0), GATE).reasons
    assert "recall" in reason


def test_each_vector_of_a_few_is_compared_with_the_tower(
    trainer: Trainer, bundle: DynamicBundle
) -> None:
    assert len(bundle.vectors) <= 256
    for row in range(0, len(bundle.vectors), len(bundle.vectors) // 20):
        vectors = bundle.vectors.copy()
        vectors[row] = -vectors[row]
        assert "item tower" in reasons(replace(bundle, vectors=vectors), bundle, trainer)


def test_a_bundle_without_items_is_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    nothing = replace(bundle, item_keys=bundle.item_keys[:0])
    assert reasons(nothing, bundle, trainer) == "expected items, got none"


@pytest.mark.parametrize(("needed", "rounds"), [(299, [300]), (300, [300]), (301, [300, 400])])
def test_all_questions_are_asked_where_the_newest_tell_too_little(
    trainer: Trainer,
    bundle: DynamicBundle,
    monkeypatch: pytest.MonkeyPatch,
    needed: int,
    rounds: list[int],
) -> None:
    asked: list[int] = []

    def lost(before: np.ndarray, *_: object) -> Loss:
        asked.append(len(before))
        return Loss(
            before=0.5, after=0.5, high=0.0, questions=len(before), needed=needed, too_much=False
        )

    monkeypatch.setattr(gate, "loss_of", lost)
    monkeypatch.setattr(gate, "_JUDGED", 300)
    found = judge(bundle, bundle, newest(trainer, 400), GATE)
    assert asked == rounds
    assert found.held_out == rounds[-1]


@pytest.mark.parametrize(
    ("own", "served", "earlier", "best"),
    [
        (0.5, 0.5, None, True), (0.5, 0.4, 0.5, True), (0.5, 0.6, 0.4, False),
        (0.5, 0.4, 0.6, False), (0.5, None, None, False), (None, 0.0, 0.0, False),
        (0.0, 0.0, None, True),
    ],
)  # fmt: skip
def test_the_best_is_at_least_as_good_as_each_other(
    own: float | None, served: float | None, earlier: float | None, best: bool
) -> None:
    found = Judgement(reasons=[], hr_at_10=own, served_hr_at_10=served, best_hr_at_10=earlier)
    assert found.best == best


def test_a_bundle_that_ranks_worse_is_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    worse = trainer.publish()
    with torch.no_grad():
        for weights in worse.model.user.tower.parameters():
            weights.normal_(generator=torch.Generator().manual_seed(0))
    said = re.search(
        r"HR@10 of about ([\d.]+) on .* got ([\d.]+); the served bundle has ([\d.]+),"
        r" (\S+) more at least",
        reasons(worse, bundle, trainer),
    )
    assert said is not None
    before, after, served, more = map(float, said.groups())
    assert before == served
    assert 0 < more < before - after


def drawn(n: int, rate: float, kept: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits of a bundle, and of one with `kept` of its rate whose answers are much the same."""
    rng = np.random.default_rng(seed)
    before = rng.random(n) < rate
    gained = rng.random(n) < 0.03 * rate / (1 - rate)
    after = (before & (rng.random(n) < kept - 0.03)) | (~before & gained)
    return before, after


def refused(n: int, kept: float, *, rate: float = 0.3, users: int = 0) -> float:
    """Share of 200 draws in which a bundle is refused; users: how many ask, all different if 0."""
    count = 0
    for seed in range(200):
        before, after = drawn(n, rate, kept, seed)
        who = np.arange(n) % users if users else np.arange(n)
        count += loss_of(before, after, who, 0.1).too_much
    return count / 200


def test_an_equal_bundle_is_hardly_ever_refused_and_a_worse_one_given_questions_enough() -> None:
    needed = loss_of(*drawn(4_000, 0.3, 0.9, 0), np.arange(4_000), 0.1).needed
    assert 100 < needed < 1_000
    assert refused(256, 1.0, rate=0.1) < 0.08
    assert refused(needed, 1.0) < 0.1
    assert refused(needed, 0.9) > 0.8
    assert refused(4_000, 0.97) < 0.1, "a small loss, however sure, is granted"


def test_questions_of_one_user_stand_together() -> None:
    """Ten questions each that all fail or succeed alike tell as much as one."""
    before, after = drawn(300, 0.3, 0.9, 1)
    alone = loss_of(before, after, np.arange(300), 0.1)
    repeated = np.repeat(before, 10), np.repeat(after, 10), np.repeat(np.arange(300), 10)
    together = loss_of(*repeated, 0.1)
    naive = loss_of(*repeated[:2], np.arange(3_000), 0.1)
    assert together.high == pytest.approx(alone.high)
    assert naive.high < together.high
    assert together.needed == pytest.approx(10 * alone.needed, rel=0.01)


def test_many_small_losses_are_found_against_the_best_earlier_bundle(
    trainer: Trainer, bundle: DynamicBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each loses little against the one before it."""
    order = np.random.default_rng(0).permutation(len(trainer.holdout()))

    def hits(_: HeldOut, judged: DynamicBundle, n: int) -> np.ndarray:
        return order[:n] % 100 < judged.generation

    monkeypatch.setattr(HeldOut, "served_hits", hits)
    good, last, new = (
        replace(bundle, manifest=bundle.manifest | {"generation": g}) for g in (60, 50, 49)
    )
    held_out = HeldOut(trainer.holdout())
    assert judge(new, last, held_out, GATE).reasons == []
    found = judge(new, last, held_out, GATE, best=good)
    assert [r for r in found.reasons if "best earlier" in r] == found.reasons != []
    assert not found.best
    assert judge(good, last, held_out, GATE, best=last).best


def test_ten_losses_of_a_twentieth_in_a_row_do_not_pass(
    trainer: Trainer, bundle: DynamicBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.random.default_rng(0).permutation(len(trainer.holdout()))
    # A little less than 5 %, which is half of `max_loss` and would be refused at once.
    rates = [0.6 * 0.955**k for k in range(11)]

    def hits(_: HeldOut, judged: DynamicBundle, n: int) -> np.ndarray:
        return order[:n] < rates[judged.generation] * len(order)

    def made(k: int) -> DynamicBundle:
        return replace(bundle, manifest=bundle.manifest | {"generation": k})

    monkeypatch.setattr(HeldOut, "served_hits", hits)
    served = best = made(0)
    for k in range(1, 11):
        candidate = made(k)
        found = judge(candidate, served, HeldOut(trainer.holdout()), GATE, best=best)
        if not found.reasons:
            served = candidate
            best = candidate if found.best else best
    assert rates[served.generation] > 0.9 * rates[0]
    assert best.generation == 0
