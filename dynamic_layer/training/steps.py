"""A step of the towers on a batch of examples, and what many of them came to."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.examples.same_user import later_events
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.training.intake import example_weights
from dynamic_layer.training.learner import Learner

__all__ = ["Steps", "TrainingStats"]


@dataclass(frozen=True, kw_only=True)
class TrainingStats:
    """What a call of `train` did.

    steps: optimiser steps; examples: examples in them; seconds: wall time;
    loss: mean loss, nan without steps; pending: new examples not yet trained on.
    """

    steps: int
    examples: int
    seconds: float
    loss: float
    pending: int


class Steps:
    """Turns examples into what the loss reads, and has a learner take a step."""

    def __init__(self, settings: DynamicSettings, learner: Learner) -> None:
        """learner: of the towers."""
        self._settings, self._learner = settings, learner
        self.count_again()

    def count_again(self) -> None:
        """Count the targets again: rows of items, or the examples held, are others."""
        self._counted = -1  # examples in the replay when frequencies were counted
        self._frequency = torch.zeros(0)

    def take(self, examples: PaddedExamples, items: TrainedItems, replay: Replay) -> Tensor:
        """Take a step on examples; return the loss. replay: tells how frequent targets are."""
        settings = self._settings
        target = torch.from_numpy(items.rows(examples.target))
        known = target >= 0
        later = None
        if settings.loss.mask_next:
            earlier, after = (torch.from_numpy(part) for part in later_events(examples))
            both = known[earlier] & known[after]
            later = earlier[both], after[both]
        return self._learner.step(
            user_features(examples, items.rows, settings.replay.history_cap),
            target.clamp(min=0),
            torch.from_numpy(example_weights(examples, settings.loss)) * known,
            items.features,
            self._frequencies(items, replay) if settings.loss.log_q else None,
            later,
        )

    def _frequencies(self, items: TrainedItems, replay: Replay) -> Tensor:
        if self._counted != replay.written:
            rows = items.rows(replay.targets())
            counts = np.bincount(rows[rows >= 0], minlength=len(items.features))
            self._frequency = torch.from_numpy(counts / max(1, counts.sum())).float()
            self._counted = replay.written
        return self._frequency
