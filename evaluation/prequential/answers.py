"""Lists that answer questions: the best of the whole catalogue, and of each item type."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from evaluation.baselines import Rows, Scores
from evaluation.dataset import Dataset
from evaluation.prequential.stream import Questions
from evaluation.prequential.stream_index import StreamIndex, first_from
from evaluation.ranking import best, in_tie_order
from evaluation.segments import ALL

__all__ = ["DEPTH", "Answers", "Catalogue"]

DEPTH = 100

Answers = Mapping[str, Rows]
"""Item type -> lists i64 [questions, DEPTH], best first, -1 where one ends; `all` ranks all types
together."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What is ranked: all items, and which belong to each type.

    groups:  item type -> item rows, those that win ties first; `all` has every item.
    number:  i64 [items], the item's type. names: of the types.
    repeats: whether items that the user had are ranked.
    """

    groups: Mapping[str, Rows]
    number: Rows
    names: tuple[str, ...]
    repeats: bool

    @classmethod
    def of(cls, dataset: Dataset, *, repeats: bool) -> "Catalogue":
        """Every item of a data set; one group alone where there is a single type."""
        names = tuple(dataset.item_types)
        number = np.zeros(len(dataset.items), np.int64)
        for place, name in enumerate(names):
            number[dataset.rows_of_type(name)] = place
        ordered = in_tie_order(dataset.items)
        groups = {ALL: ordered}
        if len(names) > 1:
            groups |= {name: ordered[number[ordered] == n] for n, name in enumerate(names)}
        return cls(groups=groups, number=number, names=names, repeats=repeats)

    def inside(self, group: str) -> npt.NDArray[np.bool_]:
        """Which items belong to a group, bool [items]."""
        found = np.zeros(len(self.number), bool)
        found[self.groups[group]] = True
        return found

    def of_scores(self, scores: Scores, questions: Questions, index: StreamIndex) -> Answers:
        """Best items by scores of the whole catalogue, f32 [questions, items], which are changed.

        Without repeats, what each user had before the question is left out.
        """
        if not self.repeats:
            _hide(
                scores, questions.user, questions.at_ms,
                index.user_indptr, index.item, index.time, index.strong,
            )  # fmt: skip
        answers = {}
        for group, rows in self.groups.items():
            places = best(scores, DEPTH, rows)
            answers[group] = np.where(places >= 0, rows[np.maximum(places, 0)], -1)
        return answers


@njit(cache=True, nogil=True)
def _hide(
    scores: Scores,
    users: Rows,
    at_ms: Rows,
    indptr: Rows,
    item: Rows,
    time: Rows,
    strong: npt.NDArray[np.bool_],
) -> None:
    for row in range(len(users)):
        first = indptr[users[row]]
        for entry in range(first, first_from(time, first, indptr[users[row] + 1], at_ms[row])):
            if strong[entry]:
                scores[row, item[entry]] = -np.inf
