"""What the towers read: features of items, and histories pooled by item type and recency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

# Names are hashed to buckets, not numbered: no vocabulary to grow, to ship or to realign.
COUNTRIES = 256
LANGUAGES = 256
GENRES = 1024
GENRES_PER_ITEM = 4
AGES = 24
_YEARS_PER_AGE = 5
_DAY_S = 86_400.0
_YEAR_MS = 31_556_952_000
SIGNALS_PER_TYPE = 3
"""Up to so many item types have parts of their own in towers, lists and the index (ADR 0042)."""
GAIN = np.float32(12.0)


class StaticItems(Protocol):
    """The part of a static bundle that the dynamic layer reads; `n` items."""

    @property
    def item_keys(self) -> NDArray[np.uint64]: ...  # noqa: D102
    @property
    def item_ids(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def item_types(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def languages(self) -> Sequence[str | None]: ...  # noqa: D102
    @property
    def genres(self) -> Sequence[Sequence[str] | None]: ...  # noqa: D102
    @property
    def titles(self) -> Sequence[str | None]: ...  # noqa: D102
    @property
    def text(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def hgnn(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def manifest(self) -> Mapping[str, Any]: ...  # noqa: D102


def bucket_of(names: Sequence[str | None], buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each name, i64 [n]: 0 for unknown, else 1 <= bucket < buckets."""
    numbers: dict[str | None, int] = {None: 0, "": 0}
    for name in set(names) - numbers.keys():
        numbers[name] = 1 + xxhash.xxh3_64_intdigest(str(name).encode()) % (buckets - 1)
    return np.fromiter((numbers[name] for name in names), np.int64, len(names))


