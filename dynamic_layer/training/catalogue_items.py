"""A catalogue in memory in the form of a static bundle, and settings of towers trained on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.settings import (
    DynamicSettings,
    LossSettings,
    PopularitySettings,
    ReplaySettings,
    TowerSettings,
)


def offline_settings() -> DynamicSettings:
    """Return the towers' settings for events in memory, without the weight of popularity.

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
