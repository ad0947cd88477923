"""The models of the table: what each promises, and that none is better than its idea."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from evaluation import Dataset, dataset_of, item_cf
from evaluation.baselines import history
from evaluation.linear import ease
from evaluation.measure import measure
from evaluation.model import ListsOnly, Past
from evaluation.models import UnknownModel, chosen, models
from evaluation.sasrec import histories, loss_of
from evaluation.trial import Trial, TrialSettings, make_trial
from evaluation.two_tower import TOPIC, StateEvents, state_settings, two_tower
from state import PartitionState, item_key
from static_layer.progress import silent
from tests.evaluation.worlds import DAY, random_dataset, text_of

QUICK = {
    "sasrec": {"epochs": 2, "width": 16},
    "sasrec_bce": {"epochs": 2, "width": 16},
    "gsasrec": {"epochs": 2, "width": 16},
    "sequence_tower": {"epochs": 1, "width": 16},
    "lightgcn": {"epochs": 2},
    "ials": {"factors": 8},
    "popularity_mix": {"steps": 5},
}
TOWERS = ("two_tower", "two_tower_hgnn")  # they read text through the encoder itself
OTHERS = [name for name in models() if name not in TOWERS]


def trial_of(dataset: Dataset, **settings: object) -> Trial:
    return make_trial(dataset, TrialSettings(**settings), text_of(dataset))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("protocol", ["time", "loo"])
def test_every_model_is_fitted_and_ranked_the_same_for_the_same_seed(
    name: str, protocol: str
) -> None:
    trial = trial_of(random_dataset(0), protocol=protocol, test_days=8)
    (row,) = chosen([name])
    lists = []
    for _ in range(2):
        fitted = row.fit(trial.dataset, trial.past, seed=1, progress=silent, **QUICK.get(name, {}))
        found = measure(fitted, trial, name=name, progress=silent)
        lists.append(found[0].lists.tolist())
    assert lists[0] == lists[1]
    assert np.any(np.array(lists[0]) >= 0)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("protocol", ["time", "loo"])
def test_what_tuning_may_try_is_taken(name: str, protocol: str) -> None:
    trial = trial_of(random_dataset(1), protocol=protocol, test_days=8)
    (row,) = chosen([name])
    last = {setting: values[-1] for setting, values in row.space.items()}
    fitted = row.fit(
        trial.dataset, trial.past, seed=1, progress=silent, **{**last, **QUICK.get(name, {})}
    )
    assert fitted(np.array([0]), np.arange(5)).shape == (1, 5)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(UnknownModel, match="got nonsense"):
        chosen(["popularity", "nonsense"])


def test_item_cf_counts_what_the_streaming_state_counts() -> None:
    trial = trial_of(random_dataset(2), test_days=8)
    strong = trial.past.train.where(trial.past.train.strong)
    h = history(strong, len(trial.dataset.users), len(trial.dataset.items))
    expected = (h.T @ h).toarray()
    with tempfile.TemporaryDirectory() as folder:
        state = PartitionState(Path(folder), 0, state_settings(trial.past))
        for part in StateEvents.of(trial.dataset, trial.past).parts(0, len(trial.past.train)):
            state.apply_events(TOPIC, part, int(part.offset[-1]) + 1)
        state.commit()
        counts = state.co_interactions()
        state.close()
    names = zip(trial.dataset.items["item_type"], trial.dataset.items["item_id"], strict=True)
    row_of = {item_key(*name): row for row, name in enumerate(names)}
    rows = np.array([row_of[key] for key in counts.item_keys.tolist()])
    found = np.zeros_like(expected)
    found[rows[counts.left], rows[counts.right]] = counts.count
    found[rows[counts.right], rows[counts.left]] = counts.count
    assert found.tolist() == expected.tolist()
    assert expected.sum() > 1_000


def test_item_cf_can_prefer_what_is_in_demand_today() -> None:
    # Both b and c were had with a by one user; c lately.
    frame = pl.DataFrame(
        {"user_id": ["u", "u", "v", "v", "w"], "item_id": ["a", "b", "a", "c", "a"],
         "item_type": ["song"] * 5, "timestamp": [0, 0, 9 * DAY, 9 * DAY, 9 * DAY]}
    )  # fmt: skip
    dataset = dataset_of(frame, pl.DataFrame({"item_id": ["a", "b", "c"], "item_type": "song"}))
    plain = item_cf(dataset.events, 3, 3)(np.array([2]), np.arange(3))[0]
    assert plain[1] == plain[2] > 0
    decayed = item_cf(dataset.events, 3, 3, target_half_life_days=3)(np.array([2]), np.arange(3))[0]
    assert decayed[2] == pytest.approx(8 * decayed[1])


def test_ease_is_its_closed_form() -> None:
    trial = trial_of(random_dataset(3), test_days=8)
    x = history(trial.past.train, len(trial.dataset.users), len(trial.dataset.items)).toarray()
    met = np.flatnonzero(x.sum(axis=0))
    inverse = np.linalg.inv(x[:, met].T @ x[:, met] + 50.0 * np.eye(len(met)))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    score = ease(trial.dataset, trial.past, seed=0, progress=silent, regularization=50.0)
    users = np.arange(len(x))
    np.testing.assert_allclose(score(users, met), x[:, met] @ weights, atol=1e-4)


def test_ease_says_which_items_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    trial = trial_of(random_dataset(3), test_days=8)
    score = ease(trial.dataset, trial.past, seed=0, progress=silent, max_items=10)
    scores = score(np.array([0]), np.arange(len(trial.dataset.items)))
    assert np.isfinite(scores).sum() == 10
    assert "the 10 most popular of" in caplog.text


def marching(seed: int) -> Dataset:
    """Users walk along a circle of items, one step after the other, from random places."""
    rng = np.random.default_rng(seed)
    starts, steps, items = rng.integers(0, 30, 200), 9, 30
    user, step = np.repeat(np.arange(200), steps), np.tile(np.arange(steps), 200)
    frame = pl.DataFrame(
        {"user_id": user.astype(str), "item_id": ((starts[user] + step) % items).astype(str),
         "item_type": ["song"] * len(user), "timestamp": step * DAY + user}
    )  # fmt: skip
    return dataset_of(frame, frame.select("item_id", "item_type").unique().sort("item_id"))


@pytest.mark.parametrize("name", ["sasrec", "sasrec_bce", "gsasrec"])
def test_sasrec_learns_what_comes_next(name: str) -> None:
    trial = trial_of(marching(0), protocol="loo")
    (row,) = chosen([name])
    fitted = row.fit(
        trial.dataset, trial.past, seed=1, progress=silent,
        epochs=40, tokens=256, width=32, learning_rate=3e-3, dropout=0.0,
    )  # fmt: skip
    ndcg = measure(fitted, trial, name=name, progress=silent)[0].values["ndcg_at_10"].mean()
    assert ndcg > 0.9  # the next step, on top; a walk can be read from its order alone


def test_lightgcn_finds_the_users_group() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 4, 200)
    user = np.repeat(np.arange(200), 8)
    item = group[user] * 15 + rng.integers(0, 15, len(user))
    frame = pl.DataFrame(
        {"user_id": user.astype(str), "item_id": item.astype(str), "item_type": "song",
         "timestamp": rng.integers(0, 10 * DAY, len(user))}
    )  # fmt: skip
    dataset = dataset_of(frame, frame.select("item_id", "item_type").unique().sort("item_id"))
    trial = trial_of(dataset, test_days=3)
    (row,) = chosen(["lightgcn"])
    fitted = row.fit(trial.dataset, trial.past, seed=1, progress=silent, epochs=40)
    rows = dataset.items["item_id"].cast(pl.Int64).to_numpy() // 15
    top = measure(fitted, trial, name="lightgcn", progress=silent)[0]
    groups = group[dataset.users.astype(int)[top.users]]
    assert (rows[top.lists[:, :5]] == groups[:, None]).mean() > 0.9


def test_histories_are_the_users_items_in_order() -> None:
    trial = trial_of(marching(1), protocol="loo")
    past: Past = trial.past
    known = histories(trial.dataset, past)
    for user in range(0, 200, 17):
        own = known.item[known.indptr[user] : known.indptr[user + 1]]
        assert own.tolist() == past.train.item[past.train.user == user].tolist()


def test_losses_agree_where_they_are_defined_alike() -> None:
    torch.manual_seed(0)
    items, found = torch.randn(50, 8), torch.randn(20, 8)
    target = torch.randint(50, (20,))
    full = loss_of(found, target, items, "softmax", 0, 0.75)
    drawn = torch.stack(
        [loss_of(found, target, items, "softmax", 400, 0.75) for _ in range(200)]
    ).mean()
    assert drawn == pytest.approx(float(full), rel=0.02)
    # With t = 0 gBCE is BCE summed over the negatives: beta is 1.
    torch.manual_seed(1)
    plain = loss_of(found, target, items, "gbce", 10, 0.0)
    torch.manual_seed(1)
    other = torch.randint(50, (10,))
    scores = (found @ items[other].T).masked_fill(other == target.unsqueeze(1), -torch.inf)
    soft = torch.nn.functional.softplus
    expected = (soft(-(found * items[target]).sum(1)) + soft(scores).sum(1)).mean()
    assert plain == pytest.approx(float(expected))


def test_popularity_mix_learns_which_half_life_counts() -> None:
    # Demand lives for a day: yesterday's items are wanted, those of last week never again.
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(40), 60)
    frame = pl.DataFrame(
        {"user_id": rng.integers(0, 400, len(day)).astype(str),
         "item_id": (day // 2 * 3 + rng.integers(0, 6, len(day))).astype(str),
         "item_type": "song", "timestamp": day * DAY + rng.integers(0, DAY, len(day))}
    )  # fmt: skip
    dataset = dataset_of(frame, frame.select("item_id", "item_type").unique().sort("item_id"))
    trial = trial_of(dataset, test_days=1)
    figures = {}
    for row in chosen(["popularity", "popularity_mix"]):
        fitted = row.fit(trial.dataset, trial.past, seed=1, progress=silent)
        found = measure(fitted, trial, name=row.name, progress=silent)[0]
        figures[row.name] = found.values["hr_at_10"].mean()
    assert figures["popularity_mix"] > 0.5 > 2 * figures["popularity"]


def test_two_towers_are_fitted_on_the_past_alone_and_score_everyone() -> None:
    trial = trial_of(random_dataset(4), test_days=8)
    found = []
    for _ in range(2):
        fitted = two_tower(
            trial.dataset, trial.past, seed=1, progress=silent, hgnn_epochs=1, epochs=1.0
        )
        scores = fitted(np.arange(len(trial.dataset.users)), np.arange(len(trial.dataset.items)))
        found.append(np.asarray(scores))
    assert found[0].shape == (len(trial.dataset.users), len(trial.dataset.items))
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(found[0], found[1])
    # Who has no history is given what is in demand, the same for all.
    silent_users = ~np.isin(np.arange(len(trial.dataset.users)), trial.past.train.user)
    assert len(np.unique(found[0][silent_users], axis=0)) <= 1
    assert len(np.unique(found[0][~silent_users], axis=0)) > 10


def test_items_without_text_do_not_blur_the_users_text() -> None:
    frame = pl.DataFrame(
        {"user_id": ["u", "u", "v"], "item_id": ["told", "untold", "other"],
         "item_type": "song", "timestamp": [0, 1, 2]}
    )  # fmt: skip
    items = pl.DataFrame(
        {"item_id": ["told", "untold", "other"], "item_type": "song", "title": ["T", None, "O"]}
    )
    dataset = dataset_of(frame, items)
    past = Past(
        train=dataset.events, at_ms=3, asked_ms=np.full(2, 3), horizon_days=1.0, repeats=False,
        text=text_of(dataset),
    )  # fmt: skip
    (row,) = chosen(["text_knn"])
    for centred in (False, True):
        fitted = row.fit(dataset, past, seed=1, progress=silent, centred=centred)
        assert not isinstance(fitted, ListsOnly)
        told, untold, other = fitted(np.array([0]), np.arange(3))[0]
        assert untold == 0.0
        assert told > other
