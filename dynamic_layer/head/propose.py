"""Which items a head looks at for a user: the union of what several sources put first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.counts.neighbours import Neighbours
from dynamic_layer.head.candidates import NONE, greatest, union
from dynamic_layer.head.features import FeatureSettings, Sources, pooled


@dataclass(frozen=True, kw_only=True)
class CandidateSettings:
    """How many candidates each source may bring to a user's list of a type; 0 leaves it out.

    neighbours: by item-item weights, for each kind of weights and each half-life.
    demand:     by demand, for each half-life.
    vectors:    by vectors near the history pooled with `pooled_days`, for each kind.
    towers:     by the two-tower.
    own:        the user's own newest items, where they may be asked for again.
    fresh:      items without a past, by `borrowed` weights for each half-life, and by vectors.
    pooled_days: half-life of the histories that vectors are compared with: each costs a pass over
                the vectors of the type.
    limit:      of the union; own items, demand, vectors, fresh, towers and neighbours come in this
                order, and the last ones are cut.
    """

    neighbours: int = 150
    demand: int = 60
    vectors: int = 50
    towers: int = 150
    own: int = 300
    fresh: int = 40
    pooled_days: float = 30.0
    limit: int = 900


def propose(
    moment: Moment,
    users: NDArray[np.int64],
    number: int,
    sources: Sources,
    settings: CandidateSettings,
    features: FeatureSettings,
    *,
    repeats: bool = False,
) -> NDArray[np.int64]:
    """Return the candidates of one type for users, i64 [b, c], NONE where there are fewer.

    users: i64 [b]; number: of the type. None stands twice. repeats: whether items that the user
    streamed are among them; without, those that he met by weak signals alone are.
    """
    histories = moment.histories.take(users)
    allowed = sources.type_number == number
    rows = np.flatnonzero(allowed)
    banned = _banned(histories, repeats=repeats)
    lists = [np.zeros((len(users), 0), np.int64)]
    weak = histories.strong is not None and not histories.strong.all()
    if settings.own and (repeats or weak):
        lists.append(own_items(histories, allowed, settings.own))
    if settings.demand:
        for demand in moment.demand.T:
            top = rows[np.argsort(-demand[rows], kind="stable")[: settings.demand]]
            lists.append(np.broadcast_to(top, (len(users), len(top))))
    if settings.vectors:
        lists += _nearest(histories, rows, sources, settings.vectors, settings.pooled_days)
    if settings.fresh:
        fresh = rows[(moment.age_days[rows] == 0) & (moment.demand[rows] == 0).all(axis=1)]
        lists += _nearest(histories, fresh, sources, settings.fresh, settings.pooled_days)
    if settings.towers and sources.towers is not None:
        user, item = sources.towers
        lists.append(greatest(user[users] @ item[rows].T, rows, settings.towers))
    if settings.neighbours:
        recency = histories.recencies(features.half_lives_days)
        brought = [
            Neighbours.of(histories, recency, weights).best(
                allowed, settings.fresh if name == "borrowed" else settings.neighbours
            )
            for name, weights in sorted(sources.weights.items(), key=_borrowed_first)
        ]
        lists += [best[:, part] for part in range(recency.shape[1]) for best in brought]
    return union(lists, banned, limit=settings.limit)


def _borrowed_first(named: tuple[str, object]) -> bool:
    """Key that puts `borrowed` first: the few items without a past are not to be cut."""
    return named[0] != "borrowed"


def all_items(
    moment: Moment, users: NDArray[np.int64], number: int, sources: Sources, *, repeats: bool
) -> NDArray[np.int64]:
    """Return all items of a type that `propose` may name, i64 [b, c]: for types with few items."""
    rows = np.flatnonzero(sources.type_number == number)
    banned = _banned(moment.histories.take(users), repeats=repeats)
    return union([np.broadcast_to(rows, (len(users), len(rows)))], banned, limit=len(rows))


def own_items(histories: Histories, allowed: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """Return the newest k items of each history that are allowed, i64 [b, k], NONE at the end."""
    own = histories.where(allowed[histories.item])
    size = np.minimum(np.diff(own.indptr), k)
    out = np.full((len(own), int(size.max(initial=0))), NONE, np.int64)
    owner = np.repeat(np.arange(len(own)), size)
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    out[owner, place] = own.item[own.indptr[:-1][owner] + place]
    return out


def _banned(histories: Histories, *, repeats: bool) -> Histories:
    if repeats:
        return histories.where(np.zeros(len(histories.item), np.bool_))
    return histories if histories.strong is None else histories.where(histories.strong)


def _nearest(
    histories: Histories, rows: NDArray[np.int64], sources: Sources, k: int, pooled_days: float
) -> list[NDArray[np.int64]]:
    """Return the rows nearest to each pooled history, for each kind of vectors.

    Rows without a vector, and users without one, have no nearest.
    """
    recency = histories.recency(pooled_days)
    lists = []
    for vectors in sources.vectors.values():
        there = rows[vectors[rows].any(axis=1)]
        if not len(there):
            continue
        pool = pooled(histories, recency, vectors)
        found = greatest(pool @ vectors[there].T, there, k)
        lists.append(np.where(np.asarray(pool.any(axis=1))[:, None], found, NONE))
    return lists
