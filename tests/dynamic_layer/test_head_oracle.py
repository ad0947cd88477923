"""What a head is taught and how it is measured, by values worked out apart from the code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamic_layer import DynamicBundle, ExampleBatch, RankingHead, Trainer
from dynamic_layer.examples.replay import PaddedExamples, Replay, pad
from dynamic_layer.head.candidates import NONE
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_learning import HeadLearning, made_lists
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.measure.held_out import target_hits
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.settings import RankingSettings
from tests.dynamic_layer.worlds import DAY_MS, SMALL, START_MS, Items, make_examples, make_items

CAP = SMALL.replay.history_cap
HOUR_MS = 3_600_000
RANKING = RankingSettings(towers=20, neighbours=0, demand=10, limit=40)


@pytest.fixture(scope="module")
def items() -> Items:
    return make_items()


@pytest.fixture(scope="module")
def bundle(items: Items) -> DynamicBundle:
    trainer = Trainer(items, replace(SMALL, ranking=RANKING), seed=3)
    trainer.add(make_examples(items, 400))
    trainer.train(max_steps=5)
    return trainer.publish()


def without_figures(bundle: DynamicBundle) -> DynamicBundle:
    """The bundle with a head that gives every candidate the score 0."""
    names = ListMaker(bundle, RANKING).names
    head = RankingHead(names, 4)
    with torch.no_grad():
        for weights in head.parameters():
            weights.zero_()
    return replace(bundle, head=head.eval())


def counts(*events: tuple[int, int], items: Items) -> Popularity:
    """Counts of events given as (row of the item, hour)."""
    popularity = Popularity(bucket_hours=1.0, window_days=90.0)
    rows, hours = np.array(events).T
    popularity.add(items.item_keys[rows], START_MS + hours * HOUR_MS, np.zeros(len(rows), np.int64))
    return popularity


def test_repeats_and_weak_signals_are_no_lists(items: Items, bundle: DynamicBundle) -> None:
    batch = make_examples(items, 40, seed=4)
    strong, repeat = np.arange(40) % 4 != 0, np.arange(40) % 5 == 0
    batch = replace(batch, strong=strong, repeat=repeat)
    replay = Replay(capacity=100, history_cap=CAP)
    replay.append(pad(batch, CAP, 0))
    learning = HeadLearning(RANKING, history_cap=50, seed=1)
    learning.freeze(bundle, 0)
    figures = learning.learn(replay, counts((0, 0), items=items))
    # 40 less ten weak ones and eight repeats, of which two are weak.
    assert figures["prequential_examples"] == 24


def test_lists_begin_with_the_first_example_that_the_towers_have_not_seen(
    items: Items, bundle: DynamicBundle
) -> None:
    batch = make_examples(items, 30, seed=4)
    batch = replace(batch, strong=np.ones(30, np.bool_))
    replay = Replay(capacity=100, history_cap=CAP)
    replay.append(pad(batch, CAP, 0))
    learning, popularity = (
        HeadLearning(RANKING, history_cap=50, seed=1),
        counts((0, 0), items=items),
    )
    learning.freeze(bundle, 13)
    # Numbers count from 0: those of 13 to 29.
    assert learning.learn(replay, popularity)["prequential_examples"] == 17
    learning.freeze(bundle, replay.written)
    assert learning.learn(replay, popularity) == {}, "each example is asked about once"
    replay.append(pad(batch.take(np.arange(5)), CAP, 0))
    assert learning.learn(replay, popularity)["prequential_examples"] == 5


def one_moment(items: Items, target: int, hours: list[int]) -> PaddedExamples:
    """Examples of one target at some hours; so few that they share a moment."""
    batch: ExampleBatch = make_examples(items, len(hours), seed=6)
    batch = replace(
        batch,
        target=np.full(len(hours), items.item_keys[target]),
        timestamp=START_MS + np.array(hours) * HOUR_MS,
        history_time=np.full(len(batch.history_time), START_MS - DAY_MS),
    )
    return pad(batch, CAP, 0)


def test_demand_is_that_of_the_earliest_event_of_lists_made_together(
    items: Items, bundle: DynamicBundle
) -> None:
    target = 0
    # One event before the first example, and many between the first and the last. The two are
    # in the same stretch of five hours, so they share a moment.
    popularity = counts((target, 0), *[(target, 5)] * 50, items=items)
    examples = one_moment(items, target, [3, 7])
    stretch = examples.timestamp // (5 * HOUR_MS)
    assert stretch[0] == stretch[1]
    maker = ListMaker(bundle, RANKING)
    halves = RANKING.demand_half_lives_days
    (made,) = made_lists(bundle, maker, examples, popularity, halves)
    # The bucket of hour 0 ended two hours before that of hour 3 began.
    expected = np.log(2 ** (-(2 / 24) / halves[0]) + 0.1)
    column = maker.names.index(f"demand@{halves[0]:g}d")
    assert made.lists.label.any(axis=1).all()
    got = made.lists.features[made.lists.label][:, column]
    np.testing.assert_allclose(got.astype(np.float64), expected, atol=2e-3)


def test_the_rank_of_equal_scores_is_the_place_in_the_served_list(
    items: Items, bundle: DynamicBundle
) -> None:
    headed = without_figures(bundle)
    maker = ListMaker(headed, RANKING)
    batch = make_examples(items, 60, seed=8)
    popularity = counts((0, 0), items=items)
    seen = 0
    for made in made_lists(
        headed, maker, pad(batch, CAP, 0), popularity, RANKING.demand_half_lives_days
    ):
        # All scores are equal: candidates are served in the order in which they were proposed.
        for place, label in enumerate(made.lists.label):
            where = np.flatnonzero(label)
            assert made.before[place] == (where[0] if len(where) else -1)
            assert made.head[place] == bool(len(where) and where[0] < 10)
            seen += len(where) > 0
    assert seen > 20


def test_a_target_that_the_bundle_does_not_know_is_a_miss_at_the_gate(
    items: Items, bundle: DynamicBundle
) -> None:
    examples = pad(make_examples(items, 6, seed=2), CAP, 0)
    unknown = np.setdiff1d(np.arange(1, 50, dtype=np.uint64), items.item_keys)[:1]
    first = examples.target.copy()
    first[:] = bundle.item_keys[0]
    nothing = np.zeros(len(examples), np.int64)
    examples = replace(examples, target=first, length=nothing)
    # Row 0 stands in for what is unknown: if it is everybody's best item, the mask alone tells.
    bias = np.zeros(len(bundle.bias), np.float32)
    bias[0] = 1e6
    favoured = replace(bundle, bias=bias)
    assert target_hits(favoured, examples).all()
    mixed = first.copy()
    mixed[::2] = unknown
    hits = target_hits(favoured, replace(examples, target=mixed))
    assert hits.tolist() == [False, True] * 3
    assert (ItemRows(bundle.item_keys)(unknown) == NONE).all()
