"""Runs: the same budget for all, nothing of the future for anyone."""

import doctest

import numpy as np
import polars as pl
import pytest

from evaluation import Dataset, dataset_of, experiment
from evaluation.experiment import Outcome, run
from evaluation.model import CannotFit, Model, Past
from evaluation.models import models
from evaluation.trial import Trial, TrialSettings, make_trial
from static_layer.progress import silent
from tests.evaluation.worlds import DAY, random_dataset, text_of


class Spy:
    """A model that remembers what it was given, and scores items by a setting."""

    def __init__(self) -> None:
        self.given: list[tuple[Dataset, Past, dict[str, object]]] = []

    def __call__(self, dataset, split, *, seed, progress, **settings):
        self.given.append((dataset, split, {"seed": seed, **settings}))
        sign = settings.get("sign", 0)
        counts = np.bincount(split.train.item, minlength=len(dataset.items))
        return lambda users, items: np.tile(sign * counts[items], (len(users), 1))


def outcomes(trial: Trial, *rows: Model, seeds=(1,), budget: int = 0) -> list[Outcome]:
    return list(run(rows, trial, seeds=seeds, budget=budget, progress=silent))


def test_the_example_in_the_docstring_holds() -> None:
    assert not doctest.testmod(experiment).failed


@pytest.mark.parametrize("protocol", ["time", "loo"])
def test_no_model_sees_a_planted_future_item_neither_fitted_nor_tuned(protocol: str) -> None:
    world = random_dataset(0)
    events = pl.DataFrame(
        {
            "user_id": world.users[world.events.user],
            "item_id": world.items["item_id"].gather(world.events.item),
            "item_type": world.items["item_type"].gather(world.events.item),
            "timestamp": world.events.timestamp,
        }
    )
    # Everyone's last event is on an item that exists only then: the best answer for all.
    last = events.select("user_id").unique(maintain_order=True)
    planted = last.with_columns(
        item_id=pl.lit("planted"), item_type=pl.lit("pod"), timestamp=pl.lit(40 * DAY + 1)
    )
    dataset = dataset_of(pl.concat([events, planted]), world.items)
    row = dataset.items["item_id"].to_list().index("planted")
    settings = TrialSettings(protocol=protocol, test_days=5)  # type: ignore[arg-type]
    trial = make_trial(dataset, settings, text_of(dataset))
    assert (trial.truth.item == row).sum() > 50
    spy = Spy()
    outcomes(trial, Model(name="spy", about="", fit=spy, space={"sign": (0, 1, -1)}), budget=3)
    assert len(spy.given) == 4
    for given, past, _ in spy.given:
        for events_given in (given.events, past.train):
            assert row not in events_given.item
            assert events_given.timestamp.max() < past.at_ms
        assert past.asked_ms.max() <= past.at_ms
    # What tuning saw ends before what the test's model saw.
    assert {len(past.train) for _, past, _ in spy.given[:3]} == {len(spy.given[0][1].train)}
    assert len(spy.given[0][1].train) < len(spy.given[3][1].train)


def test_tuning_takes_what_was_best_before_the_split_within_its_budget() -> None:
    dataset = random_dataset(1)
    trial = make_trial(dataset, TrialSettings(test_days=10), text_of(dataset))
    wide, fixed, narrow = Spy(), Spy(), Spy()
    found = outcomes(
        trial,
        Model(name="wide", about="", fit=wide, space={"sign": (-1, 0, 1), "other": (1, 2, 3)}),
        Model(name="fixed", about="", fit=fixed),
        Model(name="narrow", about="", fit=narrow, space={"sign": (-1, 1)}),
        budget=9,
    )
    # Nine configurations at most for each, and fewer where there are no more.
    assert [len(spy.given) for spy in (wide, fixed, narrow)] == [9 + 1, 1, 2 + 1]
    for outcome, spy in ((found[0], wide), (found[2], narrow)):
        best = outcome.tried[0]
        assert best.settings["sign"] == 1  # popularity beats its opposite and chance
        assert best.ndcg_at_10 == max(one.ndcg_at_10 for one in outcome.tried)
        assert outcome.rows[0].settings == best.settings
        assert spy.given[-1][2] == {"seed": 1, **best.settings}
    alone = outcomes(
        trial, Model(name="wide", about="", fit=Spy(), space={"sign": (-1, 0, 1)}), budget=2
    )
    again = outcomes(
        trial, Model(name="wide", about="", fit=Spy(), space={"sign": (-1, 0, 1)}), budget=2
    )
    assert alone[0].tried == again[0].tried


def test_a_model_that_no_seed_changes_is_fitted_once() -> None:
    dataset = random_dataset(2)
    trial = make_trial(dataset, TrialSettings(test_days=10), text_of(dataset))
    seeded, fixed = Spy(), Spy()
    found = outcomes(
        trial,
        Model(name="seeded", about="", fit=seeded, seeded=True),
        Model(name="fixed", about="", fit=fixed),
        seeds=(3, 4, 5),
    )
    assert [given[2]["seed"] for given in seeded.given] == [3, 4, 5]
    assert [given[2]["seed"] for given in fixed.given] == [3]
    assert [len(outcome.rows[0].hr_at_10_seeds) for outcome in found] == [3, 1]


def test_a_model_that_cannot_be_fitted_is_left_out_with_its_reason() -> None:
    dataset = random_dataset(3)
    trial = make_trial(dataset, TrialSettings(test_days=10), text_of(dataset))

    def unwilling(dataset, split, *, seed, progress):
        raise CannotFit("needs more memory")

    found = outcomes(
        trial, Model(name="unwilling", about="", fit=unwilling), models()["popularity"]
    )
    assert (found[0].rows, found[0].skipped) == ([], "needs more memory")
    assert found[1].rows
