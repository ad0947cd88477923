"""Rows of the table: the product's lists beside baselines, on the same split and questions."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from evaluation.baselines import Rows
from evaluation.dataset import Dataset
from evaluation.gains import Draws, Gain, paired_gain
from evaluation.measure import DEPTH, Measured, Row, measure, summary
from evaluation.model import CannotFit, ListsOnly, Model
from evaluation.prequential import PrequentialSettings
from evaluation.prequential import run as replay
from evaluation.prequential.answers import Answers
from evaluation.prequential.stream import Step
from evaluation.segments import ALL
from evaluation.split import first_of
from evaluation.trial import Trial
from segue.served.arms import Arm
from segue.served.feed import Served
from segue.served.flow import Outcome
from segue.served.learning import FROZEN
from static_layer import Progress

__all__ = ["LIVE_BASELINES", "Figures", "frozen_rows", "live_rows", "product_rows"]

#: Models that are counted at the moment of each question, for comparison with live lists.
LIVE_BASELINES = (
    "popularity_1d", "popularity_7d", "popularity_30d", "popularity_all_time",
    "item_cf", "item_cf_decayed_1d", "bigrams",
)  # fmt: skip
HORIZON, NEXT = "horizon", "next"
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Rows of a mode, paired gains between the product's arms, why a baseline has no row.

    strata: number of live questions in each.
    """

    rows: list[dict[str, Any]]
    gains: list[dict[str, Any]]
    strata: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def frozen_rows(
    dataset: Dataset,
    trial: Trial,
    baselines: Sequence[Model],
    outcomes: Sequence[Outcome],
    *,
    seed: int,
    progress: Progress,
) -> Figures:
    """Return the rows of lists at the split.

    Two labels: `horizon`, any held-out item of the test days counts; `next`, only the user's first
    one. dataset: with the events after the split.
    """
    events = dataset.events
    test = events.where(events.timestamp >= trial.past.at_ms)
    trials = {
        HORIZON: trial,
        NEXT: replace(trial, truth=first_of(trial.truth, test)),
    }
    rows, skipped = [], {}
    for model in baselines:
        started = time.perf_counter()
        try:
            fitted = model.fit(trial.dataset, trial.past, seed=seed, progress=progress)
        except CannotFit as error:
            skipped[model.name] = str(error)
            continue
        for label, one in trials.items():
            measured = [measure(fitted, one, name=model.name, progress=progress)]
            seconds = time.perf_counter() - started
            rows += [
                _frozen(row, label, served=False)
                for row in _summary(model.name, measured, one, seconds)
            ]
    gains: list[dict[str, Any]] = []
    for label, one in trials.items():
        arms = {}
        for arm, own in _by_arm(outcomes).items():
            if arm.learn != FROZEN:  # its lists at the split are the product's
                continue
            by_head = float(np.mean([outcome.frozen.by_head for outcome in own]))
            arms[arm] = measured_lists(arm.name, one, own, progress=progress)
            rows += [
                {**_frozen(row, label, served=True), **_of_arm(arm, own), "by_head": by_head}
                for row in _product_rows(arm.name, arms[arm], one, own)
            ]
        gains += [
            {**asdict(gain), "mode": "frozen", "label": label}
            for gain in _gains(arms, one.settings.seed)
        ]
    return Figures(rows=rows, gains=gains, skipped=skipped)


def product_rows(
    name: str, trial: Trial, outcomes: Sequence[Outcome], *, progress: Progress
) -> list[Row]:
    """Return the rows of one arm's lists at the split, averaged over its seeds."""
    measured = measured_lists(name, trial, outcomes, progress=progress)
    return _product_rows(name, measured, trial, outcomes)


def measured_lists(
    name: str, trial: Trial, outcomes: Sequence[Outcome], *, progress: Progress
) -> list[list[Measured]]:
    """Return every segment of one arm's lists at the split, for each of its seeds."""
    return [
        _known(measure(_ranker(one.frozen, trial), trial, name=name, progress=progress), one.frozen)
        for one in outcomes
    ]


def _product_rows(
    name: str, measured: list[list[Measured]], trial: Trial, outcomes: Sequence[Outcome]
) -> list[Row]:
    seconds = float(np.mean([one.seconds for one in outcomes]))
    return _summary(name, measured, trial, seconds)


