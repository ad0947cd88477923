"""Our own model in the harness, on a small world of tastes and fashions."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dynamic_layer import DynamicSettings, LossSettings, PopularitySettings, TowerSettings
from dynamic_layer.head_features import FeatureSettings
from dynamic_layer.item_weights import EaseSettings
from dynamic_layer.propose import CandidateSettings
from dynamic_layer.ranking_head import HeadSettings
from dynamic_layer.tower_fits import TowerFitSettings
from evaluation import Dataset, Protocol, dataset_of, evaluate, popularity, ranker_of, time_split
from evaluation.ablation import LINEAR, ablate, columns_without
from evaluation.segue_model import SegueSettings, segue

DAY = 86_400_000
TOWERS = TowerFitSettings(
    first_examples=500,
    dynamic=DynamicSettings(
        batch_size=128,
        towers=TowerSettings(layers=(16, 8), half_lives_days=(5.0,)),
        loss=LossSettings(uniform_negatives=32),
        popularity=PopularitySettings(weights=(0.0,), half_lives_days=(7.0,), fit_examples=16),
    ),
)
SMALL = SegueSettings(
    horizon_days=10,
    windows=2,
    graph_width=8,
    towers=None,
    ease=EaseSettings(ridge=5.0, neighbours=16),
    candidates=CandidateSettings(neighbours=10, demand=5, vectors=5, towers=5, limit=30),
    features=FeatureSettings(half_lives_days=(float("inf"), 10.0)),
    head=HeadSettings(hidden=8, epochs=4.0),
)
USERS, ITEMS, TASTES = 120, 90, 6


def world(seed: int = 0) -> Dataset:
    """Sixty days; users keep to one taste, items of two types come into fashion and go."""
    rng = np.random.default_rng(seed)
    taste = np.arange(ITEMS) % TASTES
    peak = rng.uniform(0, 60, ITEMS)
    rows = []
    for user in range(USERS):
        liked = user % TASTES
        for day in np.sort(rng.uniform(0, 60, 25)):
            worth = np.exp(-np.abs(peak - day) / 8) * np.where(taste == liked, 12.0, 1.0)
            item = rng.choice(ITEMS, p=worth / worth.sum())
            rows.append((f"u{user:03}", f"i{item}", ("a", "b")[item % 2], int(day * DAY)))
    items = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(ITEMS)],
            "item_type": [("a", "b")[row % 2] for row in range(ITEMS)],
        }
    )
    columns = ["user_id", "item_id", "item_type", "timestamp"]
    return dataset_of(pl.DataFrame(rows, schema=columns, orient="row"), items)


def text_of(dataset: Dataset) -> np.ndarray:
    rng = np.random.default_rng(5)
    names = dataset.items["item_id"].to_list()
    signs = rng.normal(size=(TASTES, 8))
    text = signs[[int(name[1:]) % TASTES for name in names]] + rng.normal(size=(len(names), 8))
    return np.asarray(text / np.linalg.norm(text, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return world()


def test_it_ranks_better_than_demand_alone(dataset: Dataset) -> None:
    split = time_split(dataset.events, test_days=10)
    scorer = segue(dataset, split, seed=1, settings=SMALL, text=text_of(dataset))
    models = {
        "segue": ranker_of(scorer, dataset, split),
        "popularity": ranker_of(popularity(split.train, ITEMS, half_life_days=5), dataset, split),
    }
    rows = evaluate(models, dataset, split, protocol=Protocol(k=3))
    hit = {(row.model, row.item_type): row.ndcg_at_10 for row in rows if row.segment == "all"}
    assert hit["segue", "a"] > hit["popularity", "a"]
    assert hit["segue", "b"] > hit["popularity", "b"]


def test_nothing_after_the_split_is_read_and_seeds_decide(dataset: Dataset) -> None:
    split = time_split(dataset.events, test_days=10)
    settings = replace(SMALL, towers=TOWERS)
    text = text_of(dataset)
    users, items = np.arange(USERS), dataset.rows_of_type("a")
    before = segue(dataset, split, seed=1, settings=settings, text=text)(users, items)
    # The same past with a planted item in everybody's future.
    planted = split.test.where(np.ones(len(split.test), np.bool_))
    planted.item[:] = items[3]
    other = replace(split, test=planted)
    after = segue(dataset, other, seed=1, settings=settings, text=text)(users, items)
    np.testing.assert_array_equal(before, after)
    again = segue(dataset, split, seed=2, settings=settings, text=text)(users, items)
    assert not np.array_equal(before, again)


def test_items_asked_for_in_small_numbers_are_all_ranked(dataset: Dataset) -> None:
    split = time_split(dataset.events, test_days=10)
    scorer = segue(dataset, split, seed=1, settings=SMALL, text=text_of(dataset))
    few = dataset.rows_of_type("b")[:7]
    mixed = np.concatenate([few, dataset.rows_of_type("a")])
    scores = scorer(np.array([0, 5]), few)
    assert scores.shape == (2, 7)
    assert (scores > -1e3).all()
    # All of type a is more than the limit: some are no candidates, and stand below.
    assert (scorer(np.array([0, 5]), mixed)[:, 7:] < -1e3).any()


def test_columns_that_are_left_out() -> None:
    names = ["z:ease@infd", "z:text-nearest-3", "ease@infd", "text-nearest-3", "age", "new"]
    assert columns_without(names, "").all()
    assert columns_without(names, "ease").tolist() == [False, True, False, True, True, True]
    assert columns_without(names, "text+age").tolist() == [True, False, True, False, False, False]
    assert columns_without(names, "plain").tolist() == [True, True, False, False, False, False]


def test_an_ablation_has_a_row_for_each_part_and_seed(dataset: Dataset) -> None:
    split = time_split(dataset.events, test_days=10)
    rows = list(
        ablate(
            dataset,
            split,
            SMALL,
            text=text_of(dataset),
            seeds=(1,),
            max_users=60,
            parts=("", "demand", "towers", LINEAR),
        )
    )
    # There are no towers here to leave out.
    assert [row["without"] for row in rows] == ["", "demand", LINEAR]
    assert all(0 < float(str(row["all"])) <= float(str(row["among candidates"])) for row in rows)
