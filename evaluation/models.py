"""The models that `segue evaluate` compares the product with, by name: one row each.

A model that needs torch is imported when it is fitted, so that counting baselines start at once.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from evaluation.baselines import Scorer, item_cf, popularity, vector_knn
from evaluation.dataset import Dataset
from evaluation.model import Fit, ListsOnly, Model, Past
from evaluation.text import has_text
from static_layer import Progress

__all__ = ["PRODUCT", "UnknownModel", "chosen", "models"]

#: Name of the running product's row, which `segue.served` measures. No model here has it.
PRODUCT = "segue"

_SASREC = {
    "dropout": (0.2, 0.0, 0.4),
    "width": (128, 64),
    "epochs": (6, 3, 12),
    "learning_rate": (1e-3, 3e-4, 3e-3),
}


class UnknownModel(ValueError):
    """A name stands in no row of the table."""


def models() -> dict[str, Model]:
    """Return the table of models by name, in the order in which they are shown."""
    rows = [
        Model(
            name="popularity",
            about="users per item, all time",
            fit=_popularity,
        ),
        Model(
            name="popularity_recent",
            about="users per item in the last days before the split",
            fit=_popularity_recent,
            space={"days": (14.0, 1.0, 3.0, 7.0, 30.0, 90.0)},
        ),
        Model(
            name="popularity_decayed",
            about="users per item, halved with every half-life",
            fit=_popularity_decayed,
            space={"half_life_days": (4.0, 1.0, 2.0, 8.0, 14.0, 30.0, 90.0, 365.0)},
        ),
        Model(
            name="popularity_mix",
            about="demand at ten half-lives through a network, fitted before the split",
            fit=_lazily("evaluation.popularity_mix", "popularity_mix"),
            space={"weight_decay": (1e-3, 1e-2, 1e-1), "windows": (4, 1, 8)},
            seeded=True,
        ),
        Model(
            name="text_knn",
            about="cosine of an item's text vector and the mean of the user's",
            fit=_text_knn,
            space={
                "half_life_days": (None, 1.0, 7.0, 30.0, 90.0, 365.0),
                "centred": (False, True),
            },
        ),
        Model(
            name="item_cf",
            about="cosine of co-interactions, summed over the user's items",
            fit=_item_cf,
        ),
        Model(
            name="item_cf_decayed",
            about="the same, with recent history and recent events on candidates weighing more",
            fit=_item_cf_decayed,
            space={
                "half_life_days": (30.0, None, 3.0, 10.0, 90.0, 365.0),
                "target_half_life_days": (None, 4.0, 14.0, 30.0, 90.0, 365.0),
            },
        ),
        Model(
            name="ials",
            about="matrix factorisation of implicit feedback, by the library implicit",
            fit=_lazily("evaluation.linear", "ials"),
            space={
                "factors": (128, 64, 256),
                "regularization": (0.05, 0.005, 0.5, 5.0),
                "alpha": (10.0, 1.0, 3.0, 30.0),
            },
            seeded=True,
        ),
        Model(
            name="ease",
            about="linear item-item model in closed form",
            fit=_lazily("evaluation.linear", "ease"),
            space={
                "regularization": (200.0, 20.0, 60.0, 600.0, 2_000.0),
                "half_life_days": (None, 10.0, 30.0, 90.0, 365.0),
            },
        ),
        Model(
            name="lightgcn",
            about="graph smoothing of user and item vectors, BPR",
            fit=_lazily("evaluation.lightgcn", "lightgcn"),
            space={
                "layers": (2, 1, 3),
                "weight_decay": (1e-4, 1e-3, 1e-2),
                "learning_rate": (5e-3, 1e-3, 2e-2),
            },
            seeded=True,
        ),
        Model(
            name="sasrec",
            about="causal transformer over the user's items, softmax over 512 negatives",
            fit=_lazily("evaluation.sasrec", "sasrec"),
            space=_SASREC,
            seeded=True,
        ),
        Model(
            name="sasrec_bce",
            about="the same with one negative and BCE, as first published",
            fit=_lazily("evaluation.sasrec", "sasrec", loss="bce"),
            space=_SASREC,
            seeded=True,
        ),
        Model(
            name="gsasrec",
            about="the same with gSASRec's loss and 256 negatives, which asks for more epochs",
            fit=_lazily("evaluation.sasrec", "sasrec", loss="gbce", negatives=256, epochs=20),
            space=_SASREC,
            seeded=True,
        ),
        Model(
            name="two_tower",
            about="towers on text vectors and recent popularity, without the HGNN",
            fit=_lazily("evaluation.two_tower", "two_tower", use_hgnn=False),
            seeded=True,
        ),
        Model(
            name="two_tower_hgnn",
            about="the same with HGNN vectors",
            fit=_lazily("evaluation.two_tower", "two_tower"),
            seeded=True,
        ),
        Model(
            name="sequence_tower",
            about="self-attention over the history in order, alone: workers have it in the head",
            fit=_lazily("evaluation.sequence", "sequence"),
            space={
                "epochs": (8, 2, 4, 12),
                "blocks": (1, 2, 3),
                "length": (100, 50, 200),
                "dropout": (0.3, 0.1, 0.2, 0.4),
                "text": (True, False),
            },
            seeded=True,
        ),
    ]
    return {row.name: row for row in rows}


def chosen(names: Sequence[str]) -> list[Model]:
    """Return the models of some names, in that order, without the product; raises UnknownModel."""
    table = models()
    known = [*table, PRODUCT]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownModel(f"expected models of {', '.join(known)}; got {', '.join(unknown)}")
    return [table[name] for name in dict.fromkeys(names) if name != PRODUCT]


def _lazily(module: str, name: str, **fixed: Any) -> Fit:
    """A fit that imports its module when it is called. fixed: settings that the row names."""

    def fit(
        dataset: Dataset, split: Past, *, seed: int, progress: Progress, **settings: Any
    ) -> Scorer | ListsOnly:
        fitted: Scorer | ListsOnly = getattr(import_module(module), name)(
            dataset, split, seed=seed, progress=progress, **{**fixed, **settings}
        )
        return fitted

    return fit


def _popularity(dataset: Dataset, split: Past, *, seed: int, progress: Progress) -> Scorer:
    return popularity(split.train, len(dataset.items))


def _popularity_recent(
    dataset: Dataset, split: Past, *, seed: int, progress: Progress, days: float = 14.0
) -> Scorer:
    return popularity(split.train, len(dataset.items), last_days=days)


def _popularity_decayed(
    dataset: Dataset, split: Past, *, seed: int, progress: Progress, half_life_days: float = 4.0
) -> Scorer:
    return popularity(split.train, len(dataset.items), half_life_days=half_life_days)


def _text_knn(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    half_life_days: float | None = None,
    centred: bool = False,
) -> Scorer:
    """Items without text have no vector: that of their type's name would blur every user's mean.

    centred: subtract the mean vector, that which all texts have in common.
    """
    vectors, own = split.text(), has_text(dataset.items)
    if centred and own.any():
        vectors = vectors - vectors[own].mean(axis=0)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    vectors = vectors * own[:, None]
    return vector_knn(split.train, vectors, len(dataset.users), half_life_days=half_life_days)


def _item_cf(dataset: Dataset, split: Past, *, seed: int, progress: Progress) -> Scorer:
    return item_cf(split.train, len(dataset.users), len(dataset.items))


def _item_cf_decayed(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    half_life_days: float | None = 30.0,
    target_half_life_days: float | None = None,
) -> Scorer:
    return item_cf(
        split.train,
        len(dataset.users),
        len(dataset.items),
        half_life_days=half_life_days,
        target_half_life_days=target_half_life_days,
    )
