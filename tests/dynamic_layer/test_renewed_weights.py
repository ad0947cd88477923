"""Weights of a static bundle's counts and of later examples are those of all events together."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer import ExampleBatch, RankingSettings, Trainer, renewable
from dynamic_layer.counts.state_weights import FOLLOWING, TOGETHER, weights_of
from dynamic_layer.examples.replay import Replay, pad
from dynamic_layer.settings import EaseSettings
from dynamic_layer.training.renewed_weights import (
    NEWS,
    RenewedWeights,
    events_behind,
    renewed_weights,
)
from state.transitions import SESSION_MS, STEP_DECAY, STEPS
from tests.dynamic_layer.headed import HEADED, live_of
from tests.dynamic_layer.worlds import START_MS, TOPIC, make_examples, make_items

ITEMS, USERS, EVENTS = 30, 40, 600
KEYS = np.arange(100, 100 + ITEMS, dtype=np.uint64)[::-1].copy()  # rows are not in order of keys
SETTINGS = RankingSettings(ease=EaseSettings(min_users=1, neighbours=8, ridge=2.0))
GAP_MS = SESSION_MS // 4


class Event:
    """A user's first strong event on an item, and the user's strong items before it."""

    def __init__(self, user: int, item: int, time: int, before: list[tuple[int, int]]) -> None:
        self.user, self.item, self.time = user, item, time
        self.before = before  # (item, time), newest first


def events(seed: int) -> list[Event]:
    rng, had, found = np.random.default_rng(seed), dict[int, list[tuple[int, int]]](), []
    for n in range(EVENTS):
        user, item, time = int(rng.integers(USERS)), int(rng.integers(ITEMS)), n * GAP_MS // 20
        own = had.setdefault(user, [])
        if item not in [one for one, _ in own]:
            found.append(Event(user, item, time, list(own)))
            own.insert(0, (item, time))
    return found


def counted(of: list[Event]) -> dict[str, sp.csr_array]:
    """The counts of some events, one by one."""
    together, following = np.zeros((ITEMS, ITEMS)), np.zeros((ITEMS, ITEMS))
    for event in of:
        together[event.item, event.item] += 1
        for step, (item, time) in enumerate(event.before):
            together[event.item, item] += 1
            together[item, event.item] += 1
            if step < STEPS and event.time - time <= SESSION_MS:
                following[item, event.item] += STEP_DECAY**step
    return {
        TOGETHER: sp.csr_array(together.astype(np.float32)),
        FOLLOWING: sp.csr_array(following.astype(np.float32)),
    }


def batch_of(of: list[Event], **columns: Any) -> ExampleBatch:
    entries = [entry for event in of for entry in event.before]
    sizes = [len(event.before) for event in of]
    n = len(of)
    given: dict[str, Any] = {
        "topic": TOPIC, "partition": 0,
        "offset": np.arange(n, dtype=np.int64),
        "target": KEYS[[event.item for event in of]],
        "timestamp": START_MS + np.array([event.time for event in of], np.int64),
        "strong": np.ones(n, np.bool_), "repeat": np.zeros(n, np.bool_),
        "country": [""] * n, "birth_year": np.zeros(n, np.int16),
        "indptr": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        "history_item": KEYS[[item for item, _ in entries]],
        "history_time": START_MS + np.array([time for _, time in entries], np.int64),
        "history_strong": np.ones(len(entries), np.bool_),
    }  # fmt: skip
    return ExampleBatch(**{**given, **columns})


def replay_of(batch: ExampleBatch) -> Replay:
    replay = Replay(capacity=1_000, history_cap=64)
    replay.append(pad(batch, 64, 0))
    return replay


def static_of(counts: dict[str, sp.csr_array]) -> SimpleNamespace:
    return SimpleNamespace(item_keys=KEYS, counts=counts, weights=weights_of(counts, SETTINGS))


def dense(weights: dict[str, sp.csr_array]) -> dict[str, NDArray[Any]]:
    return {name: matrix.toarray() for name, matrix in weights.items()}


def assert_alike(found: dict[str, sp.csr_array], wanted: dict[str, sp.csr_array]) -> None:
    assert list(found) == list(wanted)
    for name, matrix in dense(found).items():
        np.testing.assert_allclose(matrix, dense(wanted)[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_weights_after_some_examples_are_those_of_all_events_so_far(seed: int) -> None:
    found = events(seed)
    cut = len(found) * 4 // 5
    static, replay = static_of(counted(found[:cut])), replay_of(batch_of(found[cut:]))
    for end in (0, 10, len(found) - cut):
        wanted = weights_of(counted(found[: cut + end]), SETTINGS)
        assert_alike(renewed_weights(static, replay, end, SETTINGS), wanted)
    with pytest.raises(AssertionError):
        assert_alike(static.weights, wanted)


def test_weak_events_and_repeats_add_nothing() -> None:
    found = events(4)
    cut = len(found) // 2
    static, later = static_of(counted(found[:cut])), found[cut:]
    n = len(later)
    for columns in (
        {"strong": np.zeros(n, np.bool_)},
        {"repeat": np.ones(n, np.bool_)},
    ):
        replay = replay_of(batch_of(later, **columns))
        assert_alike(renewed_weights(static, replay, n, SETTINGS), static.weights)
    # Entries that were weak make no pair; the items met still have one user more.
    batch = batch_of(later)
    weak = replace(batch, history_strong=np.zeros(len(batch.history_item), np.bool_))
    counts = counted(found[:cut])
    alone = [Event(event.user, event.item, event.time, []) for event in later]
    counts[TOGETHER] = counts[TOGETHER] + counted(alone)[TOGETHER]
    assert_alike(
        renewed_weights(static, replay_of(weak), n, SETTINGS), weights_of(counts, SETTINGS)
    )


def test_weights_are_made_again_once_enough_examples_came_and_never_know_later_ones() -> None:
    found = events(7)
    cut = len(found) // 2
    static, replay = static_of(counted(found[:cut])), replay_of(batch_of(found[cut:]))
    weights, n = RenewedWeights(), len(found) - cut
    enough = math.ceil(NEWS * events_behind(static, replay, n // 2))
    assert enough > NEWS * (n // 2)
    first = weights.until(static, replay, n // 2, SETTINGS)
    assert weights.until(static, replay, n // 2 + enough - 1, SETTINGS) is first
    later = weights.until(static, replay, n // 2 + enough, SETTINGS)
    assert_alike(later, renewed_weights(static, replay, n // 2 + enough, SETTINGS))
    # Earlier examples than those behind the weights: a list must not read what it asks for.
    earlier = weights.until(static, replay, n // 2, SETTINGS)
    assert_alike(earlier, renewed_weights(static, replay, n // 2, SETTINGS))
    other = static_of(counted(found[: cut // 2]))
    assert weights.until(other, replay, n // 2, SETTINGS) is not earlier


def test_many_counts_stay_in_the_static_job() -> None:
    counts = counted(events(5))
    entries = sum(matrix.nnz for matrix in counts.values())
    assert renewable(counts, replace(SETTINGS, renewed_counts=entries)) is counts
    assert not renewable(counts, replace(SETTINGS, renewed_counts=entries - 1))
    static = static_of(counts)
    static.counts = {}
    replay = replay_of(batch_of(events(6)))
    assert_alike(renewed_weights(static, replay, 100, SETTINGS), static.weights)


def test_a_trainers_lists_read_no_weights_of_their_own_events() -> None:
    """What the head learns from comes after the weights behind it, for the first bundle too."""
    items = make_items()
    none = sp.csr_array((len(items.item_keys),) * 2, dtype=np.float32)
    ranking = replace(HEADED.ranking, ease=EaseSettings(min_users=1))
    counts = {TOGETHER: none, FOLLOWING: none}
    items.counts, items.weights = counts, weights_of(counts, ranking)  # type: ignore[attr-defined]
    batch = make_examples(items, 2_000)
    settings = replace(HEADED, ranking=ranking)
    trainer = Trainer(items, settings, seed=7, ranking=True, live=live_of(batch))
    trainer.add(batch)
    trainer.train()
    head, replay = trainer._ranking, trainer._replay
    assert head is not None and head._bundle is not None

    def as_of(end: int) -> dict[str, sp.csr_array]:
        return renewed_weights(items, replay, end, ranking)

    assert 0 < head._first < replay.written
    assert head._bundle.weights["cosine"].nnz > 0
    assert_alike(head._bundle.weights, as_of(head._first))
    made = trainer.publish()
    assert_alike(made.weights, as_of(replay.written))
    with pytest.raises(AssertionError):
        assert_alike(made.weights, as_of(replay.written // 2))
    assert head._bundle is made and head._first == replay.written
