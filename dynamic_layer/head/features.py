"""What a ranking head reads of a user and a candidate, from counting state and vectors alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.counts.neighbours import NONE, Neighbours, neighbours_of
from dynamic_layer.items.vector_store import inner_products
from dynamic_layer.settings import GROUPS, NEAR, SEPARATE_TYPES, FeatureSettings

_PAST = ("past-times", "past-age", "past-share", "past-gap", "past-due", "past-uneven", "past-weak")
_ACTIVE = ("active@7d", "active@30d", "active@120d")
_LOUD = np.float32(6.0)  # standardised values beyond this are cut: one outlier must not rule


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The fitted models behind the features; `n` items.

    type_number: i64 [n]; types: number of item types.
    type_columns: whether a head reads the list's type as a column of each type; None: with up to
                 `SEPARATE_TYPES` of them.
    weights:     item-item weights f32 [n, n] by name, [source, target].
    vectors:     unit vectors f32 [n, d] by name (text, graph); zero where an item has none.
    towers:      unit vectors of users f32 [users, e] and items f32 [n, e], or None.
    traits:      further figures of items f32 [n] by name, read as they are.
    """

    type_number: NDArray[np.int64]
    types: int
    type_columns: bool | None = None
    weights: Mapping[str, sp.csr_array] = field(default_factory=dict)
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    towers: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    traits: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

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
        "vectors": [
            f"{name}{part}"
            for name in sources.vectors
            for part in (*(f"@{half}" for half in halves), "-nearest", "-nearest-3")
        ],
        "towers": ["towers"],
        "demand": [f"demand@{half:g}d" for half in settings.demand_half_lives_days],
        "age": ["age", "silent", "new"],
        "traits": list(sources.traits),
        "past": list(_PAST),
    }
    if sources.towers is None:
        groups["towers"] = []
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


def pair_features(
    moment: Moment,
    users: NDArray[np.int64],
    candidates: NDArray[np.int64],
    sources: Sources,
    settings: FeatureSettings,
    neighbours: Mapping[str, Neighbours] | None = None,
    figures: NDArray[np.float32] | None = None,
    *,
    mixed: bool = False,
) -> NDArray[np.float32]:
    """Return the features of users and their candidates, f32 [b, c, f]; 0 where there is none.

    users: i64 [b], rows of the moment's histories; candidates: i64 [b, c], with NONE; a list's
    are of one type unless `mixed`.
    neighbours: sums of each of the sources' weights at the settings' half-lives, for these users;
    made here when None. figures: `item_figures` of all items, where they are read again and again;
    made here for the candidates when None.
    Every feature of a pair comes twice, as it is and standardised in its list: the latter carries
    over when the models behind it are fitted again on more events.
    """
    histories = moment.histories.take(users)
    valid = candidates != NONE
    rows = np.maximum(candidates, 0)
    parts: list[NDArray[np.float32]] = []
    for group in GROUPS:
        if group not in settings.groups:
            continue
        if group == "weights":
            near = neighbours or neighbours_of(histories, sources.weights, settings.half_lives_days)
            sums = [one.scores(candidates) for one in near.values()]
            # One part however many weights there are: `columns` is compiled for a number of parts.
            parts += [np.concatenate(sums, axis=2)] if len(sums) > 1 else sums
        elif group == "vectors":
            parts += [_cosines(histories, rows, v, settings) for v in sources.vectors.values()]
        elif group == "towers" and sources.towers is not None:
            user, item = sources.towers
            parts.append(inner_products(item, rows, user[users])[:, :, None])
        elif group == "demand" or (group == "age" and "demand" not in settings.groups):
            parts.append(
                _figures(moment, rows, settings) if figures is None else figures.take(rows, axis=0)
            )
        elif group == "traits" and sources.traits:
            parts.append(np.stack([trait[rows] for trait in sources.traits.values()], axis=2))
        elif group == "past":
            parts.append(_past(histories, candidates))
    own = np.zeros((len(candidates), 1, 0), np.float32)
    if "user" in settings.groups:
        own = _user(histories, rows, valid, sources, mixed=mixed)
    pairs = parts or [np.zeros((*candidates.shape, 0), np.float32)]
    return columns(pairs, valid, own)


