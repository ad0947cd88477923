"""A step of the towers on a batch of examples, and what many of them came to."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynamic_layer.bundles.sequence import ServedSequence
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.examples.same_user import later_events
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.saved import Saved
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.training.intake import example_weights
from dynamic_layer.training.learner import Learner
from dynamic_layer.training.sequence_learner import HeldOutEvents, SequenceLearner

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

    def __init__(
        self,
        settings: DynamicSettings,
        learner: Learner,
        held_out: Replay,
        *,
        seed: int,
    ) -> None:
        """learner: of the two towers; held_out: examples to judge by; seed: of a sequence tower."""
        self._settings, self._learner = settings, learner
        own = settings.sequence.enabled
        self._sequence = SequenceLearner(settings, seed=seed) if own else None
        self._held = HeldOutEvents(held_out)
        self.begin()

    def begin(self) -> None:
        """Begin with fresh towers."""
        self.count_again()
        if self._sequence is not None:
            self._sequence.restart()

    def sequence(self, items: TrainedItems, replay: Replay) -> ServedSequence | None:
        """Return the sequence tower for a bundle; None where the settings have none."""
        if self._sequence is None:
            return None
        return self._sequence.published(items, self._held, replay)

    def saved(self) -> dict[str, Saved]:
        """Return the parts of a checkpoint that are of the sequence tower."""
        return {} if self._sequence is None else {"sequence": self._sequence.saved()}

    def restore(self, saved: Saved) -> None:
        """Go on where another was; checkpoints without a sequence tower have none to go on with."""
        if self._sequence is not None and "sequence" in saved.values:
            self._sequence.restore(saved.part("sequence"))

    def count_again(self) -> None:
        """Count the targets again: rows of items, or the examples held, are others."""
        self._counted = -1  # examples in the replay when frequencies were counted
        self._frequency = torch.zeros(0)

    def take(self, examples: PaddedExamples, items: TrainedItems, replay: Replay) -> Tensor:
        """Take a step on examples; return the loss of the two towers.

        replay: tells how frequent targets are.
        """
        settings = self._settings
        if self._sequence is not None:
            self._sequence.step(examples, items, self._held, replay)
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
