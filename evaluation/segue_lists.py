"""The lists that our ranking head learns from and is asked for: candidates and their features."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dynamic_layer.counts.moments import Moment
from dynamic_layer.head.candidates import NONE
from dynamic_layer.head.features import Sources, pair_features
from dynamic_layer.head.propose import all_items, propose
from dynamic_layer.head.ranking_head import Lists
from evaluation.baselines import Rows
from evaluation.segue_settings import SegueSettings
from evaluation.split import HeldOut

Floats = npt.NDArray[np.float32]
BATCH = 64  # users; their candidates' vectors are 80 MB at 800 candidates


def candidates_of(
    moment: Moment, users: Rows, sources: Sources, settings: SegueSettings, *, repeats: bool
) -> list[Rows]:
    """Return the candidates of each type, i64 [b, c] each, with NONE.

    All items of a type are candidates where they are fewer than the limit.
    """
    lists = []
    for number in range(sources.types):
        if (sources.type_number == number).sum() <= settings.candidates.limit:
            candidates = all_items(moment, users, number, sources, repeats=repeats)
        else:
            candidates = propose(
                moment,
                users,
                number,
                sources,
                settings.candidates,
                settings.features,
                repeats=repeats,
            )
        lists.append(candidates)
    return lists


def features_of(
    moment: Moment, users: Rows, lists: list[Rows], sources: Sources, settings: SegueSettings
) -> Floats:
    """Return the features of the candidates of all types in one list, f32 [b, c, f].

    They are standardised among the candidates of a type.
    """
    found = [pair_features(moment, users, part, sources, settings.features) for part in lists]
    return np.concatenate(found, axis=1)


def lists_of(
    moment: Moment,
    truth: HeldOut,
    places: Rows,
    sources: Sources,
    settings: SegueSettings,
    *,
    repeats: bool,
    useful: bool = False,
) -> Iterator[tuple[Rows, Lists]]:
    """Yield candidates and labelled lists of some test users, a batch at a time.

    places: i64 [m], of the users in `truth`. useful: leave out users without a held-out item among
    their candidates.
    """
    n_items = len(sources.type_number)
    codes = np.repeat(np.arange(len(truth.users)), truth.counts()) * n_items + truth.item
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        lists = candidates_of(moment, truth.users[part], sources, settings, repeats=repeats)
        candidates = np.concatenate(lists, axis=1)
        label = np.isin(part[:, None] * n_items + candidates, codes) & (candidates != NONE)
        if useful:
            kept = np.flatnonzero(label.any(axis=1))
            if not len(kept):
                continue
            part, candidates, label = part[kept], candidates[kept], label[kept]
            lists = [one[kept] for one in lists]
        features = features_of(moment, truth.users[part], lists, sources, settings)
        valid = candidates != NONE
        yield candidates, Lists(features=features.astype(np.float16), label=label, valid=valid)


def drawn(truth: HeldOut, most: int, rng: np.random.Generator) -> Rows:
    """Return the places of a random sample of test users, ascending."""
    size = min(most, len(truth.users))
    return np.sort(rng.choice(len(truth.users), size, replace=False))


def teaching_lists(
    moment: Moment,
    truth: HeldOut,
    sources: Sources,
    settings: SegueSettings,
    *,
    repeats: bool,
    rng: np.random.Generator,
) -> list[Lists]:
    """Return lists of users at an earlier moment, labelled by what they went on to meet.

    Users without such an item among their candidates are left out: they would teach nothing. Of
    the other candidates a draw is kept.
    """
    places = drawn(truth, settings.max_lists, rng)
    found = lists_of(moment, truth, places, sources, settings, repeats=repeats, useful=True)
    return [thinned(lists, settings.list_size, rng) for _, lists in found]


def sampled_lists(
    moment: Moment,
    truth: HeldOut,
    sources: Sources,
    settings: SegueSettings,
    *,
    negatives: int,
    rng: np.random.Generator,
) -> list[Lists]:
    """Return lists of a held-out item of each user and items of its type, drawn uniformly.

    Drawn are items with a past that the user never met: what a head learns from where it will be
    asked so.
    """
    pools = [
        np.flatnonzero((sources.type_number == number) & (moment.demand[:, -1] > 0))
        for number in range(sources.types)
    ]
    places = drawn(truth, settings.max_lists, rng)
    kept = []
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        users, item = truth.users[part], truth.item[truth.indptr[part]]
        candidates = np.full((len(part), negatives + 1), NONE, np.int64)
        candidates[:, 0] = item
        for row, (user, wanted) in enumerate(zip(users, item, strict=True)):
            pool = pools[sources.type_number[wanted]]
            histories = moment.histories
            had = histories.item[histories.indptr[user] : histories.indptr[user + 1]]
            free = pool[~np.isin(pool, had) & (pool != wanted)]
            others = rng.choice(free, size=min(negatives, len(free)), replace=False)
            candidates[row, 1 : 1 + len(others)] = others
        features = pair_features(moment, users, candidates, sources, settings.features)
        label = np.zeros(candidates.shape, np.bool_)
        label[:, 0] = True
        lists = Lists(features=features.astype(np.float16), label=label, valid=candidates != NONE)
        kept.append(thinned(lists, settings.list_size, rng))
    return kept


def thinned(lists: Lists, size: int, rng: np.random.Generator) -> Lists:
    """Return lists cut to their positives and a draw of the other candidates."""
    order = np.argsort(
        rng.random(lists.valid.shape) + 2.0 * ~lists.valid - 1.0 * lists.label,
        axis=1,
        kind="stable",
    )[:, :size]
    return Lists(
        features=np.take_along_axis(lists.features, order[:, :, None], axis=1),
        label=np.take_along_axis(lists.label, order, axis=1),
        valid=np.take_along_axis(lists.valid, order, axis=1),
    )
