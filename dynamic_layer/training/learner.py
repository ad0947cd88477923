"""The towers in training: current and averaged weights, optimiser, draws of negatives."""

from collections.abc import Callable

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
from dynamic_layer.towers.loss import candidates, inclusion_log_q, sampled_softmax
from dynamic_layer.towers.two_tower import TwoTower


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
        self.steps = 0
        self.begin(features, types)

    def begin(self, features: ItemFeatures, types: int) -> None:
        """Begin with fresh weights."""
        width = features.content.shape[1]
        self._shape = (width, types)
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            self._model = self._towers()
            self._published = self._towers()
        self._published.load_state_dict(self._model.state_dict())
        # Fused: one pass over the weights. Otherwise Adam takes a tenth of a step.
        self._optimiser = torch.optim.Adam(
            self._model.parameters(), lr=self._settings.learning_rate, fused=True
        )
        self._averaged = 0  # steps in the published average

    def _towers(self) -> TwoTower:
        return TwoTower(*self._shape, self._settings.towers)

    def step(
        self,
        users: UserFeatures,
        target: Tensor,
        weight: Tensor,
        features: ItemFeatures,
        frequency: Tensor | None,
    ) -> Tensor:
        """Take one step; return the loss.

        target: i64 [b], item rows; weight: f32 [b]; features: of all items;
        frequency: share of the examples that have each item as target, f32 [n], where the recipe
        corrects for it.
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
                log_q=None if frequency is None else inclusion_log_q(frequency[items], len(target)),
            )
        )

    def descend(self, loss_of: Callable[[TwoTower], Tensor]) -> Tensor:
        """Take a step down a loss of the towers in training; return it."""
        self._model.train()
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
        model = self._towers()
        model.load_state_dict(self._published.state_dict())
        return model.eval()

    def saved(self) -> Saved:
        """Return everything that later steps depend on."""
        own = Saved(
            arrays={"rng": self._rng.get_state().numpy()},
            values={"steps": self.steps, "averaged": self._averaged, "shape": list(self._shape)},
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

        Where the types or the widths of the vectors are others, the towers stay fresh.
        """
        own = saved.part("own")
        self.steps = int(own.values["steps"])
        self._rng.set_state(torch.from_numpy(np.array(own.arrays["rng"])))
        if tuple(own.values["shape"]) != self._shape:
            return False
        self._averaged = int(own.values["averaged"])
        restore_module(self._model, saved.part("model"))
        restore_module(self._published, saved.part("published"))
        restore_optimiser(self._optimiser, saved.part("optimiser"))
        return True
