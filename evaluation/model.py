"""How a model takes part in `segue evaluate`: it is fitted on the past alone, then it scores.

    def mine(dataset: Dataset, split: Past, *, seed: int, progress: Progress) -> Scorer: ...

`dataset.events` and `split.train` are the same events, those before the split, and there are no
others: what is held out is in nothing that a model is handed, so it cannot leak by mistake.
Further keyword arguments with defaults are the model's own settings; those that tuning may try
are named in its row of the table in `evaluation.models`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Interactions
from evaluation.protocol import Ranker
from evaluation.split import DAY_MS
from evaluation.text import TextVectors


class CannotFit(RuntimeError):
    """A model cannot be fitted on this data; the message says why, and what would help."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What a model may know when it is fitted.

    train:        events before the split, in order of time.
    at_ms:        the split, ms UTC, later than every event of `train`.
    asked_ms:     i64[n_users], moment at which each user is asked for; `at_ms` with a split in
                  time, just after the user's last training event in leave-one-out.
    horizon_days: length of the test in days; None where the next event alone is held out.
    repeats:      whether items that the user had already are asked for too.
    text:         text vectors of the catalogue, f32[n_items, d], made when first asked for.
    negatives:    items drawn uniformly from those of its type that compete with a held-out item;
                  None where the whole catalogue does.
    """

    train: Interactions
    at_ms: int
    asked_ms: npt.NDArray[np.int64]
    horizon_days: float | None
    repeats: bool
    text: TextVectors
    negatives: int | None = None

    def before(self, days: float) -> tuple["Past", Interactions]:
        """Go `days` further back: a shorter past, and the events between it and this one.

        For models that fit something on a window before the split. Raises CannotFit when either
        part would be empty.
        """
        at_ms = self.at_ms - round(days * DAY_MS)
        old = self.train.timestamp < at_ms
        if not old.any() or old.all():
            raise CannotFit(f"no events on both sides of {days:g} days before the split")
        shorter = Past(
            train=self.train.where(old),
            at_ms=at_ms,
            asked_ms=np.minimum(self.asked_ms, at_ms),
            horizon_days=self.horizon_days,
            repeats=self.repeats,
            text=self.text,
            negatives=self.negatives,
        )
        return shorter, self.train.where(~old)


@runtime_checkable
class PairScorer(Protocol):
    """A scorer that can be asked for some items of each user, where all would be a waste.

    The harness asks it so where few items compete (`sampled`).
    """

    def __call__(self, users: Rows, items: Rows) -> Scores:
        """Return scores f[b, m] of users i64[b] and items i64[m]."""
        ...

    def pairs(self, users: Rows, items: Rows) -> Scores:
        """Return scores f[b, c] of users i64[b] and their items i64[b, c], -1 for no item."""
        ...


@dataclass(frozen=True)
class ListsOnly:
    """Marks a ranker that makes whole lists and cannot score given pairs.

    It has no rows for cold items among themselves, and none with sampled negatives. It is asked
    for the item type `all` when one list over the whole catalogue is wanted.
    """

    rank: Ranker

    def __call__(self, users: npt.NDArray[np.int64], item_type: str, k: int) -> Any:
        """Return the lists i64[users, k], -1 where one ends."""
        return self.rank(users, item_type, k)


Fit = Callable[..., Scorer | ListsOnly]
"""`fit(dataset, split, *, seed, progress, **settings)`; raises CannotFit where it cannot."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of the table of models.

    name:    by which it is asked for.
    about:   one line on what it is.
    fit:     fits it.
    space:   setting -> values that tuning may try; empty where there is nothing to tune.
    seeded:  whether a seed changes it; otherwise one fit serves all seeds.
    """

    name: str
    about: str
    fit: Fit
    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    seeded: bool = False
