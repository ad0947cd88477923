"""Replays a stream: every arm answers the questions of each step."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.prequential.answers import DEPTH, Answers, Catalogue
from evaluation.prequential.arms import Arm
from evaluation.prequential.stream import Questions, Step
from static_layer import Progress

__all__ = ["METRICS", "Scored", "replay"]

METRICS = ("hr_at_10", "ndcg_at_10", "mrr", "recall_at_100")
K = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What an arm reached on one item type: `q` questions that have an answer of the type.

    users, at_ms: i64 [q]. values: metric -> f64 [seeds, q]. coverage: share of the type's items
    in any of the first seed's lists. seconds: spent on answering, all types.
    """

    users: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.int64]
    values: Mapping[str, Floats]
    coverage: float
    seconds: float


def replay(
    arms: Mapping[str, Arm],
    stream: Iterable[Step],
    catalogue: Catalogue,
    *,
    total: int,
    progress: Progress,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, Scored]]:
    """Run arms over the steps of a stream; return arm -> item type -> what it reached.

    total: questions in the stream, for the progress bar.
    """
    kept = {name: _Kept(catalogue) for name in arms}
    done = 0
    for step in stream:
        for name, arm in arms.items():
            begun = clock()
            answers = arm.answer(step)
            kept[name].seconds += clock() - begun
            kept[name].add(step.questions, answers)
        done += len(step.questions)
        progress("replay", done, total)
    return {name: part.scored() for name, part in kept.items()}


class _Kept:
    """What one arm reached so far."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.seconds = 0.0
        self._catalogue = catalogue
        self._inside = {group: catalogue.inside(group) for group in catalogue.groups}
        self._covered = {g: np.zeros(len(catalogue.number), bool) for g in catalogue.groups}
        self._parts: dict[str, list[tuple[Questions, Floats]]] = {g: [] for g in catalogue.groups}

    def add(self, questions: Questions, answers: Sequence[Answers]) -> None:
        owner = np.repeat(np.arange(len(questions)), np.diff(questions.indptr))
        for group, inside in self._inside.items():
            counts = np.bincount(owner[inside[questions.item]], minlength=len(questions))
            rows = np.flatnonzero(counts)
            if not len(rows):
                continue
            asked = questions.where(rows)
            values = [
                _metrics(asked.among(lists[group][rows], len(inside)), counts[rows])
                for lists in answers
            ]
            self._parts[group].append((asked, np.stack(values, axis=1)))
            listed = answers[0][group][rows]
            self._covered[group][listed[listed >= 0]] = True

    def scored(self) -> dict[str, Scored]:
        found = {}
        for group, parts in self._parts.items():
            if not parts:
                continue
            values = np.concatenate([part for _, part in parts], axis=2)
            found[group] = Scored(
                users=np.concatenate([asked.user for asked, _ in parts]),
                at_ms=np.concatenate([asked.at_ms for asked, _ in parts]),
                values=dict(zip(METRICS, values, strict=True)),
                coverage=float(self._covered[group].sum() / len(self._catalogue.groups[group])),
                seconds=self.seconds,
            )
        return found


def _metrics(hits: npt.NDArray[np.bool_], answers: npt.NDArray[np.int64]) -> Floats:
    """HR@10, NDCG@10, MRR@100 and recall@100 of lists, f64 [4, q].

    hits: bool [q, DEPTH], answers in the lists; answers: i64 [q], how many there are.
    """
    gains = 1 / np.log2(np.arange(K) + 2)
    best = np.cumsum(gains)[np.minimum(answers, K) - 1]
    first = np.where(hits.any(axis=1), hits.argmax(axis=1), DEPTH)
    return np.stack(
        [
            hits[:, :K].any(axis=1).astype(np.float64),
            (hits[:, :K] @ gains) / best,
            np.where(first < DEPTH, 1 / (1 + first), 0.0),
            hits.sum(axis=1) / answers,
        ]
    )
