"""The ranking head: a small network over the features of candidates, learned listwise."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import silu

from dynamic_layer.errors import CorruptBundle
from dynamic_layer.head.listwise import Expected, listwise_loss
from dynamic_layer.saved import (
    Saved,
    generator_saved,
    module_saved,
    optimiser_saved,
    restore_generator,
    restore_module,
    restore_optimiser,
)
from dynamic_layer.settings import HeadSettings
from static_layer.seeding import seeded

FILE = "head.safetensors"


@dataclass(frozen=True, kw_only=True)
class Lists:
    """`u` lists of at most `c` candidates.

    features: f16 or f32 [u, c, f]; label: bool [u, c], what the user went on to meet;
    valid: bool [u, c], where there is a candidate.
    """

    features: NDArray[np.floating]
    label: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of lists."""
        return len(self.label)

    def __post_init__(self) -> None:
        """Check that the columns fit each other; raises ValueError when they do not."""
        if not self.features.shape[:2] == self.label.shape == self.valid.shape:
            shapes = (self.features.shape, self.label.shape, self.valid.shape)
            raise ValueError(f"expected [u, c, f], [u, c] and [u, c], got {shapes}")


class RankingHead(nn.Module):
    """Scores candidates: a linear part plus one hidden layer, over features at unit variance."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, names: Sequence[str], hidden: int = 32) -> None:
        """names: of the features, in order; hidden: width of the hidden layer, 0 for none."""
        super().__init__()
        self.names, self.hidden = list(names), hidden
        width = len(self.names)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.linear = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.inner = nn.Linear(width, hidden) if hidden else None
        self.outer = nn.Linear(hidden, 1, bias=False) if hidden else None

    def begin(self, weights: Mapping[str, float]) -> None:
        """Set the linear part, over features at unit variance, by name; others are 0."""
        linear = torch.tensor([[weights.get(name, 0.0) for name in self.names]])
        self.linear.load_state_dict({"weight": linear})

    def rescale(self, mean: Tensor, deviation: Tensor) -> None:
        """Read features with another mean and deviation, f32 [f]; no order of a list changes.

        Scores change by a constant.
        """
        with torch.no_grad():
            ratio, shift = deviation / self.deviation, (mean - self.mean) / self.deviation
            self.linear.weight.mul_(ratio)
            if self.inner is not None:
                self.inner.bias.add_(self.inner.weight @ shift)
                self.inner.weight.mul_(ratio)
            self.mean.copy_(mean)
            self.deviation.copy_(deviation)

    def forward(self, features: Tensor) -> Tensor:
        """Return the scores f32 [...] of features f32 [..., f]."""
        scaled = (features - self.mean) / self.deviation
        score: Tensor = self.linear(scaled)
        if self.inner is not None and self.outer is not None:
            score = score + self.outer(silu(self.inner(scaled)))
        return score.squeeze(-1)

    def scores(
        self, features: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return the scores f32 [b, c]; -inf where there is no candidate."""
        with torch.no_grad():
            read = torch.from_numpy(np.asarray(features, np.float32)).flatten(0, 1)
            # What `forward` says, with the deviations in the weights: one pass less.
            centred = read - self.mean
            score = centred @ (self.linear.weight / self.deviation)[0]
            if self.inner is not None and self.outer is not None:
                inner = torch.addmm(
                    self.inner.bias, centred, (self.inner.weight / self.deviation).T
                )
                score += silu(inner, inplace=True) @ self.outer.weight[0]
        return np.where(valid, score.numpy().reshape(valid.shape), np.float32(-np.inf))

    def save(self, folder: Path) -> None:
        """Write the head to `head.safetensors` in a folder."""
        shape = {"names": json.dumps(self.names), "hidden": str(self.hidden)}
        states = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(states, folder / FILE, metadata=shape)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises CorruptBundle when it is missing or does not fit."""
        try:
            with safe_open(folder / FILE, framework="pt") as file:
                shape = file.metadata()
                states = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            with seeded(0):
                head = cls(json.loads(shape["names"]), int(shape["hidden"]))
            head.load_state_dict(states)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise CorruptBundle(f"expected a head in {folder.name}/{FILE}: {error}") from error
        return head.eval()


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Number, sum f64 [f] and sum of squares f64 [f] of the features of some candidates."""

    count: float
    sum: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def of(cls, lists: Lists) -> Self:
        inside = lists.features[lists.valid].astype(np.float64)
        return cls(count=float(len(inside)), sum=inside.sum(axis=0), square=(inside**2).sum(axis=0))


