"""What a ranking head reads of a user and a candidate, from counting state and vectors alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.counts.neighbours import NONE, Neighbours, neighbours_of
from dynamic_layer.head.impressions import FEATURE, Impressions
from dynamic_layer.items.vector_store import inner_products
from dynamic_layer.settings import GROUPS, NEAR, SEPARATE_TYPES, FeatureSettings

#: Name of the sequence tower's feature, and of its group.
SEQUENCE = "sequence"
_ACTIVE = ("active@7d", "active@30d", "active@120d")
LOUD = np.float32(6.0)  # standardised values beyond this are cut: one outlier must not rule


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The fitted models behind the features; `n` items.

    type_number: i64 [n]; types: number of item types.
    type_columns: whether a head reads the list's type as a column of each type; None: with up to
                 `SEPARATE_TYPES` of them.
    weights:     item-item weights f32 [n, n] by name, [source, target].
    towers:      unit vectors of users f32 [users, e] and items f32 [n, e], or None.
    sequence:    queries of users f32 [users, w] and what they are multiplied with of items,
                 f32 [n, w], by the sequence tower, or None.
    """

    type_number: NDArray[np.int64]
    types: int
    type_columns: bool | None = None
    weights: Mapping[str, sp.csr_array] = field(default_factory=dict)
    towers: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    sequence: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def columns(self) -> int:
        """Number of the type columns."""
        few = self.types <= SEPARATE_TYPES if self.type_columns is None else self.type_columns
        return self.types if few else 0


def feature_names(sources: Sources, settings: FeatureSettings) -> list[str]:
    """Return the names of the features, in order; `z:` marks those standardised in a list."""
    pairs = [name for _, name in _pair_names(sources, settings)]
    return [f"z:{name}" for name in pairs] + pairs + _user_names(sources, settings)


def feature_groups(sources: Sources, settings: FeatureSettings) -> list[str]:
    """Return the group of each feature, of `GROUPS`, in the order of `feature_names`."""
    pairs = [group for group, _ in _pair_names(sources, settings)]
    return pairs + pairs + ["user"] * len(_user_names(sources, settings))


def _pair_names(sources: Sources, settings: FeatureSettings) -> list[tuple[str, str]]:
    """Return group and name of the features of a pair."""
    halves = [f"{half:g}d" for half in settings.half_lives_days]
    groups: dict[str, list[str]] = {
        "weights": [f"{name}@{half}" for name in sources.weights for half in halves],
        "shown": [f"{FEATURE}{half:g}d" for half in settings.shown_half_lives_days],
        "towers": ["towers"] if sources.towers is not None else [],
        "sequence": [SEQUENCE] if sources.sequence is not None else [],
        "demand": [f"demand@{half:g}d" for half in settings.demand_half_lives_days],
        "age": ["age", "silent", "new"],
    }
    near = {f"{name}@{half}" for name in NEAR for half in halves}
    return [
        ("vectors" if group == "weights" and name in near else group, name)
        for group in GROUPS
        if group in settings.groups
        for name in groups.get(group, [])
    ]


def _user_names(sources: Sources, settings: FeatureSettings) -> list[str]:
    if "user" not in settings.groups:
        return []
    numbers = [f"type-{number}" for number in range(sources.columns)]
    return ["history", "of-type", "type-share", "away", *_ACTIVE, *numbers]


def item_figures(
    demand: NDArray[np.float32],
    age_days: NDArray[np.float32],
    silent_days: NDArray[np.float32],
    settings: FeatureSettings,
) -> NDArray[np.float32]:
    """Return what a head reads of items alone, of the groups demand and age, f32 [..., g].

    demand: f32 [..., half-lives]; age_days, silent_days: f32 [...]; see `Moment`.
    """
    parts = [np.zeros((*age_days.shape, 0), np.float32)]
    if "demand" in settings.groups:
        parts.append(np.log(demand + np.float32(settings.smoothing)))
    if "age" in settings.groups:
        new = (age_days == 0).astype(np.float32)
        parts.append(np.stack([np.log1p(age_days), np.log1p(silent_days), new], axis=-1))
    return np.concatenate(parts, axis=-1)


