"""Our own model in the harness, on a small world of tastes and fashions."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dynamic_layer import DynamicSettings, LossSettings, PopularitySettings, TowerSettings
from dynamic_layer.counts.item_weights import EaseSettings
from dynamic_layer.head.features import FeatureSettings
from dynamic_layer.head.propose import CandidateSettings
from dynamic_layer.head.ranking_head import HeadSettings
from dynamic_layer.training.tower_fits import TowerFitSettings
from evaluation import Dataset, Protocol, dataset_of, evaluate, popularity, ranker_of, time_split
from evaluation.ablation import LINEAR, ablate, columns_without
from evaluation.measure import measure
from evaluation.models import chosen
from evaluation.segue_model import SegueSettings, segue
from evaluation.text import TextVectors
from evaluation.trial import Trial, TrialSettings, make_trial
from static_layer import TextSettings
from static_layer.progress import silent

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


def test_items_asked_for_apart_score_as_they_do_among_all(dataset: Dataset) -> None:
    split = time_split(dataset.events, test_days=10)
    scorer = segue(dataset, split, seed=1, settings=SMALL, text=text_of(dataset))
    few, users = dataset.rows_of_type("b")[:7], np.array([0, 5])
    every = np.arange(ITEMS)
    scores = scorer(users, every)
    np.testing.assert_array_equal(scorer(users, few), scores[:, few])
    # A type has more items than the limit: some are no candidates, and stand below.
    candidates = scores > -500
    assert 0 < candidates.sum() < candidates.size
    assert scores[~candidates].max() < scores[candidates].min()


def trial_of(dataset: Dataset, **settings: object) -> Trial:
    text = TextVectors(dataset.items, TextSettings(), silent)
    text._vectors = text_of(dataset)
    return make_trial(dataset, TrialSettings(**settings), text)  # type: ignore[arg-type]


def hit_rates(trial: Trial, *others: str) -> dict[str, float]:
    """HR@10 over all types of segue and of models that are known by name."""
    text = trial.past.text()
    fitted = {
        "segue": segue(trial.dataset, trial.past, seed=1, settings=SMALL, text=text),
        **{
            name: chosen([name])[0].fit(trial.dataset, trial.past, seed=1, progress=silent)
            for name in others
        },
    }
    return {
        name: float(measure(scorer, trial, name=name, progress=silent)[0].values["hr_at_10"].mean())
        for name, scorer in fitted.items()
    }


@pytest.mark.parametrize("protocol", ["loo", "sampled"])
def test_it_is_asked_for_the_next_item_of_each_user(dataset: Dataset, protocol: str) -> None:
    trial = trial_of(dataset, protocol=protocol, negatives=30)
    found = hit_rates(trial, "popularity")
    assert found["segue"] > found["popularity"] + 0.1


def habits() -> Dataset:
    """Users come back to their own items, each in a rhythm of its own, and rarely try another."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(80):
        for item in rng.choice(60, 8, replace=False):
            gap = rng.uniform(4, 30)
            days = np.arange(rng.uniform(0, gap), 90, gap) + rng.normal(0, 0.3)
            rows += [(f"u{user}", f"i{item}", "show", int(max(day, 0) * DAY)) for day in days]
    columns = ["user_id", "item_id", "item_type", "timestamp"]
    items = pl.DataFrame({"item_id": [f"i{row}" for row in range(60)], "item_type": "show"})
    return dataset_of(pl.DataFrame(rows, schema=columns, orient="row"), items)


def test_where_items_come_back_it_knows_which_are_due() -> None:
    dataset = habits()
    trial = trial_of(dataset, test_days=3, repeats=True)
    text = trial.past.text()
    settings = replace(SMALL, horizon_days=None)
    ours = segue(trial.dataset, trial.past, seed=1, settings=settings, text=text)
    measured = measure(ours, trial, name="segue", progress=silent)[0].values["ndcg_at_10"].mean()
    # The user's own items, most frequent first: what can be had without asking which are due.
    times = np.zeros((len(dataset.users), 60))
    np.add.at(times, (trial.past.train.user, trial.past.train.item), 1)
    often = measure(lambda u, i: times[u][:, i], trial, name="often", progress=silent)
    assert measured > often[0].values["ndcg_at_10"].mean() + 0.05


def test_a_weak_signal_is_a_candidate_where_repeats_are_excluded() -> None:
    frame = pl.DataFrame(
        {"user_id": ["u", "u", "v", "v"], "item_id": ["a", "b", "a", "c"],
         "item_type": "pod", "timestamp": [0, DAY, 2 * DAY, 40 * DAY],
         "kind": ["stream", "follow", "stream", "stream"]}
    )  # fmt: skip
    dataset = dataset_of(frame, frame.select("item_id", "item_type").unique("item_id"))
    split = time_split(dataset.events, test_days=5)
    scorer = segue(dataset, split, seed=1, settings=SMALL, text=np.zeros((3, 4), np.float32))
    names = dict(zip(dataset.items["item_id"], scorer(np.array([0]), np.arange(3))[0], strict=True))
    assert names["b"] > -500 > names["a"]


def test_a_past_too_short_to_learn_from_is_answered_by_neighbours_and_demand() -> None:
    frame = pl.DataFrame(
        {"user_id": ["u", "v", "v", "w", "w", "u"], "item_id": ["a", "a", "b", "a", "b", "b"],
         "item_type": "song", "timestamp": [0, 0, 0, 0, 0, 9 * DAY]}
    )  # fmt: skip
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "item_type": "song"})
    dataset = dataset_of(frame, items)
    split = time_split(dataset.events, test_days=5)
    user = np.flatnonzero(dataset.users == "u")
    scores = segue(dataset, split, seed=1, settings=SMALL, text=np.zeros((3, 4), np.float32))(
        user, np.arange(3)
    )
    assert scores[0, 1] > scores[0, 2]


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