def live_rows(
    dataset: Dataset,
    settings: PrequentialSettings,
    trial: Trial,
    outcomes: Sequence[Outcome],
    *,
    progress: Progress,
) -> Figures:
    """Return the rows of lists just before each question: each user's next event."""
    own = {arm.name: found for arm, found in _by_arm(outcomes).items()}
    groups = [ALL, *dataset.item_types]
    arms = [
        _Table(name, [one.live for one in found if one.live is not None], groups)
        for name, found in own.items()
    ]
    replayed = replay(
        dataset, settings, LIVE_BASELINES, progress=progress, more=arms,
        pairs=[(one.name, other.name) for one, other in _pairs([*_by_arm(outcomes)])],
    )  # fmt: skip
    rows = []
    for row in replayed.rows:
        found = own.get(row.model, ())
        made: dict[str, Any] = {
            **asdict(row), "mode": "live", "label": NEXT, "served": bool(found),
        }  # fmt: skip
        if found:
            if not all(row.item_type in _groups(one.live) for one in found if one.live):
                continue
            shares = [one.live.by_head for one in found if one.live is not None]
            made |= {**_of_arm(found[0].arm, found), "by_head": float(np.mean(shares))}
        rows.append(made)
    gains = [{**asdict(gain), "mode": "live", "label": NEXT} for gain in replayed.gains]
    return Figures(rows=rows, gains=gains, strata=replayed.facts["strata"])


def _pairs(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Return who is compared with whom: the product with all others, each later arm with earlier.

    Of the product and an arm that learns, the gain is that of learning.
    """
    first, others = arms[0], arms[1:]
    return [(first, other) if other.learn == FROZEN else (other, first) for other in others] + [
        (one, other) for n, one in enumerate(others) for other in others[:n]
    ]


def _gains(arms: Mapping[Arm, list[list[Measured]]], seed: int) -> list[Gain]:
    """Return what arms gain over each other in each segment where the other has a hit."""
    made = []
    # Segment by segment: drawing the users of one takes longer than what is read of the draws.
    for same in zip(*(zip(*seeds, strict=True) for seeds in arms.values()), strict=True):
        first = same[0][0]
        hits = {
            arm: np.mean([found.values["hr_at_10"] for found in seeds], axis=0)
            for arm, seeds in zip(arms, same, strict=True)
        }
        draws = Draws(first.users, seed)
        for arm, over in _pairs(list(arms)):
            if not hits[over].any():
                continue
            gain, ci = paired_gain(hits[arm], hits[over], draws)
            made.append(
                Gain(
                    model=arm.name, over=over.name, item_type=first.item_type,
                    segment=first.segment, gain=gain, gain_ci=ci,
                )
            )  # fmt: skip
    return made


@dataclass(frozen=True)
class _Table:
    """An arm of a replay whose lists the product wrote.

    seeds: the lists of each seed. groups: item types that are asked for.
    """

    name: str
    seeds: Sequence[Served]
    groups: Sequence[str]

    def answer(self, step: Step) -> Sequence[Answers]:
        """Look up the lists of a step's questions."""
        asked = step.questions
        keys = list(zip(asked.user.tolist(), asked.at_ms.tolist(), strict=True))
        return [
            {group: _matrix([one.lists[key].get(group, _NONE) for key in keys])
             for group in self.groups}
            for one in self.seeds
        ]  # fmt: skip


def _by_arm(outcomes: Sequence[Outcome]) -> dict[Arm, list[Outcome]]:
    found: dict[Arm, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.arm, []).append(outcome)
    return found


def _of_arm(arm: Arm, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "head": arm.head,
        "hgnn": arm.reads == "hgnn",
        "reads": arm.reads,
        "learn": arm.learn,
        "published": [outcome.published for outcome in outcomes],
        "sent": [dict(outcome.sent) for outcome in outcomes],
        "generations": [outcome.generation for outcome in outcomes],
    }


def _groups(served: Served | None) -> set[str]:
    """Item types of which the product made lists."""
    return set(next(iter(served.lists.values()))) if served and served.lists else set()


def _ranker(served: Served, trial: Trial) -> ListsOnly:
    """Return what looks the lists at the split up; they are never asked for again."""
    at = trial.past.at_ms

    def rank(users: Rows, item_type: str, k: int) -> Rows:
        found = [served.lists[int(user), at] for user in users]
        return _matrix([lists.get(item_type, _NONE)[:k] for lists in found])

    return ListsOnly(rank)


def _known(measured: list[Measured], served: Served) -> list[Measured]:
    """Leave out types of which the product makes no lists."""
    types = {one.item_type for one in measured if one.item_type != ALL}
    known = _groups(served)
    return [m for m in measured if m.item_type in known or len(types) == 1]


def _matrix(lists: Sequence[Rows]) -> Rows:
    found = np.full((len(lists), DEPTH), -1, np.int64)
    for place, rows in enumerate(lists):
        found[place, : len(rows)] = rows
    return found


def _summary(name: str, measured: list[list[Measured]], trial: Trial, seconds: float) -> list[Row]:
    return summary(
        name, measured, seconds=seconds, fit_seconds=seconds, seed=trial.settings.seed, settings={}
    )


def _frozen(row: Row, label: str, *, served: bool) -> dict[str, Any]:
    return {**asdict(row), "mode": "frozen", "label": label, "served": served}