@dataclass(frozen=True, kw_only=True)
class PairValues:
    """What a head reads of `b` users and their `c` candidates, each value once.

    pairs: f32 [b, c, f], values of a pair; anything where there is no candidate.
    valid: bool [b, c], where there is one.
    own:   f32 [b, 1, u], the user's own values; f32 [b, c, u] in a list over several types.
    """

    pairs: NDArray[np.float32]
    valid: NDArray[np.bool_]
    own: NDArray[np.float32]

    def features(self) -> NDArray[np.float32]:
        """Return the features, f32 [b, c, 2 f + u], as of `feature_names`; 0 without a candidate.

        Every value of a pair comes twice, standardised in its list and as it is: the former carries
        over when the models behind it are fitted again on more events.
        """
        return _features(self.pairs, self.valid, self.own)  # type: ignore[no-any-return]

    def take(self, users: slice) -> "PairValues":
        """Return those of some of the users."""
        return PairValues(pairs=self.pairs[users], valid=self.valid[users], own=self.own[users])

    def centred(self) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Return the pairs' values less their list's means, the means, and what standardises them.

        f32 [b, c, f], 0 without a candidate; f64 [b, f] each. A standardised value is the first
        times the last, at most `LOUD` from 0.
        """
        return _centred(self.pairs, self.valid)  # type: ignore[no-any-return]


def pair_values(
    moment: Moment,
    users: NDArray[np.int64],
    candidates: NDArray[np.int64],
    sources: Sources,
    settings: FeatureSettings,
    neighbours: Mapping[str, Neighbours] | None = None,
    figures: NDArray[np.float32] | None = None,
    shown: Impressions | None = None,
    *,
    mixed: bool = False,
) -> PairValues:
    """Return what a head reads of users and their candidates.

    users: i64 [b], rows of the moment's histories; candidates: i64 [b, c], with NONE; a list's
    are of one type unless `mixed`.
    neighbours: sums of each of the sources' weights at the settings' half-lives, for these users;
    made here when None. figures: `item_figures` of all items, where they are read again and again;
    made here when None. shown: impressions of these users; None for none.
    """
    histories = moment.histories.take(users)
    valid, rows = candidates != NONE, np.maximum(candidates, 0)
    width, first = len(_pair_names(sources, settings)), 0
    pairs = np.zeros((*candidates.shape, width), np.float32)
    for group in (group for group in GROUPS if group in settings.groups):
        if group == "weights":
            near = neighbours or neighbours_of(histories, sources.weights, settings.half_lives_days)
            for sums in near.values():
                first = sums.put_scores(candidates, pairs, first)
        elif group == "shown" and settings.shown_half_lives_days:
            halves = settings.shown_half_lives_days
            if shown is not None:
                pairs[:, :, first : first + len(halves)] = shown.features(candidates, halves)
            first += len(halves)
        elif group in ("towers", SEQUENCE):
            products = sources.towers if group == "towers" else sources.sequence
            if products is not None:
                pairs[:, :, first] = inner_products(products[1], rows, products[0][users])
                first += 1
    if first < width:  # of demand and age: the last ones
        if figures is None:
            states = (moment.demand, moment.age_days, moment.silent_days)
            figures = item_figures(*states, settings)
        _put_rows(figures, rows, pairs, first)
    own = np.zeros((len(candidates), 1, 0), np.float32)
    if "user" in settings.groups:
        own = _user(histories, rows, valid, sources, mixed=mixed)
    return PairValues(pairs=pairs, valid=valid, own=own)


@numba.njit(cache=True, nogil=True)
def _put_rows(
    figures: NDArray[np.float32],
    rows: NDArray[np.int64],
    out: NDArray[np.float32],
    first: int,
) -> None:
    """Put the figures of rows, i64 [b, c], into columns of f32 [b, c, f], from one on."""
    for user in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            for column in range(figures.shape[1]):
                out[user, place, first + column] = figures[rows[user, place], column]


@numba.njit(cache=True, nogil=True)
def _features(
    pairs: NDArray[np.float32], valid: NDArray[np.bool_], own: NDArray[np.float32]
) -> NDArray[np.float32]:
    """See `PairValues.features`."""
    (b, c), f = valid.shape, pairs.shape[2]
    out = np.zeros((b, c, 2 * f + own.shape[2]), np.float32)
    for row in range(b):
        mean, scale = _spread(pairs[row], valid[row])
        for place in range(c):
            if not valid[row, place]:
                continue
            for column in range(f):
                value = pairs[row, place, column]
                standard = (value - mean[column]) * scale[column]
                out[row, place, column] = min(max(standard, -LOUD), LOUD)
                out[row, place, f + column] = value
            # Number by number: assigning a row takes numba three seconds more to compile.
            for column in range(own.shape[2]):
                out[row, place, 2 * f + column] = own[row, place if own.shape[1] > 1 else 0, column]
    return out


@numba.njit(cache=True, nogil=True)
def _centred(
    pairs: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """See `PairValues.centred`."""
    b, c, f = pairs.shape
    out, means, scales = np.zeros((b, c, f), np.float32), np.empty((b, f)), np.empty((b, f))
    for row in range(b):
        mean, scale = _spread(pairs[row], valid[row])
        for column in range(f):
            means[row, column], scales[row, column] = mean[column], scale[column]
        for place in range(c):
            if valid[row, place]:
                for column in range(f):
                    out[row, place, column] = pairs[row, place, column] - mean[column]
    return out, means, scales


@numba.njit(cache=True, nogil=True)
def _spread(
    values: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the columns' means and what brings them to a deviation of one, f64 [f] each."""
    f, count = values.shape[1], 0
    mean, square = np.zeros(f), np.zeros(f)
    for place in range(len(valid)):
        if valid[place]:
            count += 1
            for column in range(f):
                mean[column] += values[place, column]
    count = max(count, 1)
    for column in range(f):
        mean[column] /= count
    for place in range(len(valid)):
        if valid[place]:
            for column in range(f):
                square[column] += (values[place, column] - mean[column]) ** 2
    return mean, 1 / np.maximum(np.sqrt(square / count), 1e-6)


