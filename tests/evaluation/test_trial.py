"""Trials: nothing of what is held out is in what a model is given."""

import numpy as np
import polars as pl
import pytest

from evaluation import Dataset, dataset_of
from evaluation.text import TextVectors
from evaluation.trial import Trial, TrialSettings, earlier_trial, make_trial
from tests.evaluation.worlds import DAY, random_dataset, text_of

ANN, BOB, CAT, DAN, EVE = range(5)


def held(trial: Trial) -> dict[str, list[str]]:
    users, truth = trial.dataset.users, trial.truth
    names = trial.dataset.items["item_id"].to_list()
    return {
        str(users[user]): [names[row] for row in truth.item[truth.indptr[n] : truth.indptr[n + 1]]]
        for n, user in enumerate(truth.users)
    }


def two_days(**more: object) -> TrialSettings:
    return TrialSettings(test_days=2, end_ms=10 * DAY, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["time", "loo", "sampled"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_held_out_pair_is_in_the_past(protocol: str, seed: int) -> None:
    dataset = random_dataset(seed)
    trial = make_trial(
        dataset,
        TrialSettings(protocol=protocol, test_days=10),
        text_of(dataset),  # type: ignore[arg-type]
    )
    truth, past = trial.truth, trial.past.train
    owner = np.repeat(truth.users, truth.counts())
    strong = past.where(past.strong)
    known = set(zip(strong.user.tolist(), strong.item.tolist(), strict=True))
    assert len(owner)
    assert not known & set(zip(owner.tolist(), truth.item.tolist(), strict=True))
    assert len(trial.dataset.events) == len(past)
    assert past.timestamp.max() < trial.past.at_ms
    if protocol == "time":
        assert (trial.past.asked_ms == trial.past.at_ms).all()
    else:
        # No user is asked earlier than his last training event.
        latest = np.zeros(len(dataset.users), np.int64)
        np.maximum.at(latest, past.user, past.timestamp)
        met = latest > 0
        assert (trial.past.asked_ms[met] == latest[met] + 1).all()


def test_a_split_in_time_holds_out_discoveries(dataset: Dataset, text: TextVectors) -> None:
    trial = make_trial(dataset, two_days(), text)
    assert held(trial) == {"ann": ["b1"], "cat": ["p2", "b2"], "eve": ["p4"]}
    assert trial.past.horizon_days == 2


def test_with_repeats_known_items_are_held_out_and_nothing_is_excluded(
    dataset: Dataset, text: TextVectors
) -> None:
    trial = make_trial(dataset, two_days(repeats=True), text)
    assert held(trial)["ann"] == ["p1", "b1"]
    assert trial.consumed is None


def test_leave_one_out_holds_out_the_last_stream_of_users_with_a_past(
    dataset: Dataset, text: TextVectors
) -> None:
    trial = make_trial(dataset, TrialSettings(protocol="loo"), text)
    # Dan's last stream is his first event, and eve has one event: both belong to the past.
    assert held(trial) == {"ann": ["b1"], "bob": ["b1"], "cat": ["b2"]}
    assert trial.past.horizon_days is None
    past = trial.past.train
    assert set(past.user.tolist()) == {ANN, BOB, CAT, DAN, EVE}
    assert not (past.user == DAN).all()


def test_a_last_event_that_is_a_repeat_is_no_discovery(text: TextVectors) -> None:
    frame = pl.DataFrame(
        {"user_id": ["u", "u", "u", "v", "v"], "item_id": ["a", "b", "a", "a", "b"],
         "item_type": ["song"] * 5, "timestamp": [1, 2, 3, 4, 5]}
    )  # fmt: skip
    dataset = dataset_of(frame, frame.select("item_id", "item_type").unique())
    settings = TrialSettings(protocol="loo")
    assert held(make_trial(dataset, settings, text_of(dataset))) == {"v": ["b"]}
    with_repeats = TrialSettings(protocol="loo", repeats=True)
    found = held(make_trial(dataset, with_repeats, text_of(dataset)))
    assert found == {"u": ["a"], "v": ["b"]}


def test_items_without_text_and_past_are_not_ranked() -> None:
    frame = pl.DataFrame(
        {"user_id": ["u", "u", "v", "u"], "item_id": ["old", "seen", "old", "new"],
         "item_type": ["song"] * 4, "timestamp": [0, 1, 2, 5 * DAY]}
    )  # fmt: skip
    items = pl.DataFrame(
        {"item_id": ["old", "told", "untold"], "item_type": ["song"] * 3, "title": [None, "T", " "]}
    )
    dataset = dataset_of(frame, items)
    settings = TrialSettings(test_days=1)
    names = dataset.items["item_id"].to_numpy()
    trial = make_trial(dataset, settings, text_of(dataset))
    assert set(names[trial.candidates]) == {"old", "told", "seen"}
    assert held(trial) == {"u": ["new"]}  # a miss for every model: nobody could have known it
    trained = make_trial(
        dataset, TrialSettings(test_days=1, candidates="trained"), text_of(dataset)
    )
    assert set(names[trained.candidates]) == {"old", "seen"}


@pytest.mark.parametrize("seed", [0, 1])
def test_sampled_negatives_are_of_the_same_type_and_were_never_touched(seed: int) -> None:
    dataset = random_dataset(seed)
    settings = TrialSettings(protocol="sampled", negatives=5, seed=seed)
    trial = make_trial(dataset, settings, text_of(dataset))
    assert trial.drawn is not None
    types = dataset.items["item_type"].to_numpy()
    for place, (user, item) in enumerate(zip(trial.truth.users, trial.truth.item, strict=True)):
        drawn = trial.drawn.indices[trial.drawn.indptr[place] : trial.drawn.indptr[place + 1]]
        others = drawn[drawn != item]
        assert len(drawn) == len(others) + 1
        assert len(others) <= 5
        assert set(types[others]) <= {types[item]}
        assert not set(others) & set(trial.past.train.item[trial.past.train.user == user])
    again = make_trial(dataset, settings, text_of(dataset))
    assert (again.drawn != trial.drawn).nnz == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("protocol", ["time", "loo", "sampled"])
def test_the_earlier_trial_lies_in_the_past(protocol: str) -> None:
    dataset = random_dataset(3)
    trial = make_trial(
        dataset,
        TrialSettings(protocol=protocol, test_days=8),
        text_of(dataset),  # type: ignore[arg-type]
    )
    earlier = earlier_trial(trial)
    assert len(earlier.past.train) < len(trial.past.train)
    pairs = set(zip(trial.past.train.user, trial.past.train.item, strict=True))
    owner = np.repeat(earlier.truth.users, earlier.truth.counts())
    assert set(zip(owner, earlier.truth.item, strict=True)) <= pairs
    if protocol == "time":
        assert earlier.past.at_ms == trial.past.at_ms - 8 * DAY


def test_a_sample_of_users_is_the_same_for_the_same_seed() -> None:
    dataset = random_dataset(4)
    settings = TrialSettings(test_days=10, users=7, seed=5)
    trials = [make_trial(dataset, settings, text_of(dataset)) for _ in "ab"]
    assert trials[0].truth.users.tolist() == trials[1].truth.users.tolist()
    assert len(trials[0].truth.users) == 7
    whole = held(make_trial(dataset, TrialSettings(test_days=10), text_of(dataset)))
    assert held(trials[0]).items() <= whole.items()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "random"}, "expected a protocol of time, loo, sampled"),
        ({"test_days": 0}, "more than 0 test days"),
        ({"users": -1}, "number of users"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrialSettings(**settings)  # type: ignore[arg-type]


def test_a_split_that_leaves_nothing_is_refused(dataset: Dataset, text: TextVectors) -> None:
    with pytest.raises(ValueError, match="leave 0 events to train"):
        make_trial(dataset, TrialSettings(test_days=100), text)
