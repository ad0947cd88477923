"""A head's lists for requests at any moments of a stream: candidates and what is known of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.counts.directed import WALKS, Asked, WalkSettings, walk
from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.counts.neighbours import Neighbours, neighbours_of
from dynamic_layer.counts.stream_index import StreamIndex
from dynamic_layer.head.candidates import NONE, greatest
from dynamic_layer.head.features import Sources, feature_names, pair_features, pooled, standardise
from dynamic_layer.settings import FeatureSettings

_HOUR_MS = 3_600_000
_BATCH = 128  # requests; their candidates' vectors are 30 MB at 500 candidates
_FLOOR = np.float32(1e-3)  # added before the logarithm of a walk's value
_LEAST_DEMAND = np.float32(0.1)


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """Which candidates are looked at and what is read of them.

    history_cap:     latest events of a user that weights and vectors sum over.
    half_lives_days: recencies at which they are summed.
    demand_half_lives_days: of demand.
    walks:           how far walks go. tops: the walks that bring candidates, and how many each.
    neighbours:      candidates by item-item weights, at each recency. vectors: by vectors near the
                     pooled history, at the first recency. demand: by demand, at each half-life.
    own:             latest items of the user's own that are candidates where repeats are asked.
    limit:           candidates of a list; sources are listed in the order neighbours, demand,
                     vectors, own, walks, and the last ones are cut.
    """

    history_cap: int = 200
    half_lives_days: tuple[float, ...] = (1 / 24, 1.0, 30.0, float("inf"))
    demand_half_lives_days: tuple[float, ...] = (1 / 24, 0.25, 1.0, 4.0, 14.0, 60.0, 1e6)
    walks: WalkSettings = field(default_factory=WalkSettings)
    tops: tuple[tuple[str, int], ...] = (
        ("steps@last", 40),
        ("aligned", 60),
        ("session@hour", 60),
        ("session@recent", 60),
        ("together@hour", 60),
        ("together@day", 60),
    )
    neighbours: int = 50
    vectors: int = 20
    demand: int = 40
    own: int = 50
    limit: int = 500

    def features(self, *, repeats: bool) -> FeatureSettings:
        """What of the frozen head's features is read here too; a past only where items repeat."""
        past = ("past",) if repeats else ()
        return FeatureSettings(
            groups=("weights", "vectors", *past), half_lives_days=self.half_lives_days, recent=8
        )


@dataclass(frozen=True, kw_only=True)
class LiveLists:
    """Lists of `b` requests.

    candidates: i64 [b, c], NONE where a list ends; features: f32 [b, c, f].
    """

    candidates: NDArray[np.int64]
    features: NDArray[np.float32]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where there is a candidate, bool [b, c]."""
        return np.asarray(self.candidates != NONE)


def live_names(sources: Sources, settings: LiveSettings, *, repeats: bool = False) -> list[str]:
    """Return the names of the features, in order; `z:` marks those standardised in a list."""
    demand = [f"demand@{half:g}d" for half in settings.demand_half_lives_days]
    state = [*demand, "age", "silent", "new"]
    user = ["history", "away", "last-hour", "last-day", "type-share"]
    return [
        *feature_names(sources, settings.features(repeats=repeats)),
        *(f"z:{name}" for name in WALKS),
        *(f"log:{name}" for name in WALKS),
        *(f"z:{name}" for name in state),
        *state,
        *user,
        *(f"type-{number}" for number in range(sources.columns)),
    ]


def live_lists(
    index: StreamIndex,
    asked: Asked,
    sources: Sources,
    settings: LiveSettings,
    *,
    repeats: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> LiveLists:
    """Return the lists of requests; their `sources` were fitted before each one's `model_ms`."""
    top = _TopDemand(index, settings)
    parts = []
    for start in range(0, len(asked), _BATCH):
        some = asked.where(slice(start, start + _BATCH))
        parts.append(_lists(index, some, sources, settings, top, repeats=repeats))
        progress(min(start + _BATCH, len(asked)))
    width = max((part.candidates.shape[1] for part in parts), default=1)
    count = len(live_names(sources, settings, repeats=repeats))
    candidates = np.full((len(asked), width), NONE, np.int64)
    features = np.zeros((len(asked), width, count), np.float16)
    for place, part in enumerate(parts):
        rows = slice(place * _BATCH, place * _BATCH + len(part.candidates))
        candidates[rows, : part.candidates.shape[1]] = part.candidates
        features[rows, : part.candidates.shape[1]] = part.features
    return LiveLists(candidates=candidates, features=features)


