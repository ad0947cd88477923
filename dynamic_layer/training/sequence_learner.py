"""The sequence tower in training: the examples of the two towers, each entry of them a target."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

from dynamic_layer.bundles.sequence import ServedSequence, new_tower
from dynamic_layer.examples.ranking import history_rows
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.items.features import ItemRows, unit_texts
from dynamic_layer.items.trained_items import TrainedItems
from dynamic_layer.saved import (
    Saved,
    module_saved,
    optimiser_saved,
    restore_module,
    restore_optimiser,
)
from dynamic_layer.settings import DynamicSettings
from dynamic_layer.towers.layers import ByteDropout
from dynamic_layer.towers.sequence_fit import (
    SequenceModel,
    Sequences,
    drawn_softmax,
    neighbour_vectors,
)
from dynamic_layer.towers.sequence_tower import Ordered, SequenceItems, SequenceTower, ordered
from dynamic_layer.training.intake import example_weights

__all__ = ["HeldOutEvents", "SequenceLearner"]

#: Steps in which the learning rate rises to that of the settings.
_WARM_UP = 100
#: Steps between two updates of the averaged weights: one of all item vectors is a pass over them.
_AVERAGED_EVERY = 16
#: Examples whose histories are counted for the start vectors.
_COUNTED = 4_096
#: Parameters with a row for each item.
_BY_ITEM = ("items.own.weight", "items.bias")


class SequenceLearner:
    """Trains a sequence tower and its item vectors on examples that it is given.

    Guarantees: equal seeds, examples and items give equal weights, also when it was saved and
    restored between two steps; an item keeps what was learned of it when its row changes. Its item
    vectors do not depend on the HGNN, so that events from before the snapshot teach without a leak;
    events that are held out to judge by are in no history that it learns from.
    """

    def __init__(self, settings: DynamicSettings, *, seed: int) -> None:
        """Begin with the items of the first call."""
        self._settings, self._own, self._seed = settings, settings.sequence, seed
        self._length = settings.replay.history_cap
        self._dropped, self._drawn = torch.Generator(), torch.Generator()
        self.restart()

    def restart(self) -> None:
        """Forget what was learned."""
        self._model: SequenceModel | None = None
        self._saved = Saved(values={})  # of another learner, until the items are known
        self._rows: ItemRows | None = None
        self._keys: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._met = np.zeros(0, np.bool_)  # items with events
        self.steps = 0

    def step(
        self, examples: PaddedExamples, items: TrainedItems, held: "HeldOutEvents", replay: Replay
    ) -> float:
        """Take a step on some of the examples; return the loss, nan without targets.

        examples: of the towers' batch; held: events to leave out; replay: all examples; the
        earlier ones give the first step its start vectors.
        """
        model = self._of(items, replay, examples, held)
        chosen = np.unique(np.linspace(0, len(examples) - 1, self._own.examples).astype(np.int64))
        examples = examples.take(chosen).latest_entries(self._length)
        read, loss = _read(examples, items, held), self._settings.loss
        # Each entry is the target of those before it, and the example's own of them all.
        target = np.pad(read.item[:, 1:], ((0, 0), (0, 1)), constant_values=-1)
        weight = np.where(read.strong, 1.0, loss.weak_weight)
        weight = np.pad(weight[:, 1:], ((0, 0), (0, 1)))
        some = np.flatnonzero(read.size)
        target[some, read.size[some] - 1] = items.rows(examples.target[some])
        weight[some, read.size[some] - 1] = example_weights(examples, loss)[some]
        used = (target >= 0) & (weight > 0)
        self._met[read.item[read.item >= 0]] = True
        self._met[target[used]] = True
        if not used.any():
            return float("nan")
        return self._descend(model, read.item, read.gap, used, target[used], weight[used])

    def _descend(
        self,
        model: SequenceModel,
        item: NDArray[np.int64],
        gap: NDArray[np.int64],
        used: NDArray[np.bool_],
        target: NDArray[np.int64],
        weight: NDArray[np.float64],
    ) -> float:
        model.train()
        # By the number of the step: wherever training pauses, the next step draws the same.
        self._dropped.manual_seed(self._seed + self.steps)
        self._drawn.manual_seed(self._seed + self.steps)
        rows, place = torch.unique(torch.from_numpy(np.maximum(item, 0)), return_inverse=True)
        vectors = F.embedding(place, model.items(rows))
        found = model.tower(vectors, torch.from_numpy(gap))[torch.from_numpy(used)]
        loss = drawn_softmax(
            found, torch.from_numpy(target), model.items,
            torch.from_numpy(np.flatnonzero(self._met)), self._own.negatives,
            torch.from_numpy(weight.astype(np.float32)), self._drawn,
        )  # fmt: skip
        for optimiser in self._optimisers:
            optimiser.zero_grad()
            optimiser.param_groups[0]["lr"] = self._own.learning_rate * min(
                1.0, (self.steps + 1) / _WARM_UP
            )
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._dense(model), 1.0)
        for optimiser in self._optimisers:
            optimiser.step()
        self.steps += 1
        if self.steps % _AVERAGED_EVERY == 0:
            self._average(model)
        return float(loss.detach())

    def _average(self, model: SequenceModel) -> None:
        """Move the published weights towards the current ones."""
        # A young average would otherwise remember the start.
        decay = min(self._settings.averaging**_AVERAGED_EVERY, self.steps / (self.steps + 200))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._averaged.parameters()), list(model.parameters()), 1 - decay
            )

    def published(
        self, items: TrainedItems, held: "HeldOutEvents", replay: Replay
    ) -> ServedSequence:
        """Return the averaged tower with the vectors of all items; it does not change later.

        held, replay: as of `step`.
        """
        self._of(items, replay, None, held)
        model = self._averaged
        served = np.concatenate([model.vectors(), model.bias()[:, None]], axis=1)
        tower, text_map = copy.deepcopy(model.tower), model.items.map
        if not isinstance(tower, SequenceTower) or text_map is None:
            raise TypeError(f"expected a sequence tower over texts, got {type(tower).__name__}")
        return ServedSequence.of(
            tower, text_map.weight.detach().clone(), served,
            items.features.type_number.numpy(), types=len(items.types), settings=self._own,
            length=self._length, index=self._settings.index,
        )  # fmt: skip

    def saved(self) -> Saved:
        """Return everything that later steps depend on."""
        if self._model is None:
            return self._saved
        own = Saved(
            arrays={"keys": self._keys, "met": self._met},
            values={"steps": self.steps, "form": self._trained_form},
        )
        parts = {
            "own": own,
            "model": module_saved(self._model),
            "averaged": module_saved(self._averaged),
            "dense": optimiser_saved(self._optimisers[0]),
            "sparse": optimiser_saved(self._optimisers[1]),
        }
        return Saved.joined(parts)

    def restore(self, saved: Saved) -> None:
        """Go on where another was; one of another form begins again."""
        self.restart()
        self._saved = saved

    def _of(
        self,
        items: TrainedItems,
        replay: Replay,
        batch: PaddedExamples | None,
        held: "HeldOutEvents",
    ) -> SequenceModel:
        """Return the model of these items: rows of items that it knows move with their keys.

        replay, batch: examples whose histories give a model that has learned nothing its start
        vectors. Without any it is not kept: the first step begins again.
        """
        if self._model is not None and self._rows is items.rows:
            return self._model
        before = self.saved()
        if before.values and before.part("own").values["form"] != self._form(items):
            before = self._saved = Saved(values={})
        counted = None if before.values else self._counted(replay, batch)
        model = self._begin(items, None if counted is None else _read(counted, items, held))
        if before.values:
            self._resume(model, before)
        if before.values or counted is not None:
            self._model = model
        return model

    def _counted(self, replay: Replay, batch: PaddedExamples | None) -> PaddedExamples | None:
        """Return the examples to count; None without any.

        A head's first lists are made of the later ones: what they ask for must not be counted.
        While the earlier ones are few, the batch stands for them.
        """
        ranking, numbers = self._settings.ranking, replay.numbers()
        left = max(ranking.first_share * len(numbers), ranking.first_least)
        earlier = numbers[: max(0, len(numbers) - int(left))]
        if len(earlier) < (1 if batch is None else len(batch)):
            return batch
        places = np.unique(np.linspace(0, len(earlier) - 1, _COUNTED).astype(np.int64))
        return replay.take(earlier[places], self._length)

    def _begin(self, items: TrainedItems, counted: Ordered | None) -> SequenceModel:
        self._rows, self._keys = items.rows, np.asarray(items.static.item_keys)
        self._trained_form = self._form(items)
        start = np.zeros((len(self._keys), self._own.width), np.float32)
        if counted is not None:
            start = _start_vectors(counted, len(self._keys), self._own.width)
        self._met = np.asarray(start.any(axis=1), np.bool_)
        content = unit_texts(items.features.content[:, : items.text_width].numpy())
        model = SequenceModel(
            new_tower(self._own, self._length, self._seed),
            SequenceItems(start, content, sparse=True), self._length,
        )  # fmt: skip
        self._averaged = copy.deepcopy(model)
        for layer in model.modules():
            if isinstance(layer, ByteDropout):
                layer.generator = self._dropped
        rate = self._own.learning_rate
        self._optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(self._dense(model), lr=rate, betas=(0.9, 0.98)),
            torch.optim.SparseAdam([model.items.own.weight], lr=rate, betas=(0.9, 0.98)),
        ]
        self.steps = 0
        return model

    def _resume(self, model: SequenceModel, saved: Saved) -> None:
        own = saved.part("own")
        keys = own.arrays["keys"]
        place = ItemRows(keys)(self._keys)
        names = [name for name, _ in model.named_parameters() if name != _BY_ITEM[0]]
        bias = f"{names.index(_BY_ITEM[1])}."

        def moved(part: str, by_item: tuple[str, ...]) -> Saved:
            arrays = {
                name: _moved(array, place, len(keys))
                if name.startswith(by_item) and array.ndim
                else array
                for name, array in saved.part(part).arrays.items()
            }
            return Saved(arrays=arrays)

        restore_module(model, moved("model", _BY_ITEM))
        restore_module(self._averaged, moved("averaged", _BY_ITEM))
        restore_optimiser(self._optimisers[0], moved("dense", (bias,)))
        restore_optimiser(self._optimisers[1], moved("sparse", ("0.",)))
        for state in self._optimisers[1].state.values():
            state["step"] = int(state["step"])  # as SparseAdam counts
        self._met = _moved(own.arrays["met"], place, len(keys))
        self.steps = int(own.values["steps"])

    @staticmethod
    def _dense(model: SequenceModel) -> list[nn.Parameter]:
        return [value for name, value in model.named_parameters() if name != _BY_ITEM[0]]

    def _form(self, items: TrainedItems) -> list[int]:
        """Return what decides the shapes of the weights, but for the number of items."""
        own = self._own
        return [own.width, own.lags, own.blocks, own.heads, self._length, items.text_width]


class HeldOutEvents:
    """Finds the events of a memory in histories, which tell items and times."""

    def __init__(self, memory: Replay) -> None:
        """memory: the examples that are held out."""
        self._memory, self._read = memory, (-1, -1)
        self._rows: ItemRows | None = None
        self._known: NDArray[np.int64] = np.zeros(0, np.int64)

    def among(
        self, item: NDArray[np.int64], at_s: NDArray[np.float64], rows: ItemRows
    ) -> NDArray[np.bool_]:
        """Return which entries are events held out, of [b, t] each.

        item: item rows, -1 for none; at_s: seconds UTC, to one or two; rows: of the items.
        """
        memory = self._memory
        read = (memory.written, memory.numbered)
        if read != self._read or self._rows is not rows:
            target = rows(memory.targets())
            self._known = _marks(target, memory.timestamps() // 1_000)[target >= 0]
            self._read, self._rows = read, rows
        mark, found = _marks(item, np.rint(at_s).astype(np.int64)), np.zeros(item.shape, np.bool_)
        for apart in (-2, -1, 0, 1, 2):  # f32 tells ages of months to a second or two
            found |= np.isin(mark + apart, self._known)
        return found & (item >= 0)


def _marks(item: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray((item << 34) + second)


def _moved(array: NDArray[Any], place: NDArray[np.int64], before: int) -> NDArray[Any]:
    """Return an array with the rows of other items, 0 for new ones.

    place: i64 [n], rows before, -1 for new items; before: their number. A row behind them, which
    stands for no item, stays behind.
    """
    nothing = np.zeros((1, *array.shape[1:]), array.dtype)
    return np.concatenate([np.concatenate([array[:before], nothing])[place], array[before:]])


def _read(examples: PaddedExamples, items: TrainedItems, held: HeldOutEvents) -> Ordered:
    """Return the histories of examples without the events that are held out."""
    row = history_rows(examples, items.rows)
    at_s = examples.timestamp[:, None] / 1_000 - examples.history_age
    row = np.where(held.among(row, at_s, items.rows), -1, row)
    return ordered(row, examples.history_age, examples.history_strong)


def _start_vectors(read: Ordered, n: int, width: int) -> NDArray[np.float32]:
    """Return `neighbour_vectors` of histories, f32 [n, width]; zeros for other items."""
    met, item = np.unique(read.item[read.item >= 0], return_inverse=True)
    indptr = np.concatenate([[0], np.cumsum(read.size)])
    known = Sequences(indptr=indptr, item=item, gap=np.zeros_like(item))
    found = np.zeros((n, width), np.float32)
    found[met] = neighbour_vectors(known, len(met), width)
    return found
