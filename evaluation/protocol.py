"""The papers' protocol: full ranking per item type over users with held-out items.

One global split in time. For each item type, users with a stream after the split of an item of
that type they had not streamed before it; all items of the type are ranked, the user's own
excluded; HR@10, NDCG@10 over the top 10, MRR, recall and coverage over the top 100.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from evaluation import metrics
from evaluation.baselines import Rows, Scorer
from evaluation.dataset import Dataset
from evaluation.ranking import best, checked, in_tie_order, mask_pairs
from evaluation.split import HeldOut, TimeSplit, held_out

Ranker = Callable[[Rows, str, int], Rows]
"""Top list i64[users, k] of item rows for user rows, an item type and k; -1 where a list ends."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How models are tested.

    k:         length of the list for HR and NDCG.
    depth:     length of the list for MRR, recall and coverage.
    repeats:   also test items the user had already, and do not exclude them.
    max_users: test a random sample of the users of each type; 0 tests all.
    batch:     users ranked at once.
    seed:      of the sample and of the bootstrap intervals.
    """

    k: int = 10
    depth: int = 100
    repeats: bool = False
    max_users: int = 0
    batch: int = 512
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of the table: a model on the test users of one type and segment.

    segment: "all", "warm" (the user touched the type before the split) or "cold".
    hr_at_10_ci: 95 % bootstrap interval over users. coverage: of the type's catalogue, in the
    top `depth`. seconds: the model's ranking time for all test users of the type.
    """

    model: str
    item_type: str
    segment: str
    users: int
    hr_at_10: float
    hr_at_10_ci: tuple[float, float]
    ndcg_at_10: float
    mrr: float
    recall_at_100: float
    coverage: float
    seconds: float


def evaluate(
    models: Mapping[str, Ranker],
    dataset: Dataset,
    split: TimeSplit,
    *,
    item_types: Sequence[str] = (),
    protocol: Protocol | None = None,
) -> list[Result]:
    """Test rankers by name on the held-out items of each type (default: all types).

    Lists are checked before they count: items of another type, items the user had (unless
    repeats are tested) and items that stand twice are taken out, so that no ranker gains by them.
    A type without test users has no rows.
    """
    rules = Protocol() if protocol is None else protocol
    results = []
    # Events are read once for all types: with many types that is what an evaluation would cost.
    number = dataset.type_numbers()
    whole = held_out(split, np.arange(len(number)), repeats=rules.repeats)
    types, had = len(dataset.item_types), consumed(split, dataset)
    met = np.unique(split.train.user * types + number[split.train.item])
    for item_type in item_types or dataset.item_types:
        rows = dataset.rows_of_type(item_type)
        if not len(rows):
            continue
        truth = whole.where(number[whole.item] == number[rows[0]])
        truth = truth.sample(rules.max_users, rules.seed)
        if not len(truth.users):
            continue
        warm = np.isin(truth.users * types + number[rows[0]], met)
        banned = had[truth.users]
        for name, ranker in models.items():
            begun = time.perf_counter()
            lists = np.concatenate(
                [
                    ranker(truth.users[part], item_type, rules.depth)
                    for part in _parts(len(truth.users), rules.batch)
                ]
            )
            seconds = time.perf_counter() - begun
            lists = checked(lists, rows, None if rules.repeats else banned)
            for segment, chosen in (("all", warm | True), ("warm", warm), ("cold", ~warm)):
                if chosen.any():
                    results.append(
                        _result(
                            name, item_type, segment, lists, truth, chosen, rows, rules, seconds
                        )
                    )
    return results


def ranker_of(
    scorer: Scorer, dataset: Dataset, split: TimeSplit, *, repeats: bool = False
) -> Ranker:
    """Make a ranker from a scorer: all items of the type, the user's own excluded, best first."""
    had = consumed(split, dataset)
    ordered = in_tie_order(dataset.items)

    def rank(users: Rows, item_type: str, k: int) -> Rows:
        rows = ordered[np.isin(ordered, dataset.rows_of_type(item_type))]
        scores = np.array(scorer(users, rows), dtype=np.float32)
        if not repeats:
            column_of = np.full(len(dataset.items), -1)
            column_of[rows] = np.arange(len(rows))
            mask_pairs(scores, had[users], column_of)
        lists = best(scores, k)
        return np.where(lists >= 0, rows[lists], -1)

    return rank


def consumed(split: TimeSplit, dataset: Dataset) -> sp.csr_array:
    """Which user streamed which item before the split, bool[users, items]."""
    own = split.train.where(split.train.strong)
    shape = (len(dataset.users), len(dataset.items))
    return sp.csr_array((np.ones(len(own), dtype=bool), (own.user, own.item)), shape=shape)


def _parts(size: int, batch: int) -> Iterator[slice]:
    return (slice(start, start + batch) for start in range(0, size, batch))


def _ranks(lists: Rows, truth: HeldOut, n_items: int) -> list[npt.NDArray[np.int64]]:
    wanted = np.repeat(np.arange(len(truth.users)), truth.counts()) * n_items + truth.item
    codes = np.arange(len(lists))[:, None] * n_items + lists
    hits = np.isin(codes, wanted) & (lists >= 0)
    return [np.flatnonzero(row) for row in hits]


def _result(
    model: str,
    item_type: str,
    segment: str,
    lists: Rows,
    truth: HeldOut,
    chosen: npt.NDArray[np.bool_],
    rows: Rows,
    rules: Protocol,
    seconds: float,
) -> Result:
    ranks = _ranks(lists, truth, int(max(rows.max(), truth.item.max())) + 1)
    ranks = [ranks[place] for place in np.flatnonzero(chosen)]
    counts = truth.counts()[chosen]
    hits = metrics.hit_rate(ranks, rules.k)
    return Result(
        model=model,
        item_type=item_type,
        segment=segment,
        users=len(ranks),
        hr_at_10=float(hits.mean()),
        hr_at_10_ci=metrics.bootstrap_interval(hits, np.random.default_rng([rules.seed, 1])),
        ndcg_at_10=float(metrics.ndcg(ranks, counts, rules.k).mean()),
        mrr=float(metrics.mrr(ranks, rules.depth).mean()),
        recall_at_100=float(metrics.recall(ranks, counts, rules.depth).mean()),
        coverage=metrics.coverage(lists[chosen], len(rows)),
        seconds=seconds,
    )
