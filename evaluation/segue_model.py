"""Our own model in the harness: candidates, features and a ranking head, fitted before the split.

The head's lists are users at earlier moments, labelled by what they met in the days that followed;
the models behind its features know nothing of those days. Then these models are fitted again up
to the split, and the head ranks with them. A list holds candidates of all types, so that scores of
different types can be compared.
"""

import weakref
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dynamic_layer.counts.moments import Moment
from dynamic_layer.head.candidates import NONE
from dynamic_layer.head.features import Sources, feature_names, pair_features, pooled
from dynamic_layer.head.ranking_head import HeadSettings, HeadTrainer, Lists, RankingHead
from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset
from evaluation.earlier_moments import earlier_moments
from evaluation.model import Past
from evaluation.segue_fits import Fits, text_vectors
from evaluation.segue_lists import (
    BATCH,
    candidates_of,
    features_of,
    sampled_lists,
    teaching_lists,
)
from evaluation.segue_settings import SegueSettings
from evaluation.split import TimeSplit, held_out
from evaluation.text import has_text
from static_layer import Progress
from static_layer.progress import silent

__all__ = ["Fitted", "SegueScorer", "SegueSettings", "fit", "segue", "segue_model"]

Floats = npt.NDArray[np.float32]
_BELOW = np.float32(-1e3)  # under every candidate
#: What a head is before it learns: neighbours, text, demand, and the user's own past.
PLAIN_SUM = {
    "z:ease@infd": 1.0, "z:cosine@infd": 1.0, "z:text@infd": 0.5, "z:demand@14d": 1.0,
    "z:past-times": 2.0,
}  # fmt: skip
#: Fewer lists than these start from it, and are trained on for so many steps, or epochs at most.
FEW_LISTS, FEW_STEPS, FEW_EPOCHS = 1_000, 200, 60.0


def segue(
    dataset: Dataset,
    split: TimeSplit | Past,
    *,
    seed: int,
    progress: Progress = silent,
    settings: SegueSettings | None = None,
    text: Floats | None = None,
) -> Scorer:
    """Fit on the events before the split and return the scorer.

    text: f32 [items, d], unit vectors, zero without text; encoded here when None. Items that are
    no candidate of a user score below all that are, by demand. Nothing of `split.test` is read.
    seed: of the head. The lists and the models behind their features are those of seed 0, and the
    seeds of a run share them.
    """
    settings = settings or SegueSettings()
    fitted = _shared(dataset, split, progress, settings, text)
    head = taught(fitted, settings.head, seed=seed)
    repeats = isinstance(split, Past) and split.repeats
    return SegueScorer(
        moment=fitted.moment,
        sources=fitted.sources,
        head=head,
        settings=fitted.settings,
        repeats=repeats,
    )


