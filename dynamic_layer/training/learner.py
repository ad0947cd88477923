"""The towers in training: current and averaged weights, optimiser, draws of negatives."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dynamic_layer.items.features import ItemFeatures, UserFeatures
from dynamic_layer.saved import (
    Saved,
    module_saved,
    optimiser_saved,
    restore_module,
    restore_optimiser,
)
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.towers.growing import grow_towers
from dynamic_layer.towers.layers import ByteDropout
from dynamic_layer.towers.two_tower import TwoTower, candidates, inclusion_log_q, sampled_softmax
from static_layer.seeding import seeded


class Learner:
    """Takes steps of training on batches that it is given.

    Guarantees: equal seeds, batches and items give equal weights, also when it was saved and
    restored between two steps.
    """

    def __init__(
        self, settings: DynamicSettings, *, seed: int, features: ItemFeatures, types: int
    ) -> None:
        """features: of the items; types: number of item types."""
        self._settings, self._seed = settings, seed
        self._rng = torch.Generator().manual_seed(seed)
        self._dropped = torch.Generator()
        self.steps = 0
        self.begin(features, types)

    def begin(self, features: ItemFeatures, types: int) -> None:
        """Begin with fresh weights."""
        width = features.content.shape[1]
        self._shape = (width, types)
        self._model, self._published = self._towers(), self._towers()
        self._published.load_state_dict(self._model.state_dict())
        self._prepare()
        self._averaged = 0  # steps in the published average

    def _prepare(self) -> None:
        """Make the optimiser of the towers in training, and give these their random numbers."""
        for layer in self._model.modules():
            if isinstance(layer, ByteDropout):
                layer.generator = self._dropped
        # Fused: one pass over the weights. Otherwise Adam takes a tenth of a step.
        self._optimiser = torch.optim.Adam(
            self._model.parameters(), lr=self._settings.learning_rate, fused=True
        )

    def forget_moments(self) -> None:
        """Begin Adam's moments again: those of another loss would lead the next steps astray."""
        self._optimiser.state.clear()

    def grow(self, before: Sequence[str], after: Sequence[str]) -> bool:
        """Read items of other types from now on, with what was learned of the common ones.

        before, after: names of the types, by number. Returns False, with nothing changed, where
        the weights do not fit: see `grow_towers`.
        """
        if list(before) == list(after):
            return True
        shape = self._shape
        self._shape = (shape[0], len(after))
        grown = []
        for old in (self._model, self._published):
            fresh = self._towers()
            if not grow_towers(old, fresh, before, after):
                self._shape = shape
                return False
            grown.append(fresh)
        self._model, self._published = grown
        self._prepare()
        return True

    def _towers(self) -> TwoTower:
        with seeded(self._seed):
            return TwoTower(*self._shape, self._settings.towers)

    def step(
        self,
        users: UserFeatures,
        target: Tensor,
        weight: Tensor,
        features: ItemFeatures,
        frequency: Tensor | None,
        later: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Take one step; return the loss.

        target: i64 [b], item rows; weight: f32 [b]; features: of all items;
        frequency: share of the examples that have each item as target, f32 [n], where the recipe
        corrects for it; later: see `sampled_softmax`.
        """
        settings = self._settings
        uniform = torch.randint(
            len(features), (settings.loss.uniform_negatives,), generator=self._rng
        )
        items, place = candidates(target, uniform)
        return self.descend(
            lambda model: sampled_softmax(
                model.user(users, features.content, features.type_number),
                model.item(features.take(items)),
                place,
                weight,
                temperature=model.temperature,
                later=later,
                log_q=None if frequency is None else inclusion_log_q(frequency[items], len(target)),
            )
        )

    def descend(self, loss_of: Callable[[TwoTower], Tensor]) -> Tensor:
        """Take a step down a loss of the towers in training; return it."""
        self._model.train()
        # By the number of the step: wherever training pauses, the next step drops the same.
        self._dropped.manual_seed(self._seed + self.steps)
        loss = loss_of(self._model)
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        self.steps += 1
        self._average()
        return loss.detach()

    def _average(self) -> None:
        """Move the published weights towards the current ones."""
        self._averaged += 1
        # A young average would otherwise remember the random start.
        decay = min(self._settings.averaging, self._averaged / (self._averaged + 10))
        if self._settings.averaging == 0:
            decay = 0.0
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._published.parameters()), list(self._model.parameters()), 1 - decay
            )

    def published(self) -> TwoTower:
        """Return a copy of the averaged towers; later training does not change it."""
        return copy.deepcopy(self._published).eval()

    def saved(self) -> Saved:
        """Return everything that later steps depend on."""
        own = Saved(
            arrays={"rng": self._rng.get_state().numpy()},
            values={
                "steps": self.steps,
                "averaged": self._averaged,
                "shape": list(self._shape),
                "groups": self._model.user.groups,
            },
        )
        return Saved.joined(
            {
                "own": own,
                "model": module_saved(self._model),
                "published": module_saved(self._published),
                "optimiser": optimiser_saved(self._optimiser),
            }
        )

    def restore(self, saved: Saved) -> bool:
        """Go on where another learner was; return whether its weights fit these items.

        Where the types, their pools or the widths of the vectors are others, the towers stay fresh.
        """
        own = saved.part("own")
        self.steps = int(own.values["steps"])
        self._rng.set_state(torch.from_numpy(np.array(own.arrays["rng"])))
        if tuple(own.values["shape"]) != self._shape:
            return False
        # Earlier versions pooled histories for each type, however many there were.
        if own.values.get("groups", self._shape[1]) != self._model.user.groups:
            return False
        self._averaged = int(own.values["averaged"])
        restore_module(self._model, saved.part("model"))
        restore_module(self._published, saved.part("published"))
        restore_optimiser(self._optimiser, saved.part("optimiser"))
        return True
