"""The ranking head in a replay: frozen, brought up to date each day, or without stopping.

Arms differ in what may be known at a question: users' histories, other people's events, demand,
and how often weights are fitted and the head learns. Each has heads of its own, trained on lists
made under its own rule, so that it expects what it will meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from dynamic_layer.counts.directed import Asked
from dynamic_layer.counts.item_weights import (
    capped,
    co_interactions,
    ease_weights,
    spectral_vectors,
)
from dynamic_layer.counts.stream_index import StreamIndex
from dynamic_layer.head.features import Sources
from dynamic_layer.head.live_lists import LiveLists, LiveSettings, live_lists, live_names
from dynamic_layer.head.ranking_head import HeadTrainer, Lists, RankingHead
from dynamic_layer.settings import EaseSettings, HeadSettings
from evaluation.baselines import Rows
from evaluation.prequential.answers import Answers, Catalogue
from evaluation.prequential.stream import Questions, Step
from evaluation.split import DAY_MS

__all__ = ["RULES", "Fits", "HeadArm", "Rule"]

Floats = npt.NDArray[np.float32]
Known = Literal["start", "day", "now"]
_SCORED = 256  # lists scored at once


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Up to when things are known: the `start` of the span, the `day`'s beginning, or `now`.

    users, model, demand: of histories, of other people's events, of demand. A span is the warm-up
    or the test. learns: when the head learns from what was asked: at the `start` of the test, at
    the end of each `day`, or after every step (`now`).
    """

    users: Known
    model: Known
    demand: Known
    learns: Known

    def asked(self, questions: Questions, start_ms: int) -> Asked:
        """Return the questions with what may be known at each; start_ms: of the span."""
        at = questions.at_ms
        moments = {"start": np.full_like(at, start_ms), "day": at // DAY_MS * DAY_MS, "now": at}
        # A span may begin in the middle of a day.
        moments["day"] = np.minimum(np.maximum(moments["day"], moments["start"]), at)
        return Asked(
            user=questions.user,
            at_ms=at,
            user_ms=moments[self.users],
            model_ms=moments[self.model],
            demand_ms=moments[self.demand],
        )


RULES = {
    "frozen_model_frozen_users": Rule(users="start", model="start", demand="start", learns="start"),
    "frozen_model_live_users": Rule(users="now", model="start", demand="start", learns="start"),
    "daily_retrain": Rule(users="now", model="day", demand="day", learns="day"),
    "continual": Rule(users="now", model="now", demand="day", learns="now"),
    "continual_live_popularity": Rule(users="now", model="now", demand="now", learns="now"),
}


class Fits:
    """Item-item weights and vectors as of a moment; the latest few are kept."""

    def __init__(
        self,
        catalogue: Catalogue,
        text: Floats | None,
        *,
        ease: EaseSettings | None = None,
        graph_width: int = 32,
        seed: int = 0,
    ) -> None:
        """text: f32 [items, d], unit vectors or zero; None without. graph_width: of vectors."""
        self._catalogue, self._text = catalogue, text
        self._ease, self._width, self._seed = ease or EaseSettings(), graph_width, seed
        self._kept: dict[int, Sources] = {}

    def at(self, index: StreamIndex, at_ms: int) -> Sources:
        """Return what is fitted on the events before a moment."""
        if at_ms not in self._kept:
            if len(self._kept) > 2:
                self._kept.pop(min(self._kept))
            self._kept[at_ms] = self._fit(index, at_ms)
        return self._kept[at_ms]

    def _fit(self, index: StreamIndex, at_ms: int) -> Sources:
        before = index.time < at_ms
        n_items = len(self._catalogue.number)
        pairs = np.unique(index.owner[before] * n_items + index.item[before])
        history = sp.csr_array(
            (np.ones(len(pairs), np.float32), (pairs // n_items, pairs % n_items)),
            shape=(len(index.user_indptr) - 1, n_items),
        )
        counts = capped(co_interactions(history), self._ease.degree_cap)
        vectors = {} if self._text is None else {"text": self._text}
        if self._width:
            graph = spectral_vectors(counts, self._width, seed=self._seed)
            norm = np.linalg.norm(graph, axis=1, keepdims=True)
            vectors["graph"] = np.asarray(graph / np.maximum(norm, 1e-9), np.float32)
        return Sources(
            type_number=self._catalogue.number,
            types=len(self._catalogue.names),
            weights={"ease": ease_weights(counts, self._ease)},
            vectors=vectors,
        )


@dataclass
class HeadArm:
    """Candidates, features and a ranking head under a rule.

    starts_ms: begin of the warm-up and of the test. seeds: of the heads; lists are the same for
    all. fit_days: how often weights are fitted where the model is not frozen.
    """

    name: str
    rule: Rule
    catalogue: Catalogue
    fits: Fits
    starts_ms: tuple[int, int]
    seeds: Sequence[int]
    live: LiveSettings = field(default_factory=LiveSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    fit_days: float = 7.0

    def __post_init__(self) -> None:
        """Start without heads: their features are known with the first step."""
        self._trainers: list[HeadTrainer] = []
        self._heads: list[RankingHead] = []
        self._made: LiveLists | None = None
        self._day = -1

    def answer(self, step: Step, places: Rows) -> Sequence[Answers]:
        """Rank the candidates of each question by every seed's head."""
        self._publish(step)
        if self.rule.learns == "start":  # what is not tested would only be learned from
            lists, rows = self._make(step, step.questions.where(places)), np.arange(len(places))
        else:
            lists, rows = self._lists(step), places
        answers = []
        for head in self._heads:
            scores = np.concatenate(
                [
                    head.scores(lists.features[part], lists.valid[part])
                    for part in np.array_split(rows, -(-len(rows) // _SCORED))
                ]
            )
            answers.append(self.catalogue.of_candidates(lists.candidates[rows], scores))
        return answers

    def learn(self, step: Step) -> None:
        """Keep the step's lists; train when the rule says so."""
        if self.rule.learns == "start" and step.test:
            return
        lists = self._lists(step)
        label = step.questions.among(lists.candidates, len(self.catalogue.number))
        useful = label.any(axis=1)
        teaching = Lists(
            features=lists.features[useful], label=label[useful], valid=lists.valid[useful]
        )
        for trainer in self._trainers:
            trainer.add(teaching)
            if self.rule.learns == "now" and step.test:
                trainer.train()
        if self.rule.learns == "now" and step.test:
            self._heads = [trainer.publish() for trainer in self._trainers]
        self._made = None

    def _publish(self, step: Step) -> None:
        """Train before the first question of the test, and each day where the rule says so."""
        day = step.start_ms // DAY_MS
        if not self._heads or (self.rule.learns == "day" and day != self._day):
            if not self._trainers:
                self._lists(step)  # nothing was asked in the warm-up: heads that learned nothing
            for trainer in self._trainers:
                trainer.train()
            self._heads = [trainer.publish() for trainer in self._trainers]
        self._day = day

    def _lists(self, step: Step) -> LiveLists:
        """The lists of all the step's questions, made once: to answer, then to learn from."""
        if self._made is None:
            self._made = self._make(step, step.questions)
        return self._made

    def _make(self, step: Step, questions: Questions) -> LiveLists:
        start_ms = fit_ms = self.starts_ms[int(step.test)]
        if self.rule.model != "start":
            every = round(self.fit_days * DAY_MS)
            fit_ms = start_ms + (step.start_ms - start_ms) // every * every
        sources = self.fits.at(step.index, fit_ms)
        if not self._trainers:
            names = live_names(sources, self.live, repeats=self.catalogue.repeats)
            self._trainers = [HeadTrainer(names, self.head, seed=seed) for seed in self.seeds]
        return live_lists(
            step.index,
            self.rule.asked(questions, start_ms),
            sources,
            self.live,
            repeats=self.catalogue.repeats,
        )