class HeadTrainer:
    """Learns a head from lists, continually.

    Guarantees: memory is bounded by `capacity` lists; new lists are trained on `epochs` times,
    among those at hand, and then training rests; equal seeds, lists and steps give equal weights.
    The caller sees to it that features were read before what their labels say happened.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: HeadSettings | None = None,
        *,
        seed: int,
        start: Mapping[str, float] | None = None,
        initial: Mapping[str, float] | None = None,
    ) -> None:
        """names: of the features, in order.

        start: linear weights by name that training starts from; others start at 0.
        initial: likewise, but of the features as they are, before they are scaled, and the hidden
        layer starts silent: with few lists a head is no worse than the ranking they stand for.
        """
        self._initial = dict(initial or {})
        self._expected: Expected | None = None
        self.settings = settings or HeadSettings()
        self._rng = np.random.default_rng(seed)
        with seeded(seed):
            self._head = RankingHead(names, self.settings.hidden)
        if start is not None:
            self._head.begin(start)
        self._published = copy.deepcopy(self._head)
        self._optimiser = torch.optim.AdamW(
            self._head.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        self._kept: list[Lists] = []
        self._sums: list[_Sums] = []  # of the features of each part of `_kept`
        self._owed = 0.0
        self._steps = 0

    def expect(self, weights: Mapping[str, float], learned: Sequence[str]) -> None:
        """Say what a head of fewer than `few_lists` lists is; see `Expected`."""
        self._expected = Expected(dict(weights), list(learned))

    def add(self, lists: Lists) -> int:
        """Keep the lists that have a positive and a negative; return how many."""
        positive = (lists.label & lists.valid).any(axis=1)
        negative = (~lists.label & lists.valid).any(axis=1)
        useful = np.flatnonzero(positive & negative)
        kept = self._sampled(lists, useful)
        if not len(kept):
            return 0
        self._kept.append(kept)
        self._sums.append(_Sums.of(kept))
        self._owed += self.settings.epochs * len(kept)
        while len(self._kept) > 1 and self.held - len(self._kept[0]) >= self.settings.capacity:
            self._kept.pop(0)
            self._sums.pop(0)
        return len(kept)

    @property
    def held(self) -> int:
        """Lists in memory."""
        return sum(len(lists) for lists in self._kept)

    def _sampled(self, lists: Lists, rows: NDArray[np.int64]) -> Lists:
        """Return some lists cut to their positives and a draw of their negatives."""
        label, valid = lists.label[rows] & lists.valid[rows], lists.valid[rows]
        width = min(valid.shape[1], self.settings.negatives)
        # Positives first, then negatives in random order, then places without a candidate.
        order = np.argsort(
            self._rng.random(valid.shape) + 2.0 * ~valid - 1.0 * label, axis=1, kind="stable"
        )[:, :width]
        return Lists(
            features=lists.features[rows[:, None], order].astype(np.float16),
            label=np.take_along_axis(label, order, axis=1),
            valid=np.take_along_axis(valid, order, axis=1),
        )

    def train(self, max_steps: int | None = None) -> float:
        """Train until the limit, or until the lists had their epochs; return the mean loss.

        Few lists wait for more: until then, `publish` fits a head to them.
        """
        losses: list[float] = []
        if not self._kept or self._few() is not None:
            return float("nan")
        self._scale()
        starts = np.cumsum([0] + [len(lists) for lists in self._kept])
        self._head.train()
        while self._owed > 0 and (max_steps is None or len(losses) < max_steps):
            order = self._rng.permutation(starts[-1])
            for first in range(0, len(order), self.settings.batch_size):
                rows = np.sort(order[first : first + self.settings.batch_size])
                losses.append(self._step(self._batch(rows, starts)))
                self._owed -= len(rows)
                if self._owed <= 0 or (max_steps is not None and len(losses) >= max_steps):
                    break
        return float(np.mean(losses)) if losses else float("nan")

    def _scale(self) -> None:
        """Bring the features of the lists at hand to unit variance; what was learned stays true.

        Features drift: the first lists of a stream have few counts and short histories.
        """
        count, total, square = (
            sum(getattr(part, name) for part in self._sums) for name in ("count", "sum", "square")
        )
        mean = total / max(count, 1.0)
        deviation = np.sqrt(np.maximum(square / max(count, 1.0) - mean**2, 0.0))
        scale = torch.from_numpy(np.where(deviation > 1e-4, deviation, 1.0)).float()
        middle = torch.from_numpy(mean).float()
        ratio = scale / self._head.deviation
        for head in (self._head, self._published):
            head.rescale(middle, scale)
            if not self._steps:
                self._begin(head)
        # Gradients change as the weights do, the other way round.
        linear, inner = self._head.linear, self._head.inner
        for layer in (linear,) if inner is None else (linear, inner):
            state = self._optimiser.state.get(layer.weight, {})
            for name, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
                if name in state:
                    state[name].mul_(ratio**power)

    def _begin(self, head: RankingHead) -> None:
        """Have a head rank by the initial weights alone."""
        if not self._initial:
            return
        with torch.no_grad():
            for place, name in enumerate(head.names):
                weight = self._initial.get(name, 0.0)
                head.linear.weight[0, place] = weight * head.deviation[place]
            if head.outer is not None:
                head.outer.weight.zero_()

    def _batch(self, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> Lists:
        part = np.searchsorted(starts, rows, side="right") - 1
        chosen = [(self._kept[p], rows[part == p] - starts[p]) for p in np.unique(part)]
        width = max(lists.label.shape[1] for lists, _ in chosen)

        def joined(name: str) -> NDArray[np.float32]:
            columns = []
            for lists, places in chosen:
                column = getattr(lists, name)[places]
                empty = [(0, 0)] * column.ndim
                empty[1] = (0, width - column.shape[1])
                columns.append(np.pad(column, empty))
            return np.concatenate(columns)

        return Lists(
            features=joined("features"),
            label=joined("label").astype(np.bool_),
            valid=joined("valid").astype(np.bool_),
        )

    def _step(self, lists: Lists) -> float:
        features = torch.from_numpy(np.asarray(lists.features, np.float32))
        loss = listwise_loss(
            self._head(features), torch.from_numpy(lists.label), torch.from_numpy(lists.valid)
        )
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        self._steps += 1
        decay = min(self.settings.averaging, self._steps / (self._steps + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._published.parameters()), list(self._head.parameters()), 1 - decay
            )
        return float(loss.detach())

    def publish(self) -> RankingHead:
        """Return the averaged head, of few lists the one that is fitted to them.

        Later training does not change it.
        """
        expected = self._few()
        if expected is None:
            return copy.deepcopy(self._published).eval()
        self._scale()
        head = copy.deepcopy(self._head)
        starts = np.cumsum([0] + [len(lists) for lists in self._kept])
        lists = self._batch(np.arange(starts[-1]), starts)
        weights = expected.after(
            head.names,
            head.deviation,
            (torch.from_numpy(lists.features) - head.mean) / head.deviation,
            torch.from_numpy(lists.label),
            torch.from_numpy(lists.valid),
            self.settings.few_strength,
        )
        with torch.no_grad():
            head.linear.weight.copy_(weights[None])
            if head.outer is not None:
                head.outer.weight.zero_()
        return head.eval()

    def _few(self) -> Expected | None:
        """Return what is expected while there are few lists, but any; None else."""
        few = 0 < self.held < self.settings.few_lists
        return self._expected if few else None

    def saved(self) -> Saved:
        """Return everything that later training depends on, the lists included."""
        own = Saved(
            values={
                "owed": self._owed,
                "steps": self._steps,
                "rng": generator_saved(self._rng),
                "expected": self._expected and self._expected._asdict(),
            },
        )
        lists = {f"{n:06d}": Saved(arrays=vars(kept)) for n, kept in enumerate(self._kept)}
        return Saved.joined(
            {
                "own": own,
                "head": module_saved(self._head),
                "published": module_saved(self._published),
                "optimiser": optimiser_saved(self._optimiser),
                "lists": Saved.joined(lists),
            }
        )

    def restore(self, saved: Saved) -> None:
        """Go on where another trainer of the same features was."""
        own = saved.part("own")
        self._owed, self._steps = float(own.values["owed"]), int(own.values["steps"])
        restore_generator(self._rng, own.values["rng"])
        # Checkpoints of earlier versions know nothing of it.
        expected = own.values.get("expected")
        self._expected = None if expected is None else Expected(**expected)
        restore_module(self._head, saved.part("head"))
        restore_module(self._published, saved.part("published"))
        restore_optimiser(self._optimiser, saved.part("optimiser"))
        lists = saved.part("lists")
        self._kept = [Lists(**lists.part(name).arrays) for name in sorted(lists.values)]
        self._sums = [_Sums.of(kept) for kept in self._kept]

    def manifest(self) -> dict[str, object]:
        """Return settings, steps and lists seen, for a bundle's manifest."""
        return {"settings": asdict(self.settings), "steps": self._steps, "lists": self.held}
