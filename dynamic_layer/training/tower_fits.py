"""A two-tower over a past that is at hand: trained up to a moment, then carried on to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.examples.from_events import examples_of
from dynamic_layer.items.features import UserFeatures
from dynamic_layer.settings import (
    DynamicSettings,
    LossSettings,
    PopularitySettings,
    ReplaySettings,
    TowerSettings,
)
from dynamic_layer.training.trainer import Trainer

_CHUNK = 512
_DAY_S = 86_400.0


def offline_settings() -> DynamicSettings:
    """Return the towers' settings for a past at hand; popularity is the head's business.

    Narrower than the papers' towers and with more uniform negatives: measured on lfm1m.
    """
    return DynamicSettings(
        batch_size=512,
        towers=TowerSettings(layers=(256, 128), half_lives_days=(5.0, 30.0)),
        loss=LossSettings(uniform_negatives=1_024),
        replay=ReplaySettings(
            history_cap=100, epochs=2.0, holdout_share=0.001, window_days=3_650.0
        ),
        popularity=PopularitySettings(weights=(0.0,), half_lives_days=(7.0,), fit_examples=16),
    )


@dataclass(frozen=True, kw_only=True)
class TowerFitSettings:
    """How the two-tower behind a head is trained.

    first_examples: latest events that the first fit is trained on; earlier ones are history only.
    dynamic:        of the trainer.
    """

    first_examples: int = 100_000
    dynamic: DynamicSettings = field(default_factory=offline_settings)


@dataclass(frozen=True, kw_only=True)
class CatalogueItems:
    """The part of a static bundle that the trainer reads, made of a catalogue without a graph.

    The HGNN's place holds `vectors` of any kind, f32 [n, e], or zeros.
    """

    item_keys: NDArray[np.uint64]
    item_ids: Sequence[str]
    item_types: Sequence[str]
    languages: Sequence[str | None]
    genres: Sequence[Sequence[str] | None]
    titles: Sequence[str | None]
    text: NDArray[Any]
    hgnn: NDArray[np.float32]
    manifest: Mapping[str, Any] = field(default_factory=lambda: {"name": "catalogue"})


class TowerFits:
    """One trainer that moves forward through the events of a past.

    Guarantees: what `at` returns was trained on events before the moment alone.
    """

    def __init__(
        self, items: CatalogueItems, settings: TowerFitSettings, *, use_hgnn: bool, seed: int
    ) -> None:
        """items: of the whole catalogue; row numbers are their places."""
        self._items, self._settings = items, settings
        self._trainer = Trainer(items, settings.dynamic, seed=seed, use_hgnn=use_hgnn)
        self._read = -1

    def at(
        self,
        moment: Moment,
        *,
        user: NDArray[np.int64],
        item: NDArray[np.int64],
        timestamp: NDArray[np.int64],
        strong: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return unit vectors of users and items, f32 [users, d] and f32 [items, d].

        Columns [n]: the events before the moment in order of time; what earlier calls gave is
        their beginning. Raises ValueError for an event at or after the moment.
        """
        if len(timestamp) and timestamp[-1] >= moment.at_ms:
            raise ValueError(f"expected events before {moment.at_ms}, got one at {timestamp[-1]}")
        first = self._read
        if first < 0:
            first = max(0, len(user) - self._settings.first_examples)
        examples = examples_of(
            user=user,
            item_key=self._items.item_keys[item],
            timestamp=timestamp,
            strong=strong,
            first=first,
            history_cap=self._settings.dynamic.replay.history_cap,
        )
        self._read = len(user)
        self._trainer.add(examples)
        self._trainer.train()
        bundle = self._trainer.publish()
        cap = self._settings.dynamic.replay.history_cap
        users = [
            bundle.user_vectors(user_features(moment.histories.take(rows), cap)).numpy()
            for rows in np.array_split(
                np.arange(len(moment.histories)), max(1, len(moment.histories) // _CHUNK)
            )
        ]
        return np.concatenate(users).astype(np.float32), bundle.vectors


def user_features(histories: Histories, cap: int) -> UserFeatures:
    """Return histories as the user tower reads them; country and age are unknown."""
    b = len(histories)
    size = np.minimum(np.diff(histories.indptr), cap)
    owner = np.repeat(np.arange(b), size)
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    entry = histories.indptr[:-1][owner] + place
    history = np.full((b, cap), -1, np.int64)
    age_s = np.zeros((b, cap), np.float32)
    history[owner, place] = histories.item[entry]
    age_s[owner, place] = histories.age_days[entry] * np.float32(_DAY_S)
    return UserFeatures(
        history=torch.from_numpy(history),
        age_s=torch.from_numpy(age_s),
        strong=torch.ones(b, cap, dtype=torch.bool),
        country=torch.zeros(b, dtype=torch.int64),
        age=torch.zeros(b, dtype=torch.int64),
    )