def age_of(birth_year: NDArray[Any], timestamp: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each user's age, i64 [n]: 0 for unknown, then 5 years each."""
    age = 1970 + timestamp // _YEAR_MS - birth_year.astype(np.int64)
    bucket = np.clip(1 + age // _YEARS_PER_AGE, 1, AGES - 1)
    return np.where(birth_year > 0, bucket, 0)


@dataclass(frozen=True, kw_only=True)
class ItemFeatures:
    """Features of `n` items; row numbers are the items' numbers everywhere in a bundle.

    type_number: i64 [n], number of the item's type.
    language:    i64 [n], bucket.
    genres:      i64 [n, GENRES_PER_ITEM], buckets, 0 where there are fewer.
    content:     f32 [n, d], text vector, then HGNN vector where one is used.
    """

    type_number: Tensor
    language: Tensor
    genres: Tensor
    content: Tensor

    def __len__(self) -> int:
        """Number of items."""
        return len(self.type_number)

    def take(self, rows: Tensor) -> "ItemFeatures":
        """Return the features of some rows, i64 [m]."""
        return ItemFeatures(**{name: column[rows] for name, column in vars(self).items()})

    def join(self, more: "ItemFeatures") -> "ItemFeatures":
        """Return these items followed by others."""
        return ItemFeatures(
            **{
                name: torch.cat([column, getattr(more, name)])
                for name, column in vars(self).items()
            }
        )


def item_features(
    *,
    types: Sequence[str],
    item_types: Sequence[str],
    languages: Sequence[str | None],
    genres: Sequence[Sequence[str] | None],
    text: NDArray[Any],
    hgnn: NDArray[Any] | None,
) -> ItemFeatures:
    """Return the features of `n` items.

    types: the types that the towers know, in order. Raises ValueError for an item of another type.
    text:  [n, dt]; hgnn: [n, dh], or None for towers that do not read it.
    """
    number = {name: place for place, name in enumerate(types)}
    if unknown := set(item_types) - number.keys():
        raise ValueError(f"expected items of types {list(types)}, got {sorted(unknown)}")
    flat = [
        (row, place, genre)
        for row, names in enumerate(genres)
        if names
        for place, genre in enumerate(names[:GENRES_PER_ITEM])
    ]
    genre = np.zeros((len(item_types), GENRES_PER_ITEM), np.int64)
    if flat:
        rows, places, names = zip(*flat, strict=True)
        genre[list(rows), list(places)] = bucket_of(names, GENRES)
    parts = [text] if hgnn is None else [text, hgnn]
    # Unit vectors have tiny entries; at about unit variance the towers learn in fewer steps.
    content = GAIN * np.concatenate([np.asarray(part, np.float32) for part in parts], axis=1)
    return ItemFeatures(
        type_number=torch.tensor([number[name] for name in item_types], dtype=torch.int64),
        language=torch.from_numpy(bucket_of(languages, LANGUAGES)),
        genres=torch.from_numpy(genre),
        content=torch.from_numpy(content),
    )


def rows_by_type(type_number: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int64]]:
    """Return the rows of each type that occurs, ascending, by its number, in one pass.

    >>> {number: rows.tolist() for number, rows in rows_by_type(np.array([2, 0, 2])).items()}
    {0: [1], 2: [0, 2]}
    """
    # Of two bytes NumPy's stable sort is a radix sort, eight times as fast.
    number = type_number.astype(np.int16)
    order = np.argsort(number, kind="stable")
    numbers, starts = np.unique(number[order], return_index=True)
    parts = np.split(order, starts[1:])
    return dict(zip(numbers.tolist(), parts, strict=False))


def average_bias(
    bias: NDArray[np.float32], type_number: NDArray[np.int64], types: int
) -> NDArray[np.float32]:
    """Return the logarithm of the average demand of each type's items, f32 [types].

    bias: f32 [n], logarithms of demand. Demand is averaged, not its logarithm: the scores'
    logarithms stand for chances, and the chance of an item of which nothing is known is the mean of
    what it may turn out to be. A few items have most of the demand, so that the mean of the
    logarithms, which is that of a common item, is far below it.
    """
    found = np.zeros(types, np.float32)
    for number, rows in rows_by_type(type_number).items():
        own = bias[rows].astype(np.float64)
        found[number] = np.log(np.exp(own - own.max()).mean()) + own.max()
    return found


def unit_texts(text: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the text part of items' content, f32 [..., dt], at unit length; zeros stay zeros."""
    norm = np.linalg.norm(text, axis=-1, keepdims=True)
    return np.asarray(text / np.maximum(norm, 1e-9), np.float32)


class ItemRows:
    """Finds the row numbers of item keys."""

    def __init__(self, item_keys: NDArray[np.uint64]) -> None:
        """item_keys: u64 [n], distinct, in row order."""
        self._order = np.argsort(item_keys)
        self._sorted = item_keys[self._order]

    def __call__(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the row of each key, i64 of the same shape; -1 where there is none."""
        if not len(self._sorted):
            return np.full(keys.shape, -1, np.int64)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[place] == keys, self._order[place], -1)


@dataclass(frozen=True, kw_only=True)
class UserFeatures:
    """Features of `b` users with histories of at most `h` entries.

    history: i64 [b, h], item rows; -1 where there is no entry.
    age_s:   f32 [b, h], seconds since each entry.
    strong:  bool [b, h], whether the entry is a strong signal.
    country: i64 [b], bucket; age: i64 [b], bucket.
    """

    history: Tensor
    age_s: Tensor
    strong: Tensor
    country: Tensor
    age: Tensor


def pool_history(
    users: UserFeatures,
    content: Tensor,
    type_number: Tensor | None,
    *,
    types: int,
    half_lives_days: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Pool each user's history per item type.

    content: f32 [n, d]; type_number: i64 [n], or None to pool all types together (types: 1).
    Returns pools f32 [b, types, k, d] and signals f32 [b, types, SIGNALS_PER_TYPE]. Pools are the
    mean over streams, the mean over weak signals, and one mean per half-life with weights
    0.5 ** (age / half-life), so k = 2 + len(half_lives_days); a pool of nothing is zero. Signals
    are the logarithms of one plus: streams, weak signals, days since the latest entry.
    """
    b = len(users.history)
    known = users.history >= 0
    item = users.history[known]
    owner = torch.arange(b).unsqueeze(1).expand_as(users.history)[known]
    bag, order = torch.sort(
        owner if type_number is None else owner * types + type_number[item], stable=True
    )
    item, strong = item[order], users.strong[known][order].float()
    days = users.age_s[known][order] / _DAY_S
    bags = b * types
    latest = torch.full((bags,), torch.inf).scatter_reduce(0, bag, days, "amin")
    # Relative to the newest entry of the bag: the mean is the same, and nothing underflows.
    lag = days - latest[bag]
    weights = [strong, 1.0 - strong, *(torch.exp2(-lag / half) for half in half_lives_days)]
    starts = torch.searchsorted(bag, torch.arange(bags))
    pools, totals = [], []
    for weight in weights:
        total = torch.zeros(bags).index_add_(0, bag, weight)
        share = weight / total[bag].clamp(min=1e-12)
        pools.append(
            embedding_bag(item, content, starts, mode="sum", per_sample_weights=share)
            if len(item)
            else content.new_zeros(bags, content.shape[1])
        )
        totals.append(total)
    since = torch.where(torch.isinf(latest), torch.zeros(()), latest)
    signals = torch.log1p(torch.stack([totals[0], totals[1], since], dim=1))
    return (
        torch.stack(pools, dim=1).view(b, types, len(weights), content.shape[1]),
        signals.view(b, types, SIGNALS_PER_TYPE),
    )
