"""Which items a head looks at for a user: the union of what several sources put first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.candidates import greatest, neighbour_lists, union
from dynamic_layer.head_features import FeatureSettings, Sources, pooled
from dynamic_layer.moments import Moment


@dataclass(frozen=True, kw_only=True)
class CandidateSettings:
    """How many candidates each source may bring to a user's list of a type; 0 leaves it out.

    neighbours: by item-item weights, for each kind of weights and each half-life.
    demand:     by demand, for each half-life.
    vectors:    by vectors near the pooled history, for each kind and half-life.
    towers:     by the two-tower.
    limit:      of the union; sources are listed in this order, and the last ones are cut.
    """

    neighbours: int = 150
    demand: int = 60
    vectors: int = 50
    towers: int = 150
    limit: int = 800


def propose(
    moment: Moment,
    users: NDArray[np.int64],
    number: int,
    sources: Sources,
    settings: CandidateSettings,
    features: FeatureSettings,
) -> NDArray[np.int64]:
    """Return the candidates of one type for users, i64 [b, c], NONE where there are fewer.

    users: i64 [b]; number: of the type. None of them is in the user's history, and none twice.
    """
    histories = moment.histories.take(users)
    allowed = sources.type_number == number
    rows = np.flatnonzero(allowed)
    lists = [np.zeros((len(users), 0), np.int64)]
    for half_life in features.half_lives_days:
        recency = histories.recency(half_life)
        if settings.neighbours:
            lists += [
                neighbour_lists(histories, recency, weights, allowed, settings.neighbours)
                for weights in sources.weights.values()
            ]
        if settings.vectors:
            for vectors in sources.vectors.values():
                scores = pooled(histories, recency, vectors) @ vectors[rows].T
                lists.append(greatest(scores, rows, settings.vectors))
    if settings.demand:
        for demand in moment.demand.T:
            top = rows[np.argsort(-demand[rows], kind="stable")[: settings.demand]]
            lists.append(np.broadcast_to(top, (len(users), len(top))))
    if settings.towers and sources.towers is not None:
        user, item = sources.towers
        lists.append(greatest(user[users] @ item[rows].T, rows, settings.towers))
    return union(lists, histories, limit=settings.limit)