def columns(
    parts: Sequence[NDArray[np.floating]], valid: NDArray[np.bool_], own: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return values, f32 [b, c, .] each, standardised, as they are, and the user's own.

    valid: bool [b, c]; own: f32 [b, c, u], or f32 [b, 1, u] where they are the same for all
    candidates of a list.
    """
    return _columns(  # type: ignore[no-any-return]
        tuple(np.ascontiguousarray(part, np.float32) for part in parts), valid, own
    )


def _figures(
    moment: Moment, rows: NDArray[np.int64], settings: FeatureSettings
) -> NDArray[np.float32]:
    states = (moment.demand[rows], moment.age_days[rows], moment.silent_days[rows])
    return item_figures(*states, settings)


@numba.njit(cache=True, nogil=True)
def _columns(
    parts: tuple[NDArray[np.float32], ...], valid: NDArray[np.bool_], own: NDArray[np.float32]
) -> NDArray[np.float32]:
    """See `columns`. Parts are joined row by row: all in one array would be one more pass."""
    (b, c), f = valid.shape, 0
    for part in parts:
        f += part.shape[2]
    out = np.zeros((b, c, 2 * f + own.shape[2]), np.float32)
    pairs = np.empty((c, f), np.float32)
    for row in range(b):
        first = 0
        for part in parts:
            for place in range(c):
                for column in range(part.shape[2]):
                    pairs[place, first + column] = part[row, place, column]
            first += part.shape[2]
        mean, scale = _spread(pairs, valid[row])
        for place in range(c):
            if not valid[row, place]:
                continue
            for column in range(f):
                value = pairs[place, column]
                standard = (value - mean[column]) * scale[column]
                out[row, place, column] = min(max(standard, -_LOUD), _LOUD)
                out[row, place, f + column] = value
            # Number by number: assigning a row takes numba three seconds more to compile.
            for column in range(own.shape[2]):
                out[row, place, 2 * f + column] = own[row, place if own.shape[1] > 1 else 0, column]
    return out


@numba.njit(cache=True, nogil=True)
def _spread(
    values: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the columns' means and what brings them to a deviation of one, f64 [f] each."""
    f, count = values.shape[1], max(valid.sum(), 1)
    mean, square = np.zeros(f), np.zeros(f)
    for place in np.flatnonzero(valid):
        for column in range(f):
            mean[column] += values[place, column] / count
    for place in np.flatnonzero(valid):
        for column in range(f):
            square[column] += (values[place, column] - mean[column]) ** 2 / count
    return mean, 1 / np.maximum(np.sqrt(square), 1e-6)


def standardise(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return values f32 [b, c, f] less their list's mean, by its deviation, cut at 6 of them.

    >>> standardise(np.array([[[1.0], [3.0], [9.0]]]), np.array([[True, True, False]])).ravel()
    array([-1.,  1.,  0.], dtype=float32)
    """
    count = np.maximum(valid.sum(axis=1), 1).astype(np.float32)[:, None]
    inside = valid[:, :, None]
    mean = (values * inside).sum(axis=1) / count
    centred = (values - mean[:, None, :]) * inside
    deviation = np.sqrt((centred**2).sum(axis=1) / count)
    scaled = centred / np.maximum(deviation, 1e-6)[:, None, :]
    return np.asarray(np.clip(scaled, -_LOUD, _LOUD), np.float32)


def pooled(
    histories: Histories, recency: NDArray[np.float32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return each history's weighted sum of item vectors at unit length, f32 [b, d]."""
    share = sp.csr_array(
        (recency, histories.item, histories.indptr), shape=(len(histories), len(vectors))
    )
    total = np.asarray(share @ vectors, np.float32)
    norm = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(norm, 1e-9), np.float32)


def _cosines(
    histories: Histories,
    rows: NDArray[np.int64],
    vectors: NDArray[np.float32],
    settings: FeatureSettings,
) -> NDArray[np.float32]:
    """Return the dots with the pooled histories and with the nearest of the newest entries."""
    means = [pooled(histories, histories.recency(h), vectors) for h in settings.half_lives_days]
    recent = np.full((len(histories), settings.recent), NONE, np.int64)
    for place in range(settings.recent):
        entry = histories.indptr[:-1] + place
        there = entry < histories.indptr[1:]
        recent[there, place] = histories.item[entry[there]]
    newest = vectors[np.maximum(recent, 0)] * (recent != NONE)[:, :, None]
    queries = np.concatenate([np.stack(means, axis=1), newest], axis=1)
    cosine = vectors[rows] @ queries.transpose(0, 2, 1)
    k = len(means)
    single = np.partition(cosine[:, :, k:], -3, axis=2)[:, :, -3:]
    nearest = np.stack([single.max(axis=2), single.mean(axis=2)], axis=2)
    return np.concatenate([cosine[:, :, :k], nearest], axis=2).astype(np.float32)


def _past(histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the user's own past with each candidate, f32 [b, c, 7]; 0 where there is none.

    log(1 + times); 1 / (1 + days since); share of all events of the user; for what came more
    than once, log(1 + mean gap in days), log of the time since over that gap, and the gaps'
    deviation over their mean; whether there were weak signals alone.
    """
    n = 1 + int(max(candidates.max(initial=0), histories.item.max(initial=0)))
    owner = np.repeat(np.arange(len(histories)), np.diff(histories.indptr))
    codes = owner * n + histories.item
    order = np.argsort(codes)
    wanted = np.arange(len(candidates))[:, None] * n + np.maximum(candidates, 0)
    if not len(codes):
        return np.zeros((*candidates.shape, len(_PAST)), np.float32)
    place = order[np.minimum(np.searchsorted(codes[order], wanted), len(codes) - 1)]
    met = (codes[place] == wanted) & (candidates != NONE)
    own = _own_past(histories, owner)
    return np.asarray(own[place] * met[:, :, None], np.float32)


def _own_past(histories: Histories, owner: NDArray[np.int64]) -> NDArray[np.float32]:
    times, age = histories.times, histories.age_days
    total = np.bincount(owner, weights=times, minlength=len(histories))
    gap, due, uneven, weak = (np.zeros(len(times), np.float32) for _ in range(4))
    if histories.first_days is not None and histories.gap_squares is not None:
        again = times > 1
        gaps = np.maximum(times - 1, 1)
        mean = np.maximum((histories.first_days - age) / gaps, 1e-3)
        variance = np.maximum(histories.gap_squares / gaps - mean**2, 0)
        gap[again] = np.log1p(mean[again])
        # A day is added on both sides: sets with the resolution of a day have gaps of none.
        due[again] = np.log((age[again] + 1) / (mean[again] + 1))
        uneven[again] = np.minimum(np.sqrt(variance[again]) / mean[again], 5.0)
    if histories.strong is not None:
        weak = (~histories.strong).astype(np.float32)
    share = times / np.maximum(total[owner], 1)
    columns = [np.log1p(times), 1 / (1 + age), share, gap, due, uneven, weak]
    return np.stack(columns, axis=1).astype(np.float32)


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
