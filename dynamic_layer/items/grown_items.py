"""A static bundle with the items that came into the catalogue after it was made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from dynamic_layer.items.features import ItemRows, StaticItems
from dynamic_layer.items.published import published_ms


@dataclass(frozen=True, kw_only=True)
class NewItems:
    """`m` items of the catalogue that a bundle does not have.

    text: [m, dt], from the encoder of the static bundle. published_ms: i64 [m], see `times_of`;
    None: they were always there.
    """

    item_keys: NDArray[np.uint64]
    item_ids: Sequence[str]
    item_types: Sequence[str]
    languages: Sequence[str | None]
    genres: Sequence[Sequence[str] | None]
    text: NDArray[Any]
    titles: Sequence[str | None] | None = None
    published_ms: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_keys)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the items at some rows, i64 [k]."""
        chosen: list[int] = rows.tolist()
        return type(self)(
            item_keys=self.item_keys[rows],
            item_ids=[self.item_ids[row] for row in chosen],
            item_types=[self.item_types[row] for row in chosen],
            languages=[self.languages[row] for row in chosen],
            genres=[self.genres[row] for row in chosen],
            text=np.asarray(self.text)[rows],
            titles=None if self.titles is None else [self.titles[row] for row in chosen],
            published_ms=None if self.published_ms is None else self.published_ms[rows],
        )

    def addable(self, known: ItemRows, types: Collection[str]) -> Self:
        """Return the items that are not known and whose type is, each once."""
        of_type = np.array([name in types for name in self.item_types], np.bool_)
        new = np.flatnonzero((known(self.item_keys) < 0) & of_type)
        _, first = np.unique(self.item_keys[new], return_index=True)
        return self.take(new[np.sort(first)])


def cold_vectors(model: Any, text: NDArray[Any]) -> NDArray[np.float32]:
    """Return the HGNN's vectors of items without edges, f32 [m, d], in the bundle's own space.

    model: the static bundle's HGNN; text: [m, dt].
    """
    with torch.no_grad():
        vectors: NDArray[np.float32] = model.cold(
            torch.from_numpy(np.asarray(text, np.float32))
        ).numpy()
    return vectors


def padded_weights(matrix: sp.csr_array, items: int) -> sp.csr_array:
    """Return item-item weights [n, n] with empty rows up to `items`; their arrays are shared."""
    parts = (
        matrix.data,
        matrix.indices,
        np.pad(matrix.indptr, (0, items - matrix.shape[0]), mode="edge"),
    )
    return sp.csr_array(parts, shape=(items, items))


class GrownItems:
    """A static bundle and new items behind its own; a `StaticItems`.

    base: the bundle. New items have their text's vector, the HGNN's vector without edges, and no
    weights and counts: what workers give them.
    """

    _new: tuple[NewItems, ...]

    def __init__(self, base: StaticItems, new: NewItems) -> None:
        """Join; a bundle that was grown before keeps its earlier new items."""
        earlier = base._new if isinstance(base, GrownItems) else ()
        self.base: StaticItems = base.base if isinstance(base, GrownItems) else base
        self._new = (*earlier, new)
        self.item_keys = np.concatenate([base.item_keys, new.item_keys])
        self.item_ids = [*base.item_ids, *new.item_ids]
        self.item_types = [*base.item_types, *new.item_types]
        self.titles = [*base.titles, *(new.titles or [None] * len(new))]
        self.published_ms = np.concatenate([published_ms(base), published_ms(new)])
        self.manifest = self.base.manifest

    @property
    def languages(self) -> list[str | None]:
        """Languages, None where unknown."""
        return [*self.base.languages, *(name for new in self._new for name in new.languages)]

    @property
    def genres(self) -> list[Sequence[str] | None]:
        """Genres, None where unknown."""
        return [*self.base.genres, *(names for new in self._new for names in new.genres)]

    @property
    def text(self) -> NDArray[Any]:
        """Text vectors [n, dt]; joined when they are read, since features hold a copy."""
        return np.concatenate([self.base.text, *(new.text for new in self._new)])

    @property
    def hgnn(self) -> NDArray[np.float32]:
        """HGNN vectors f32 [n, d]."""
        cold = [cold_vectors(self.model, new.text) for new in self._new]
        return np.concatenate([np.asarray(self.base.hgnn, np.float32), *cold])

    @property
    def model(self) -> Any:
        """The HGNN."""
        return getattr(self.base, "model", None)

    @property
    def weights(self) -> dict[str, sp.csr_array]:
        """Item-item weights by name."""
        return self._padded("weights")

    @property
    def counts(self) -> dict[str, sp.csr_array]:
        """Item-item counts by name."""
        return self._padded("counts")

    def _padded(self, name: str) -> dict[str, sp.csr_array]:
        held: dict[str, sp.csr_array] = getattr(self.base, name, {})
        return {kind: padded_weights(one, len(self.item_keys)) for kind, one in held.items()}