def segue_model(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    windows: int = 2,
    ridge: float = 30.0,
    recent_half_life_days: float = 14.0,
    hidden: int = 32,
    epochs: float = 6.0,
) -> Scorer:
    """`segue` as a row of the table, with the settings that tuning may try."""
    plain = SegueSettings()
    settings = replace(
        plain,
        windows=windows,
        recent_half_life_days=recent_half_life_days,
        ease=replace(plain.ease, ridge=ridge),
        head=replace(plain.head, hidden=hidden, epochs=epochs),
    )
    own = has_text(dataset.items)
    # Where no item has text there is nothing to wait for the encoder for.
    text = split.text() * own[:, None] if own.any() else np.zeros((len(own), 1), np.float32)
    return segue(dataset, split, seed=seed, progress=progress, settings=settings, text=text)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a head is trained on, and the state and models that it ranks with at the split.

    names: of the features. lists: of the earlier moments, oldest first. settings: with the
    features that are read here.
    """

    settings: SegueSettings
    names: list[str]
    lists: list[Lists]
    moment: Moment
    sources: Sources


_known: list[tuple[weakref.ref[TimeSplit | Past], SegueSettings, Fitted]] = []


def _shared(
    dataset: Dataset,
    split: TimeSplit | Past,
    progress: Progress,
    settings: SegueSettings,
    text: Floats | None,
) -> Fitted:
    """Fit once for all seeds of a split, which are asked for one after the other."""
    settings = replace(settings, head=HeadSettings())  # nothing here depends on it
    for of, told, fitted in _known:
        if of() is split and told == settings:
            return fitted
    _known.clear()
    fitted = fit(dataset, split, seed=0, progress=progress, settings=settings, text=text)
    # The split's end takes what was fitted on it along.
    _known.append((weakref.ref(split, lambda _: _known.clear()), settings, fitted))
    return fitted


def fit(
    dataset: Dataset,
    split: TimeSplit | Past,
    *,
    seed: int,
    progress: Progress,
    settings: SegueSettings,
    text: Floats | None,
) -> Fitted:
    """Return lists of earlier moments and the models at the split; reads `split.train` alone."""
    if text is None and "text" in settings.vectors:
        text = text_vectors(dataset, progress)
    past = split if isinstance(split, Past) else None
    repeats = past is not None and past.repeats
    if not repeats and split.train.strong.all():
        # No candidate has a past with its user: there is nothing to read of it.
        groups = tuple(group for group in settings.features.groups if group != "past")
        settings = replace(settings, features=replace(settings.features, groups=groups))
    fits = Fits(dataset, text, settings, seed=seed)
    rng = np.random.default_rng([seed, 5])
    every = np.arange(len(dataset.items))
    lists: list[Lists] = []
    lessons = earlier_moments(
        split, len(dataset.users), horizon_days=settings.horizon_days, windows=settings.windows
    )
    for done, lesson in enumerate(lessons):
        progress("earlier moments", done, len(lessons))
        moment, sources = fits.at(lesson.split.train, lesson.split.at_ms, lesson.asked_ms)
        truth = held_out(lesson.split, every, repeats=repeats)
        if past is not None and past.negatives is not None:
            lists += sampled_lists(
                moment, truth, sources, settings, negatives=past.negatives, rng=rng
            )
        else:
            lists += teaching_lists(moment, truth, sources, settings, repeats=repeats, rng=rng)
    progress("earlier moments", len(lessons), len(lessons))
    asked_ms = past.asked_ms if past is not None and past.horizon_days is None else None
    moment, sources = fits.at(split.train, split.at_ms, asked_ms)
    names = feature_names(sources, settings.features)
    return Fitted(settings=settings, names=names, lists=lists, moment=moment, sources=sources)


def taught(fitted: Fitted, settings: HeadSettings, *, seed: int) -> RankingHead:
    """Train a head. Few lists start from a plain sum and train longer; without any it is the sum.

    A head that starts from nothing is close to random after the few steps that a small set gives.
    """
    total = sum(map(len, fitted.lists))
    if not total:
        head = RankingHead(fitted.names, hidden=0)
        head.begin(PLAIN_SUM)
        return head.eval()
    start = None
    if total < FEW_LISTS:
        epochs = min(FEW_STEPS * settings.batch_size / total, FEW_EPOCHS)
        settings = replace(settings, epochs=max(settings.epochs, epochs))
        start = PLAIN_SUM
    trainer = HeadTrainer(fitted.names, settings, seed=seed, start=start)
    for lists in fitted.lists:
        trainer.add(lists)
    trainer.train()
    return trainer.publish()


@dataclass(frozen=True, kw_only=True)
class SegueScorer:
    """Scores all items for users, or some items of each user (`pairs`)."""

    moment: Moment
    sources: Sources
    head: RankingHead
    settings: SegueSettings
    repeats: bool

    def __call__(self, users: Rows, items: Rows) -> Scores:
        """Return scores f32 [users, items] for items of any types.

        Items that are no candidate of a user stand below all that are: by demand, those without
        any by their text.
        """
        place = np.full(len(self.sources.type_number), -1)
        place[items] = np.arange(len(items))
        scores = np.empty((len(users), len(items)), np.float32)
        for start in range(0, len(users), BATCH):
            part = users[start : start + BATCH]
            scores[start : start + BATCH] = self._others(part, items)
            lists = candidates_of(
                self.moment, part, self.sources, self.settings, repeats=self.repeats
            )
            candidates = np.concatenate(lists, axis=1)
            features = features_of(self.moment, part, lists, self.sources, self.settings)
            found = self.head.scores(features, candidates != NONE)
            asked = (candidates != NONE) & (place[candidates] >= 0)
            row, column = np.nonzero(asked)
            scores[start + row, place[candidates[row, column]]] = found[row, column]
        return scores

    def pairs(self, users: Rows, items: Rows) -> Scores:
        """Return scores f32 [b, c] of some items of each user, i64 [b, c], all of one type a user.

        Each is scored by the head, candidate or not.
        """
        found = [
            self._pairs(users[start : start + BATCH], items[start : start + BATCH])
            for start in range(0, len(users), BATCH)
        ]
        return np.concatenate(found) if found else np.zeros(items.shape, np.float32)

    def _pairs(self, users: Rows, items: Rows) -> Floats:
        features = pair_features(self.moment, users, items, self.sources, self.settings.features)
        return np.where(items != NONE, self.head.scores(features, items != NONE), _BELOW)

    def _others(self, users: Rows, items: Rows) -> Floats:
        demand = np.log1p(self.moment.demand[:, 0])
        share = demand[items] / (1 + demand.max(initial=0))
        shape = (len(users), len(items))
        scores = np.broadcast_to(_BELOW + share, shape).astype(np.float32)
        text = self.sources.vectors.get("text")
        fresh = np.flatnonzero(self.moment.demand[items, -1] == 0)
        if text is not None and len(fresh):
            histories = self.moment.histories.take(users)
            ones = np.ones(len(histories.item), np.float32)
            # Ten or less below the others.
            near = pooled(histories, ones, text) @ text[items[fresh]].T
            scores[:, fresh] = _BELOW + 5 * (near - 1)
        return scores
