"""The sequence tower alone, as a baseline: it ranks all items, without a head and live counts.

Workers serve it as one of the sources of the ranking head (`dynamic.sequence`).
"""

import numpy as np
import numpy.typing as npt

from dynamic_layer.towers.sequence_fit import FitSettings, Sequences, fit
from dynamic_layer.towers.sequence_tower import SequenceShape
from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset
from evaluation.model import CannotFit, Past
from evaluation.text import has_text
from static_layer import Progress

__all__ = ["sequence"]


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

    text: whether the item tower reads text vectors in addition to a learned vector of each item.
    Raises CannotFit if no user has two strong events.
    """
    strong = split.train.where(split.train.strong)
    known = Sequences.of(strong.user, strong.item, strong.timestamp, len(dataset.users))
    if not (np.diff(known.indptr) > 1).any():
        raise CannotFit("the sequence tower needs users with at least two events")
    content = _content(dataset, split) if text else None
    model = fit(
        known, len(dataset.items), seed=seed, content=content,
        shape=SequenceShape(length=length, width=width, blocks=blocks, dropout=dropout),
        settings=FitSettings(epochs=epochs, negatives=negatives, learning_rate=learning_rate),
        progress=lambda done, of, loss: progress("sequence tower", done, of, {"loss": loss}),
    )  # fmt: skip
    vectors, bias = model.vectors(), model.bias()
    met = np.bincount(split.train.item, minlength=len(dataset.items)) > 0

    def score(users: Rows, items: Rows) -> Scores:
        scores = model.queries(known, users) @ vectors[items].T + bias[items]
        if content is None:
            scores[:, ~met[items]] = -np.inf  # their vectors are untrained
        return np.asarray(scores)

    return score


def _content(dataset: Dataset, split: Past) -> npt.NDArray[np.float32]:
    """Text vectors f32[n_items, c], zeros for items without text."""
    return np.asarray(split.text() * has_text(dataset.items)[:, None], np.float32)
