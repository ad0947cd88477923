"""Our model of the next event: its features are those of the asked moment, and the head mixes."""

import numpy as np
import polars as pl
import pytest

from dynamic_layer.head.ranking_head import HeadSettings
from dynamic_layer.towers.sequence_fit import FitSettings
from dynamic_layer.towers.sequence_tower import SequenceSettings
from evaluation import Dataset, dataset_of
from evaluation.dataset import Interactions
from evaluation.measure import measure
from evaluation.model import CannotFit
from evaluation.next_event import (
    Features,
    NextEventSettings,
    next_event,
    sequence,
    without_last,
)
from evaluation.trial import Trial, TrialSettings, make_trial
from static_layer.progress import silent
from tests.evaluation.worlds import DAY, random_dataset, text_of

SMALL = NextEventSettings(
    tower=SequenceSettings(width=16, length=12, lags=4, blocks=1, heads=2),
    fit=FitSettings(negatives=20, tokens=256, steps=1, epochs=2, learning_rate=3e-3),
    past_days=(1.0, 4.0),
    negatives=40,
    head=HeadSettings(hidden=8, epochs=8.0),
)


def trial_of(dataset: Dataset, **settings: object) -> Trial:
    return make_trial(dataset, TrialSettings(**settings), text_of(dataset))  # type: ignore[arg-type]


def features_of(trial: Trial, events: Interactions, settings: NextEventSettings) -> Features:
    return Features(
        trial.dataset, events, trial.past.asked_ms, None, settings, seed=1, progress=silent
    )


def test_each_users_last_event_is_cut_off_and_he_is_asked_before_it() -> None:
    trial = trial_of(random_dataset(0), protocol="loo")
    events = trial.past.train
    earlier, last, asked_ms = without_last(events, trial.past.asked_ms)
    assert len(earlier) + len(last) == len(events)
    for user in np.unique(events.user):
        own = events.where(events.user == user)
        kept, cut = earlier.where(earlier.user == user), last.where(last.user == user)
        if len(own) == 1:
            assert (len(kept), len(cut)) == (1, 0)
        else:
            assert kept.item.tolist() == own.item[:-1].tolist()
            assert cut.item.tolist() == own.item[-1:].tolist()
        assert asked_ms[user] == kept.timestamp[-1] + 1


def test_demand_is_counted_in_windows_around_each_users_moment() -> None:
    trial = trial_of(random_dataset(1), protocol="loo")
    events = trial.past.train
    known = features_of(trial, events, SMALL)
    users = np.unique(events.user)[:20]
    for days in (-4.0, -1.0, 2.0):
        found = known.demand(users, days)
        for row, user in enumerate(users):
            asked = trial.past.asked_ms[user]
            low, high = sorted((asked, asked + round(days * DAY)))
            inside = (events.timestamp >= low) & (events.timestamp < high)
            expected = np.bincount(events.item[inside], minlength=len(trial.dataset.items))
            assert found[row].tolist() == expected.tolist()


def test_by_default_no_feature_but_what_was_fitted_knows_later_demand() -> None:
    trial = trial_of(random_dataset(2), protocol="loo")
    events, users = trial.past.train, np.arange(5)
    everything = features_of(trial, events, SMALL)
    assert not [name for name in everything.names if name.startswith("later")]
    late = trial.past.asked_ms[users].max()
    moved = Interactions(  # later events are on other items
        user=events.user,
        item=np.where(events.timestamp > late, events.item[::-1], events.item),
        timestamp=events.timestamp,
        strong=events.strong,
    )
    assert (moved.item != events.item).any()
    candidates = np.broadcast_to(np.arange(len(trial.dataset.items)), (5, len(trial.dataset.items)))
    wanted = [place for place, name in enumerate(everything.names) if name.startswith("past")]
    assert len(wanted) == 2
    np.testing.assert_array_equal(
        everything.of(users, candidates)[..., wanted],
        features_of(trial, moved, SMALL).of(users, candidates)[..., wanted],
    )


def test_recent_items_weigh_more_the_later_they_came() -> None:
    trial = trial_of(random_dataset(3), protocol="loo")
    events = trial.past.train.where(trial.past.train.strong)
    known = features_of(trial, events, SMALL)
    users = np.arange(len(trial.dataset.users))
    found = known.recent(users).toarray()
    for user in users:
        own = events.item[events.user == user][-SMALL.lags :][::-1]
        expected = np.zeros(len(trial.dataset.items))
        np.add.at(expected, own, SMALL.fade ** np.arange(len(own)))
        if len(own):
            expected /= (SMALL.fade ** np.arange(len(own))).sum()
        np.testing.assert_allclose(found[user], expected, rtol=1e-5)


def todays(seed: int) -> Dataset:
    """Everybody wants, on each day, one of the same five items of a hundred; taste is no matter."""
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, 60, 3_000))
    frame = pl.DataFrame(
        {"user_id": rng.integers(0, 400, 3_000).astype(str),
         "item_id": ((day * 37 + rng.integers(0, 5, 3_000) * 11) % 100).astype(str),
         "item_type": "song",
         "timestamp": day * DAY + np.arange(3_000)}
    )  # fmt: skip
    return dataset_of(frame, frame.select("item_id", "item_type").unique().sort("item_id"))


def test_the_head_learns_that_demand_decides() -> None:
    # Users come back on another day: only demand after the last event could tell on which.
    trial = trial_of(todays(0), protocol="loo", repeats=True)
    figures = {}
    for name, later in (("past", ()), ("later", (7.0, 14.0))):
        settings = NextEventSettings(**{**vars(SMALL), "later_days": later})
        fitted = next_event(
            trial.dataset, trial.past, seed=1, progress=silent, text=False, settings=settings
        )
        found = measure(fitted, trial, name=name, progress=silent)[0]
        figures[name] = found.values["hr_at_10"].mean()
    assert figures["later"] > 1.15 * figures["past"] > 0.2  # by chance: .1


@pytest.mark.parametrize("protocol", ["loo", "sampled"])
def test_both_rows_are_the_same_for_the_same_seed(protocol: str) -> None:
    trial = trial_of(random_dataset(0), protocol=protocol, negatives=10)
    lists = []
    for _ in range(2):
        for fitted in (
            next_event(trial.dataset, trial.past, seed=1, progress=silent, settings=SMALL),
            sequence(
                trial.dataset, trial.past, seed=1, progress=silent, epochs=1, width=16, text=False
            ),
        ):
            lists += [measure(fitted, trial, name="", progress=silent)[0].lists.tolist()]
    assert lists[:2] == lists[2:]
    assert lists[0] != lists[1]


def test_a_past_without_a_second_event_of_anyone_cannot_be_fitted() -> None:
    frame = pl.DataFrame(
        {"user_id": ["a", "a", "b", "b"], "item_id": ["1", "2", "2", "1"], "item_type": "song",
         "timestamp": [0, 1, 2, 3]}
    )  # fmt: skip
    dataset = dataset_of(frame, frame.select("item_id", "item_type").unique().sort("item_id"))
    trial = trial_of(dataset, protocol="loo")
    for row in (sequence, next_event):
        with pytest.raises(CannotFit, match="two events"):
            row(trial.dataset, trial.past, seed=1, progress=silent)
