"""A trial: what models may know, whom they are asked about, and what was held out.

Three protocols make one. `time` splits all events at one moment and tests the days after it;
`loo` holds out the last stream of each user (leave-one-out); `sampled` is `loo` in which the
held-out item competes with items drawn at random, for comparison with papers that do that.

The split is made before any model is fitted: a trial carries the past for the models and, apart
from it, the held-out pairs for the judge. A protocol that goes on through time (prequential) is a
series of trials, each with the past of its day.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from evaluation.baselines import Rows
from evaluation.dataset import Dataset
from evaluation.model import Past
from evaluation.protocol import consumed
from evaluation.ranking import in_tie_order
from evaluation.split import HeldOut, TimeSplit, held_out, last_streams, time_split
from evaluation.text import TextVectors, has_text

__all__ = ["ProtocolName", "Trial", "TrialSettings", "earlier_trial", "make_trial"]

ProtocolName = Literal["time", "loo", "sampled"]


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """How a data set becomes a trial.

    protocol:   `time`, `loo` or `sampled`.
    test_days:  of `time`: days that are tested, the last ones.
    train_days: days before the split that models see; None for all.
    end_ms:     end of the data, ms UTC; None for just after the last event.
    repeats:    whether items that the user had are asked for too; otherwise they are excluded
                from lists and from what is held out (discovery).
    candidates: rank all items with text or a training event (`all`), or only those with a
                training event (`trained`), as papers do whose catalogue is their training data.
    negatives:  of `sampled`: items of the same type that the user never touched.
    users:      test a random sample of users; 0 tests all.
    seed:       of the sample, the negatives and the bootstrap; not of the models.
    """

    protocol: ProtocolName = "time"
    test_days: float = 14.0
    train_days: float | None = None
    end_ms: int | None = None
    repeats: bool = False
    candidates: Literal["all", "trained"] = "all"
    negatives: int = 999
    users: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings without meaning; raises ValueError."""
        if self.protocol not in get_args(ProtocolName):
            known = ", ".join(get_args(ProtocolName))
            raise ValueError(f"expected a protocol of {known}; got {self.protocol!r}")
        if self.test_days <= 0:
            raise ValueError(f"expected more than 0 test days, got {self.test_days:g}")
        if self.users < 0:
            raise ValueError(f"expected a number of users, or 0 for all; got {self.users}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One test.

    settings:   that made it.
    dataset:    the data set with the past's events alone: all that models are given.
    past:       what models may know beside it.
    truth:      held-out items of the test users; no model sees it.
    candidates: i64[c], item rows that are ranked, those that win ties first.
    consumed:   bool[n_users, n_items], pairs that are excluded; None where repeats are tested.
    drawn:      bool[len(truth.users), n_items], pairs that compete; None for all candidates.
    """

    settings: TrialSettings
    dataset: Dataset
    past: Past
    truth: HeldOut
    candidates: Rows
    consumed: sp.csr_array | None
    drawn: sp.csr_array | None


def make_trial(dataset: Dataset, settings: TrialSettings, text: TextVectors) -> Trial:
    """Split a data set; raises ValueError where nothing is left to train on or to test."""
    split, asked_ms = (
        _time(dataset, settings) if settings.protocol == "time" else _last(dataset, settings)
    )
    # From here on the events that were held out are in `split.test` and nowhere else.
    known = replace(dataset, events=split.train)
    every = np.arange(len(dataset.items))
    truth = held_out(split, every, repeats=settings.repeats)
    if not len(truth.users):
        raise ValueError("no user has a held-out item: test more days, or include repeats")
    truth = truth.sample(settings.users, settings.seed)
    trained = np.isin(every, split.train.item)
    ranked = trained if settings.candidates == "trained" else trained | has_text(dataset.items)
    ordered = in_tie_order(dataset.items)
    candidates = ordered[ranked[ordered]]
    return Trial(
        settings=settings,
        dataset=known,
        past=Past(
            train=split.train,
            at_ms=split.at_ms,
            asked_ms=asked_ms,
            horizon_days=settings.test_days if settings.protocol == "time" else None,
            repeats=settings.repeats,
            text=text,
            negatives=settings.negatives if settings.protocol == "sampled" else None,
        ),
        truth=truth,
        candidates=candidates,
        consumed=None if settings.repeats else consumed(split, known),
        drawn=(
            _negatives(known, truth, candidates, settings)
            if settings.protocol == "sampled"
            else None
        ),
    )


def earlier_trial(trial: Trial) -> Trial:
    """Make the same trial of the past alone: the window that models are tuned on.

    With `time` it tests the last `test_days` before the split; otherwise each user's last stream
    in the past. Raises ValueError where the past is too short for that.
    """
    settings = replace(trial.settings, train_days=None)
    if settings.protocol == "time":
        settings = replace(settings, end_ms=trial.past.at_ms)
    else:
        settings = replace(settings, end_ms=None)
    return make_trial(trial.dataset, settings, trial.past.text)


def _time(dataset: Dataset, settings: TrialSettings) -> tuple[TimeSplit, npt.NDArray[np.int64]]:
    split = time_split(
        dataset.events,
        test_days=settings.test_days,
        train_days=settings.train_days,
        end_ms=settings.end_ms,
    )
    return split, np.full(len(dataset.users), split.at_ms)


def _last(dataset: Dataset, settings: TrialSettings) -> tuple[TimeSplit, npt.NDArray[np.int64]]:
    """Hold out each user's last stream, of users with an event before it."""
    events = dataset.events
    if settings.end_ms is not None:
        events = events.where(events.timestamp < settings.end_ms)
    if settings.train_days is not None and len(events):
        first = int(events.timestamp.max()) + 1 - round(settings.train_days * 86_400_000)
        events = events.where(events.timestamp >= first)
    return last_streams(events, len(dataset.users))


def _negatives(
    known: Dataset, truth: HeldOut, candidates: Rows, settings: TrialSettings
) -> sp.csr_array:
    """Each user's held-out item, and others of its type that the user never touched."""
    rng = np.random.default_rng([settings.seed, 2])
    types = known.items["item_type"].to_numpy()
    pools = {name: candidates[types[candidates] == name] for name in set(types[truth.item])}
    had = sp.csr_array(
        (np.ones(len(known.events), bool), (known.events.user, known.events.item)),
        shape=(len(known.users), len(known.items)),
    )
    rows, items = [], []
    for place, (user, item) in enumerate(zip(truth.users, truth.item, strict=True)):
        pool = pools[types[item]]
        touched = had.indices[had.indptr[user] : had.indptr[user + 1]]
        free = pool[~np.isin(pool, touched) & (pool != item)]
        drawn = rng.choice(free, size=min(settings.negatives, len(free)), replace=False)
        items.append(np.append(drawn, item))
        rows.append(np.full(len(drawn) + 1, place))
    row, item = np.concatenate(rows), np.concatenate(items)
    shape = (len(truth.users), len(known.items))
    return sp.csr_array((np.ones(len(row), bool), (row, item)), shape=shape)