class _TopDemand:
    """The items most in demand, looked up once per hour that is asked for."""

    def __init__(self, index: StreamIndex, settings: LiveSettings) -> None:
        self._index, self._count = index, settings.demand
        self._columns = index.columns(settings.demand_half_lives_days)
        self._found: dict[int, NDArray[np.int64]] = {}

    def __call__(self, demand_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        hours, place = np.unique(demand_ms // _HOUR_MS, return_inverse=True)
        return np.stack([self._at(int(hour) * _HOUR_MS) for hour in hours])[place]

    def _at(self, at_ms: int) -> NDArray[np.int64]:
        if at_ms not in self._found:
            demand = self._index.demand_at(at_ms)[:, self._columns]
            count = min(self._count, len(demand))
            best = np.argpartition(-demand, count - 1, axis=0)[:count]
            found = np.where(np.take_along_axis(demand, best, axis=0) > 0, best, NONE)
            self._found[at_ms] = found.T.ravel()
        return self._found[at_ms]


def _lists(
    index: StreamIndex,
    asked: Asked,
    sources: Sources,
    settings: LiveSettings,
    top: _TopDemand,
    *,
    repeats: bool,
) -> LiveLists:
    histories = index.histories(asked.user, asked.user_ms, settings.history_cap)
    allowed = np.ones(len(sources.type_number), np.bool_)
    brought = [np.full((len(asked), 1), NONE, np.int64)]
    neighbours = neighbours_of(histories, sources.weights, settings.half_lives_days)
    if settings.neighbours:
        found = [near.best(allowed, settings.neighbours) for near in neighbours.values()]
        brought += [
            best[:, part] for part in range(len(settings.half_lives_days)) for best in found
        ]
    if settings.demand:
        brought.append(top(asked.demand_ms))
    if settings.vectors:
        every, recency = np.arange(len(allowed)), histories.recency(settings.half_lives_days[0])
        for vectors in sources.vectors.values():
            cosine = pooled(histories, recency, vectors) @ vectors.T
            brought.append(greatest(cosine, every, settings.vectors))
    if repeats:
        brought.append(_newest(histories, settings.own))
    candidates, walked = walk(
        index, asked, np.concatenate(brought, axis=1), settings.walks,
        tops=settings.tops, limit=settings.limit, repeats=repeats,
    )  # fmt: skip
    features = _features(
        index, asked, histories, candidates, walked, sources, settings, neighbours,
        repeats=repeats,
    )  # fmt: skip
    return LiveLists(candidates=candidates, features=features)


def _newest(histories: Histories, count: int) -> NDArray[np.int64]:
    out = np.full((len(histories), count), NONE, np.int64)
    for place in range(count):
        entry = histories.indptr[:-1] + place
        there = entry < histories.indptr[1:]
        out[there, place] = histories.item[entry[there]]
    return out


def _features(
    index: StreamIndex,
    asked: Asked,
    histories: Histories,
    candidates: NDArray[np.int64],
    walked: NDArray[np.float32],
    sources: Sources,
    settings: LiveSettings,
    neighbours: Mapping[str, Neighbours],
    *,
    repeats: bool,
) -> NDArray[np.float32]:
    valid = candidates != NONE
    none = np.zeros((0, 0), np.float32)
    moment = Moment(at_ms=0, histories=histories, demand=none, age_days=none, silent_days=none)
    pairs = pair_features(
        moment, np.arange(len(asked)), candidates, sources, settings.features(repeats=repeats),
        neighbours,
    )  # fmt: skip
    state = index.item_state(candidates, asked.demand_ms)
    demand = state[:, :, index.columns(settings.demand_half_lives_days)]
    ages = state[:, :, -2:]
    new = (ages[:, :, :1] > 36_000).astype(np.float32)
    state = np.concatenate([np.log(demand + _LEAST_DEMAND), np.log1p(ages), new], axis=2)
    user = _user(histories, candidates, sources)
    columns = [
        pairs,
        standardise(walked, valid),
        np.log(walked + _FLOOR),
        standardise(state, valid),
        state,
        user,
    ]
    return np.asarray(np.concatenate(columns, axis=2) * valid[:, :, None], np.float32)


def _user(
    histories: Histories, candidates: NDArray[np.int64], sources: Sources
) -> NDArray[np.float32]:
    """Sizes of the history, its share of the candidate's type, the type; f32 [b, c, .]."""
    b, c = candidates.shape
    size = np.diff(histories.indptr)
    owner = np.repeat(np.arange(b), size)
    away = np.full(b, 1e4, np.float32)
    away[size > 0] = histories.age_days[histories.indptr[:-1][size > 0]]
    hour = np.bincount(owner[histories.age_days < 1 / 24], minlength=b)
    day = np.bincount(owner[histories.age_days < 1], minlength=b)
    own = np.stack(
        [np.log1p(size), np.log(away + np.float32(1e-3)), np.log1p(hour), np.log1p(day)], axis=1
    )
    bag = owner * sources.types + sources.type_number[histories.item]
    by_type = np.bincount(bag, minlength=b * sources.types).reshape(b, sources.types)
    number = sources.type_number[np.maximum(candidates, 0)]
    share = by_type[np.arange(b)[:, None], number] / np.maximum(size, 1)[:, None]
    one_hot = number[:, :, None] == np.arange(sources.columns)
    spread = np.broadcast_to(own[:, None, :], (b, c, own.shape[1]))
    return np.concatenate([spread, share[:, :, None], one_hot], axis=2).astype(np.float32)
