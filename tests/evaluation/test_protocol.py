"""The papers' protocol on lists whose figures can be counted by hand."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from evaluation import (
    Dataset,
    Protocol,
    Result,
    TimeSplit,
    dataset_of,
    evaluate,
    item_cf,
    popularity,
    ranker_of,
    time_split,
)
from evaluation.split import HeldOut, held_out
from simulation import World, WorldSettings


def fixed(*rows: int):
    def rank(users: np.ndarray, item_type: str, k: int) -> np.ndarray:
        return np.tile(np.array(rows), (len(users), 1))

    return rank


def row_of(results: list[Result], item_type: str, segment: str = "all") -> Result:
    (found,) = [r for r in results if (r.item_type, r.segment) == (item_type, segment)]
    return found


def test_hits_are_counted_per_type_and_segment(dataset: Dataset, split: TimeSplit) -> None:
    # Held out: pod cat p2 (row 1, warm), eve p4 (row 3, cold); book ann b1 (4, cold), cat b2 (5,
    # warm by a weak signal).
    results = evaluate({"fixed": fixed(2, 1, 4)}, dataset, split)
    assert row_of(results, "pod").users == 2
    assert row_of(results, "pod").hr_at_10 == 0.5
    assert row_of(results, "pod", "warm").mrr == 0.5
    assert row_of(results, "pod", "cold").hr_at_10 == 0.0
    assert row_of(results, "pod").coverage == 0.5
    assert row_of(results, "book", "cold").hr_at_10 == 1.0
    assert row_of(results, "book", "warm").hr_at_10 == 0.0


def test_foreign_repeated_and_consumed_items_are_taken_out(
    dataset: Dataset, split: TimeSplit
) -> None:
    # Before p2 (row 1): no item, a book, p1 which cat has had, and p3 twice.
    results = evaluate({"messy": fixed(-1, 4, 0, 2, 2, 1)}, dataset, split, item_types=["pod"])
    assert row_of(results, "pod", "warm").mrr == 0.5


def test_a_ranker_from_scores_puts_the_best_first_and_leaves_out_what_the_user_had(
    dataset: Dataset, split: TimeSplit
) -> None:
    ranker = ranker_of(popularity(split.train, len(dataset.items)), dataset, split)
    ann, eve = ranker(np.array([0, 4]), "pod", 3)
    assert ann.tolist() == [2, 3, -1]
    assert eve.tolist() == [0, 1, 2]
    again = ranker_of(popularity(split.train, len(dataset.items)), dataset, split, repeats=True)
    assert again(np.array([0]), "pod", 2).tolist() == [[0, 1]]


def test_events_are_read_once_for_all_types(
    dataset: Dataset, split: TimeSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []

    def counted(*args: Any, **more: Any) -> HeldOut:
        reads.append(1)
        return held_out(*args, **more)

    monkeypatch.setattr("evaluation.protocol.held_out", counted)
    results = evaluate({"fixed": fixed(2, 1, 4)}, dataset, split)
    assert {row.item_type for row in results} == {"pod", "book"}
    assert len(reads) == 1


def test_held_out_items_of_a_type_are_those_of_its_users(
    dataset: Dataset, split: TimeSplit
) -> None:
    whole = held_out(split, np.arange(len(dataset.items)))
    for name in dataset.item_types:
        rows = dataset.rows_of_type(name)
        alone, part = held_out(split, rows), whole.where(np.isin(whole.item, rows))
        assert alone.users.tolist() == part.users.tolist()
        assert alone.indptr.tolist() == part.indptr.tolist()
        assert alone.item.tolist() == part.item.tolist()


def test_a_sample_of_users_is_the_same_for_the_same_seed(
    dataset: Dataset, split: TimeSplit
) -> None:
    models = {"fixed": fixed(2, 1, 4)}
    one = [evaluate(models, dataset, split, protocol=Protocol(max_users=1, seed=3)) for _ in "ab"]
    assert [r.hr_at_10 for r in one[0]] == [r.hr_at_10 for r in one[1]]
    assert {r.users for r in one[0]} == {1}


def test_a_model_cannot_gain_from_an_item_it_could_only_know_from_the_future(
    dataset: Dataset, split: TimeSplit
) -> None:
    # p4 exists only after the split: nothing a baseline may see names it.
    for scorer in (popularity(split.train, 7), item_cf(split.train, 5, 7)):
        assert not scorer(np.arange(5), np.array([3])).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_simulated_world_rewards_structure(seed: int) -> None:
    world = World(WorldSettings(users=3_000, items=1_000, events=150_000), seed=seed)
    events = pl.from_arrow(pa.Table.from_batches(list(world.history())))
    catalogue = pl.from_arrow(world.catalogue())
    assert isinstance(events, pl.DataFrame)
    assert isinstance(catalogue, pl.DataFrame)
    dataset = dataset_of(events, catalogue)
    split = time_split(dataset.events, test_days=14, end_ms=world.settings.end_ms)

    def oracle(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        item_type = dataset.items["item_type"][int(items[0])]
        return world.affinity(dataset.users[users].tolist(), item_type, split.at_ms)[:, items]

    scorers = {
        "popularity": popularity(split.train, len(dataset.items)),
        "item_cf": item_cf(split.train, len(dataset.users), len(dataset.items)),
        "oracle": oracle,
    }
    models = {name: ranker_of(scorer, dataset, split) for name, scorer in scorers.items()}
    results = evaluate(models, dataset, split, protocol=Protocol(max_users=600))
    for item_type in world.settings.item_types:
        hr = {
            r.model: r.hr_at_10 for r in results if (r.item_type, r.segment) == (item_type, "all")
        }
        assert hr["item_cf"] > 1.15 * hr["popularity"]
        assert hr["oracle"] > 1.8 * hr["popularity"]