def _user(
    histories: Histories,
    rows: NDArray[np.int64],
    valid: NDArray[np.bool_],
    sources: Sources,
    *,
    mixed: bool,
) -> NDArray[np.float32]:
    """Return log sizes of the history, share of the list's type, days away, activity, type.

    f32 [b, 1, .]; of the candidate's type instead of the list's if `mixed`, f32 [b, c, .].
    Activity is the log of the items met lately, at three half-lives.
    """
    b = len(histories)
    size = np.diff(histories.indptr)
    owner = np.repeat(np.arange(b), size)
    bag = owner * sources.types + sources.type_number[histories.item]
    by_type = np.bincount(bag, minlength=b * sources.types).reshape(b, sources.types)
    first = rows[np.arange(b), valid.argmax(axis=1)][:, None]
    wanted = sources.type_number[rows if mixed else first]
    own = by_type[np.arange(b)[:, None], wanted]
    away = np.zeros(b, np.float32)
    away[size > 0] = histories.age_days[histories.indptr[:-1][size > 0]]
    share = own / np.maximum(size, 1)[:, None]
    lately = [
        np.log1p(np.bincount(owner, weights=histories.recency(half), minlength=b))
        for half in (7.0, 30.0, 120.0)
    ]
    of_user = [np.broadcast_to(column[:, None], own.shape) for column in (np.log1p(size),
               np.log1p(away), *lately)]  # fmt: skip
    sizes = np.stack([of_user[0], np.log1p(own), share, *of_user[1:]], axis=2)
    one_hot = wanted[:, :, None] == np.arange(sources.columns)
    return np.concatenate([sizes, one_hot], axis=2).astype(np.float32)
