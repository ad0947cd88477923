"""The sequence tower of a bundle: users' vectors in one pass, and the items that are near them."""

import copy
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.items.features import average_bias
from dynamic_layer.optional_settings import SequenceSettings
from dynamic_layer.settings import IndexSettings
from dynamic_layer.towers.layers import ByteDropout
from dynamic_layer.towers.sequence_tower import GAPS, SequenceShape, SequenceTower, ordered
from static_layer.seeding import seeded

__all__ = ["FOLDER", "ServedSequence", "new_tower"]

#: Folder of its files in that of a bundle; bundles without a sequence tower have none.
FOLDER = "sequence"
_WEIGHTS = "sequence.safetensors"


def new_tower(settings: SequenceSettings, length: int, seed: int) -> SequenceTower:
    """Return a tower that has learned nothing; length: history entries that it reads."""
    shape = SequenceShape(
        width=settings.width, length=length, lags=settings.lags, blocks=settings.blocks,
        heads=settings.heads, dropout=settings.dropout, gaps=2 * GAPS,
    )  # fmt: skip
    with seeded(seed):
        return SequenceTower(shape, ByteDropout)


@dataclass
class ServedSequence:
    """A trained sequence tower, and the vectors of `n` items in its space.

    settings: with which it was trained; length: history entries that it reads, the newest ones.
    text_map: f32 [width, dt], from unit text vectors to the vectors of items without an event.
    served:   f32 [n, width + 1], item vectors, then biases: the inner product with a user's query
              (vector, 1) is the score.
    index:    over `served`. Removed items stay in it: a list maker leaves them out.
    new_bias: f32 [types], of items that come later.
    """

    settings: SequenceSettings
    length: int
    tower: SequenceTower
    text_map: Tensor
    served: NDArray[np.float32]
    index: ItemIndex
    new_bias: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        tower: SequenceTower,
        text_map: Tensor,
        served: NDArray[np.float32],
        type_number: NDArray[np.int64],
        *,
        types: int,
        settings: SequenceSettings,
        length: int,
        index: ItemIndex | IndexSettings,
    ) -> Self:
        """See the class; type_number: i64 [n]; types: number of item types."""
        if isinstance(index, IndexSettings):
            index = ItemIndex(served, type_number, index, queries=_like_users(served))
        return cls(
            settings=settings, length=length, tower=tower.eval(), text_map=text_map,
            served=served, index=index,
            new_bias=average_bias(served[:, -1], type_number, types),
        )  # fmt: skip

    def __len__(self) -> int:
        """Number of items, later ones included."""
        return len(self.served)

    def queries(
        self,
        history: NDArray[np.int64],
        age_s: NDArray[np.float32],
        strong: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return users' queries, f32 [b, width + 1], in one pass; without history: (zeros, 1).

        Histories newest entry first, [b, h]: history: item rows, -1 for none or unknown; age_s:
        seconds since the entry; strong: whether it has a strong event.
        """
        cut = slice(0, self.length)
        read = ordered(history[:, cut], age_s[:, cut], strong[:, cut])
        out = np.zeros((len(history), self.served.shape[1]), np.float32)
        out[:, -1] = 1.0
        some = np.flatnonzero(read.size)
        if len(some):
            vectors = torch.from_numpy(self.served[np.maximum(read.item[some], 0), :-1])
            with torch.no_grad():
                found = self.tower.last(
                    vectors, torch.from_numpy(read.gap[some]), torch.from_numpy(read.size[some])
                )
            out[some, :-1] = found.numpy()
        return out

    def copy(self) -> "ServedSequence":
        """Return one with items of its own that come later; the rest is shared."""
        other = copy.copy(self)
        other.index = self.index.copy()
        return other

    def add_items(self, text: NDArray[np.float32], type_number: NDArray[np.int64]) -> None:
        """Append items without an event: unit text vectors f32 [m, dt] and i64 [m]."""
        vectors = text @ self.text_map.numpy().T
        served = np.concatenate([vectors, self.new_bias[type_number][:, None]], axis=1)
        self.served = np.concatenate([self.served, served.astype(np.float32)])
        self.index.add(served.astype(np.float32), type_number)

    def save(self, folder: Path) -> None:
        """Write it to a folder of its own in that of a bundle."""
        own = folder / FOLDER
        own.mkdir()
        states = {f"tower.{name}": value for name, value in self.tower.state_dict().items()}
        states |= {"text_map": self.text_map, "served": torch.from_numpy(self.served)}
        shape = {"settings": json.dumps(asdict(self.settings)), "length": str(self.length)}
        states = {name: value.contiguous() for name, value in states.items()}
        save_file(states, own / _WEIGHTS, metadata=shape)
        self.index.save(own)

    @classmethod
    def load(
        cls, folder: Path, type_number: NDArray[np.int64], types: int, index: IndexSettings
    ) -> Self | None:
        """Read what `save` wrote; None where a bundle has no sequence tower.

        Raises ValueError where it has another number of items than the bundle.
        """
        own = folder / FOLDER
        if not (own / _WEIGHTS).exists():
            return None
        with safe_open(own / _WEIGHTS, framework="pt") as file:
            shape = file.metadata()
            states = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = {one.name for one in fields(SequenceSettings)}  # a later version may have more
        values = {name: v for name, v in json.loads(shape["settings"]).items() if name in known}
        settings, length = SequenceSettings(**values), int(shape["length"])
        served = states.pop("served").numpy()
        if len(served) != len(type_number):
            raise ValueError(
                f"expected {len(type_number)} items of the sequence tower, got {len(served)}"
            )
        tower, text_map = new_tower(settings, length, 0), states.pop("text_map")
        tower.load_state_dict({name.removeprefix("tower."): v for name, v in states.items()})
        return cls.of(
            tower, text_map, served, type_number, types=types, settings=settings, length=length,
            index=ItemIndex.load(own, served, type_number, index),
        )  # fmt: skip


def _like_users(served: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return queries to measure an index with, f32 [s, width + 1]: sums of two items' vectors."""
    if not len(served):
        return served
    rows = np.random.default_rng(0).integers(len(served), size=(2, 256))
    found = np.asarray(served[rows[0]] + served[rows[1]], np.float32)
    found[:, -1] = 1.0
    return found
