"""Our model where each user's next event is asked for: the sequence tower, and a head that mixes.

`sequence` is the tower alone. `next_event` puts its score beside ItemCF, text and the demand around
the moment at which the user is asked, and learns how to mix them on each user's last event in the
past: for that the models behind the features are fitted without those events, then again with them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from dynamic_layer.counts.item_weights import co_interactions, cosine_weights
from dynamic_layer.head.ranking_head import HeadSettings, HeadTrainer, Lists, RankingHead
from dynamic_layer.towers.sequence_fit import FitSettings, SequenceModel, Sequences, fit
from dynamic_layer.towers.sequence_tower import SequenceSettings
from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset, Interactions
from evaluation.model import CannotFit, Past
from evaluation.split import DAY_MS
from evaluation.text import has_text
from static_layer import Progress

__all__ = ["NextEventSettings", "next_event", "sequence"]

Floats = npt.NDArray[np.float32]
_USERS = 16  # scored at once: 28,000 items' features are 30 MB
_TEACHING = 64
_SMALL = 1e-3


@dataclass(frozen=True, kw_only=True)
class NextEventSettings:
    """Everything that `next_event` can be told.

    tower, fit: of the sequence tower.
    past_days:  windows before the moment in which a candidate's events are counted.
    later_days: windows after it. Leave-one-out asks each user at another moment and hands over all
                other users' events, later ones too; a live system has none of them. () leaves
                them out.
    lags:       events of the history that speak for what it is about now, each `fade` of the next.
    max_lists:  lists that the head learns from, of users drawn at random.
    negatives:  of a list that the head learns from, uniform among items of the target's type.
    head:       of the head.
    """

    tower: SequenceSettings = field(default_factory=SequenceSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    past_days: tuple[float, ...] = (1.0, 7.0, 30.0, 90.0)
    later_days: tuple[float, ...] = ()
    lags: int = 8
    fade: float = 0.7
    max_lists: int = 4_000
    negatives: int = 255
    head: HeadSettings = field(default_factory=lambda: HeadSettings(epochs=10.0))


def sequence(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    text: bool = True,
    length: int = 100,
    epochs: int = 8,
    width: int = 128,
    blocks: int = 1,
    dropout: float = 0.3,
    negatives: int = 512,
    learning_rate: float = 1e-3,
) -> Scorer:
    """Fit the sequence tower; users without history score by the items' biases.

    text: whether the item tower reads text vectors beside what it learns of each item.
    """
    known = _sequences(split.train, len(dataset.users))
    tower = SequenceSettings(length=length, width=width, blocks=blocks, dropout=dropout)
    settings = FitSettings(epochs=epochs, negatives=negatives, learning_rate=learning_rate)
    content = _content(dataset, split) if text else None
    model = _fitted(known, len(dataset.items), tower, settings, content, seed, progress)
    vectors, bias = model.vectors(), model.bias()
    met = np.bincount(split.train.item, minlength=len(dataset.items)) > 0

    def score(users: Rows, items: Rows) -> Scores:
        scores = model.queries(known, users) @ vectors[items].T + bias[items]
        if content is None:
            scores[:, ~met[items]] = -np.inf  # their vectors are still where they began
        return np.asarray(scores)

    return score


def next_event(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    text: bool = True,
    settings: NextEventSettings | None = None,
    later: bool = False,
    epochs: int = 8,
) -> Scorer:
    """Fit the towers, the counts and the head that mixes them; raises CannotFit for too few events.

    later: count demand after the asked moment too (`NextEventSettings.later_days`).
    """
    settings = settings or NextEventSettings(
        fit=FitSettings(epochs=epochs),
        later_days=(7.0, 30.0, 90.0) if later else (),
    )
    content = _content(dataset, split) if text else None
    strong = split.train.where(split.train.strong)
    earlier, last, asked_ms = without_last(strong, split.asked_ms)
    if not len(last):
        raise CannotFit("the head needs users with at least two events before the asked one")
    before = Features(dataset, earlier, asked_ms, content, settings, seed, progress)
    trainer = HeadTrainer(before.names, settings.head, seed=seed)
    rng = np.random.default_rng(seed)
    if len(last) > settings.max_lists:
        kept = np.zeros(len(last), np.bool_)
        kept[rng.choice(len(last), settings.max_lists, replace=False)] = True
        last = last.where(kept)
    trainer.add(_lists(before, last, settings.negatives, rng))
    trainer.train()
    head = trainer.publish()
    now = Features(dataset, strong, split.asked_ms, content, settings, seed, progress)
    return _Mixed(now, head)


class _Mixed:
    """Scores by the head."""

    def __init__(self, features: "Features", head: RankingHead) -> None:
        self._features, self._head = features, head

    def __call__(self, users: Rows, items: Rows) -> Scores:
        """Return scores f32[users, items]."""
        return self.pairs(users, np.broadcast_to(items, (len(users), len(items))))

    def pairs(self, users: Rows, items: Rows) -> Scores:
        """Return scores f32[b, c] of users i64[b] and their items i64[b, c], -1 for no item."""
        scores = np.empty(items.shape, np.float32)
        for start in range(0, len(users), _USERS):
            part = slice(start, start + _USERS)
            features = self._features.of(users[part], np.maximum(items[part], 0))
            scores[part] = self._head.scores(features, items[part] >= 0)
        return scores


def _content(dataset: Dataset, split: Past) -> Floats:
    """Text vectors f32[n_items, c], zeros for items without text."""
    return np.asarray(split.text() * has_text(dataset.items)[:, None], np.float32)


def _sequences(events: Interactions, n_users: int) -> Sequences:
    strong = events.where(events.strong)
    return Sequences.of(strong.user, strong.item, strong.timestamp, n_users)


def _fitted(
    known: Sequences,
    n_items: int,
    tower: SequenceSettings,
    settings: FitSettings,
    content: Floats | None,
    seed: int,
    progress: Progress,
) -> SequenceModel:
    if not (np.diff(known.indptr) > 1).any():
        raise CannotFit("the sequence tower needs users with at least two events")
    return fit(
        known, n_items, seed=seed, content=content, shape=tower, settings=settings,
        progress=lambda done, of, loss: progress("sequence tower", done, of, {"loss": loss}),
    )  # fmt: skip


def without_last(
    events: Interactions, asked_ms: npt.NDArray[np.int64]
) -> tuple[Interactions, Interactions, npt.NDArray[np.int64]]:
    """Cut each user's last event off, of users with one before it.

    Returns the others, those cut off, and when each user is asked for now: just after his last
    event but one.
    """
    place = np.arange(len(events))
    last = np.full(len(asked_ms), -1)
    last[events.user] = place  # the latest assignment stays
    many = np.bincount(events.user, minlength=len(asked_ms)) > 1
    cut = (place == last[events.user]) & many[events.user]
    earlier = events.where(~cut)
    asked = asked_ms.copy()
    asked[earlier.user] = earlier.timestamp + 1
    return earlier, events.where(cut), asked


class Features:
    """What is known of pairs of users and candidates, each user as of his asked moment.

    history: f32[n_users, n_items], who had what. count: i64[n_items], events. type_number:
    i64[n_items]. names: of the features.
    """

    def __init__(
        self,
        dataset: Dataset,
        events: Interactions,
        asked_ms: npt.NDArray[np.int64],
        text: Floats | None,
        settings: NextEventSettings,
        seed: int,
        progress: Progress,
    ) -> None:
        """events: strong ones, in order of time. text: f32[n_items, c]."""
        n_users, n_items = len(dataset.users), len(dataset.items)
        self._settings, self._asked_ms, self._text = settings, asked_ms, text
        self._known = _sequences(events, n_users)
        self._model = _fitted(
            self._known, n_items, settings.tower, settings.fit, text, seed, progress
        )
        self._vectors, self._bias = self._model.vectors(), self._model.bias()
        self.history = sp.csr_array(
            (np.ones(len(events), np.float32), (events.user, events.item)),
            shape=(n_users, n_items),
        )
        self.history.data[:] = 1.0
        self._cosine = cosine_weights(co_interactions(self.history))
        self._item, self._timestamp = events.item, events.timestamp
        self.count = np.bincount(events.item, minlength=n_items)
        self.type_number = np.unique(dataset.items["item_type"].to_numpy(), return_inverse=True)[1]
        self._types = int(self.type_number.max()) + 1
        self.names = ["tower", "item_cf", "item_cf_recent", "count"]
        self.names += ["text"] if text is not None else []
        self.names += [f"past_{days:g}" for days in settings.past_days]
        self.names += [f"later_{days:g}" for days in settings.later_days]
        self.names += ["pace", *(f"type_{k}" for k in range(self._types) if self._types > 1)]
        self.names += ["same_type"] if self._types > 1 else []

    def of(self, users: Rows, candidates: Rows) -> Floats:
        """Return the features f32[b, c, f] of users i64[b] and their candidates i64[b, c]."""
        recent = self.recent(users)
        columns: list[npt.NDArray[Any]] = []

        def add(values: npt.NDArray[Any], change: Callable[[Floats], Floats] | None = None) -> None:
            found = np.take_along_axis(np.asarray(values, np.float32), candidates, axis=1)
            columns.append(found if change is None else change(found))

        def log(values: Floats) -> Floats:
            return np.asarray(np.log(values + np.float32(_SMALL)))

        add(self._model.queries(self._known, users) @ self._vectors.T + self._bias)
        add((self.history[users] @ self._cosine).toarray(), log)
        add((recent @ self._cosine).toarray(), log)
        columns.append(np.log1p(self.count)[candidates])
        if self._text is not None:
            add((recent @ self._text) @ self._text.T)
        for sign, windows in ((-1, self._settings.past_days), (1, self._settings.later_days)):
            for days in windows:
                found = self.demand(users, sign * days)
                columns.append(np.log(np.take_along_axis(found, candidates, axis=1) + 0.1))
        columns.append(np.broadcast_to(self._pace(users)[:, None], candidates.shape))
        if self._types > 1:
            kinds = self.type_number[candidates]
            columns += [kinds == number for number in range(self._types)]
            columns.append(kinds == self._last_type(users)[:, None])
        return np.stack(columns, axis=2).astype(np.float32)

    def recent(self, users: Rows) -> sp.csr_array:
        """The last items of users, each `fade` of the next, f32[b, n_items], of sum one."""
        start, size = self._known.latest(users, self._settings.lags)
        row = np.repeat(np.arange(len(users)), size)
        lag = np.repeat(np.cumsum(size), size) - 1 - np.arange(size.sum())
        item = self._known.item[np.repeat(start + size, size) - 1 - lag]
        weight = self._settings.fade**lag
        weight /= np.maximum(np.bincount(row, weight, minlength=len(users)), 1e-9)[row]
        return sp.csr_array(
            (weight.astype(np.float32), (row, item)), shape=(len(users), len(self.count))
        )

    def demand(self, users: Rows, days: float) -> npt.NDArray[np.int64]:
        """Events per item from `days` before the asked moments up to them; after, if positive."""
        asked = self._asked_ms[users]
        edges = np.stack([asked, asked + round(days * DAY_MS)], axis=1)
        low, high = np.searchsorted(self._timestamp, np.sort(edges, axis=1)).T
        n_items = len(self.count)
        return np.stack(
            [
                np.bincount(self._item[a:b], minlength=n_items)
                for a, b in zip(low, high, strict=True)
            ]
        )

    def _pace(self, users: Rows) -> Floats:
        """Bucket of the time between the last two events, f32[b]: a sitting, days, or months."""
        start, size = self._known.latest(users, 1)
        known = size > 0
        pace = np.zeros(len(users), np.float32)
        pace[known] = self._known.gap[start[known]]
        return pace

    def _last_type(self, users: Rows) -> Rows:
        start, size = self._known.latest(users, 1)
        found = np.full(len(users), -1)
        found[size > 0] = self.type_number[self._known.item[start[size > 0]]]
        return found


def _lists(
    features: Features,
    last: Interactions,
    negatives: int,
    rng: np.random.Generator,
) -> Lists:
    """Each user's last event against items of its type that he never had."""
    target = features.type_number[last.item]
    met = np.flatnonzero(features.count)
    candidates = np.empty((len(last), 1 + negatives), np.int64)
    candidates[:, 0] = last.item
    for number in np.unique(target):
        pool, rows = met[features.type_number[met] == number], np.flatnonzero(target == number)
        if len(pool):
            candidates[rows, 1:] = rng.choice(pool, (len(rows), negatives))
        else:
            candidates[rows, 1:] = last.item[rows, None]
    label = np.zeros(candidates.shape, np.bool_)
    label[:, 0] = features.count[last.item] > 0  # an item without a past could not be asked for
    parts, valid = [], np.empty(candidates.shape, np.bool_)
    for start in range(0, len(last), _TEACHING):
        part = slice(start, start + _TEACHING)
        users = last.user[part]
        parts.append(features.of(users, candidates[part]).astype(np.float16))
        had = features.history[users].toarray() > 0
        valid[part] = ~np.take_along_axis(had, candidates[part], axis=1)
    valid[:, 1:] &= candidates[:, 1:] != last.item[:, None]
    valid[:, 0] = True
    return Lists(features=np.concatenate(parts), label=label, valid=valid)
