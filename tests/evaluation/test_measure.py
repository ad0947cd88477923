"""What the harness measures, against the same figures counted the slow way."""

from dataclasses import asdict

import numpy as np
import pytest

from evaluation import Dataset, popularity
from evaluation.measure import DEPTH, METRICS, BadScores, Measured, measure, summary
from evaluation.model import ListsOnly
from evaluation.ranking import in_tie_order
from evaluation.segments import segments, tiers
from evaluation.text import TextVectors
from evaluation.trial import Trial, TrialSettings, make_trial
from static_layer.progress import silent
from tests.evaluation.worlds import random_dataset, text_of


def trial_of(seed: int, **settings: object) -> Trial:
    dataset = random_dataset(seed)
    options = {"test_days": 10.0, **settings}
    return make_trial(dataset, TrialSettings(**options), text_of(dataset))  # type: ignore[arg-type]


def noise(seed: int, levels: int = 7):
    """Scores with many ties, the same for a pair whenever it is asked for."""

    def score(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        mixed = (users[:, None] * 7919 + items[None, :] * 104729 + seed * 31) % 1009
        return (mixed % levels).astype(np.float64)

    return score


def slowly(trial: Trial, score, item_type: str, name: str) -> dict[str, object]:
    """The definition, user by user and item by item."""
    dataset, past = trial.dataset, trial.past.train
    types = np.array(dataset.items["item_type"].to_list())
    trained = set(past.item.tolist())
    tier = tiers(dataset)
    events = np.bincount(past.item, minlength=len(dataset.items))
    tie = {int(row): place for place, row in enumerate(in_tie_order(dataset.items))}

    def of_type(row: int) -> bool:
        return item_type in ("all", types[row])

    def counts(row: int) -> bool:
        return of_type(row) and {
            "warm_items": row in trained, "cold_items": row not in trained,
            "head": tier[row] == 0, "mid": tier[row] == 1, "tail": tier[row] == 2,
            "cold": row not in trained, "new": 0 < events[row] < 10,
        }.get(name, True)  # fmt: skip

    users, hits, ndcg, mrr, recall, seen = [], [], [], [], [], set()
    for place, user in enumerate(trial.truth.users):
        truth = trial.truth.item[trial.truth.indptr[place] : trial.truth.indptr[place + 1]]
        truth = {int(row) for row in truth if counts(int(row))}
        warm = any(of_type(int(row)) for row in past.item[past.user == user])
        if not truth or (name == "warm_users" and not warm) or (name == "cold_users" and warm):
            continue
        had = {int(row) for row in past.item[(past.user == user) & past.strong]}
        allowed = [int(row) for row in trial.candidates if of_type(int(row))]
        if name == "cold_items":
            allowed = [row for row in allowed if row not in trained]
        if not trial.settings.repeats:
            allowed = [row for row in allowed if row not in had]
        if trial.drawn is not None:
            competing = set(trial.drawn[[place]].nonzero()[1].tolist())
            allowed = [row for row in allowed if row in competing]
        scores = {row: float(score(np.array([user]), np.array([row]))[0, 0]) for row in allowed}
        ranked = sorted(allowed, key=lambda row: (-scores[row], tie[row]))[:DEPTH]
        ranks = [place for place, row in enumerate(ranked) if row in truth]
        users.append(user)
        hits.append(any(rank < 10 for rank in ranks))
        best = sum(1 / np.log2(rank + 2) for rank in range(min(len(truth), 10)))
        ndcg.append(sum(1 / np.log2(rank + 2) for rank in ranks if rank < 10) / best)
        mrr.append(1 / (1 + ranks[0]) if ranks else 0.0)
        recall.append(len(ranks) / len(truth))
        seen |= {row for row in ranked if counts(row)}
    size = len([row for row in trial.candidates if counts(int(row))])
    return {
        "users": users, "hr_at_10": np.mean(hits), "ndcg_at_10": np.mean(ndcg),
        "mrr": np.mean(mrr), "recall_at_100": np.mean(recall), "coverage": len(seen) / max(size, 1),
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repeats": True},
        {"candidates": "trained"},
        {"protocol": "loo"},
        {"protocol": "sampled", "negatives": 8},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_segment_has_the_figures_of_its_definition(
    settings: dict[str, object], seed: int
) -> None:
    trial = trial_of(seed, **settings)
    score = noise(seed)
    found = measure(score, trial, name="noise", progress=silent)
    rows = summary("noise", [found], seconds=0.0, fit_seconds=0.0, seed=0, settings={})
    assert {row.item_type for row in rows} == {"all", "book", "pod"}
    for measured, row in zip(found, rows, strict=True):
        expected = slowly(trial, score, row.item_type, row.segment)
        assert measured.users.tolist() == expected.pop("users"), row
        for name, value in expected.items():
            assert getattr(row, name) == pytest.approx(value), (name, row)


def test_the_segments_meet_everyone_once() -> None:
    trial = trial_of(2, test_days=20.0)
    found = {
        (m.item_type, m.segment): m for m in measure(noise(0), trial, name="n", progress=silent)
    }
    for item_type in ("all", "pod", "book"):
        everyone = found[item_type, "all"].users
        halves = [found.get((item_type, name)) for name in ("warm_users", "cold_users")]
        users = np.concatenate([half.users for half in halves if half is not None])
        assert sorted(users) == everyone.tolist()
        parts = {s.name: s.items for s in segments(trial.dataset, item_type)}
        assert (parts["warm_items"] ^ parts["cold_items"]).tolist() == parts["all"].tolist()
        in_tiers = parts["head"].astype(int) + parts["mid"] + parts["tail"]
        assert in_tiers.tolist() == parts["warm_items"].astype(int).tolist()
        assert parts["cold"].tolist() == parts["cold_items"].tolist()
        assert not (parts["new"] & ~parts["warm_items"]).any()
    assert [s.name for s in segments(trial.dataset, "all")] == [
        "all", "warm_users", "cold_users", "warm_items", "cold_items", "head", "mid", "tail", "new",
        "cold",
    ]  # fmt: skip


def test_the_head_holds_half_of_the_events(dataset: Dataset) -> None:
    trial = trial_of(3)
    counts = np.bincount(trial.past.train.item, minlength=len(trial.dataset.items))
    tier = tiers(trial.dataset)
    for item_type in ("pod", "book"):
        rows = trial.dataset.rows_of_type(item_type)
        head, mid, tail = (counts[rows][tier[rows] == n] for n in range(3))
        whole = counts[rows].sum()
        assert head.sum() >= whole / 2 > head.sum() - counts[rows][counts[rows] == head.min()].sum()
        assert head.min() > mid.max() >= mid.min() > tail.max()
        assert tail.sum() <= whole / 5


def test_a_ranker_of_lists_is_measured_like_the_scores_it_is_made_from() -> None:
    trial = trial_of(4)
    score = noise(9, levels=1_000)

    def rank(users: np.ndarray, item_type: str, k: int) -> np.ndarray:
        rows = trial.candidates
        if item_type != "all":
            rows = rows[np.isin(rows, trial.dataset.rows_of_type(item_type))]
        return rows[np.argsort(-score(users, rows), axis=1, kind="stable")]  # the user's own too

    by_lists = measure(ListsOnly(rank), trial, name="lists", progress=silent)
    by_scores = measure(score, trial, name="scores", progress=silent)
    by_scores = [m for m in by_scores if m.segment != "cold_items"]
    for one, other in zip(by_lists, by_scores, strict=True):
        assert (one.item_type, one.segment) == (other.item_type, other.segment)
        assert one.values["hr_at_10"].tolist() == other.values["hr_at_10"].tolist()
        assert one.lists.tolist() == other.lists.tolist()


def test_a_popularity_tie_does_not_follow_the_order_of_the_file() -> None:
    trial = trial_of(5)
    flat = measure(lambda u, i: np.zeros((len(u), len(i))), trial, name="flat", progress=silent)
    expected = trial.candidates.tolist()
    for user, row in zip(flat[0].users, flat[0].lists, strict=True):
        past = trial.past.train
        had = set(past.item[(past.user == user) & past.strong].tolist())
        assert [item for item in row.tolist() if item >= 0] == [i for i in expected if i not in had]


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    trial = trial_of(0)
    with pytest.raises(BadScores, match="are NaN"):
        measure(lambda u, i: np.full((len(u), len(i)), np.nan), trial, name="nan", progress=silent)
    with pytest.raises(BadScores, match="expected scores of shape"):
        measure(lambda u, i: np.zeros((1, 1)), trial, name="thin", progress=silent)
    sampled = trial_of(0, protocol="sampled")
    with pytest.raises(BadScores, match="sampled negatives"):
        measure(
            ListsOnly(lambda u, t, k: np.zeros((len(u), k), int)),
            sampled, name="lists", progress=silent,
        )  # fmt: skip


def test_seeds_are_averaged_and_intervals_hold_the_figure(
    dataset: Dataset, text: TextVectors
) -> None:
    trial = trial_of(6)
    seeds = [measure(noise(seed), trial, name="noise", progress=silent) for seed in (1, 2, 3)]
    options = {"seconds": 1.0, "fit_seconds": 0.5, "seed": 0, "settings": {"a": 1}}
    rows = summary("noise", seeds, **options)  # type: ignore[arg-type]
    alone = [summary("noise", [one], **options) for one in seeds]  # type: ignore[arg-type]
    for place, row in enumerate(rows):
        assert row.hr_at_10 == pytest.approx(np.mean([one[place].hr_at_10 for one in alone]))
        assert row.coverage == pytest.approx(np.mean([one[place].coverage for one in alone]))
        assert list(row.hr_at_10_seeds) == [one[place].hr_at_10 for one in alone]
        for name in ("hr_at_10", "ndcg_at_10", "mrr", "recall_at_100", "coverage"):
            low, high = asdict(row)[f"{name}_ci"]
            assert low - 1e-9 <= asdict(row)[name] <= high + 1e-9
    assert rows == summary("noise", seeds, **options)  # type: ignore[arg-type]


def test_coverage_moves_less_the_more_users_there_are() -> None:
    def spread(users: int) -> float:
        rng = np.random.default_rng(0)
        lists = np.where(
            rng.random((users, DEPTH)) < 0.05, rng.integers(0, 500, (users, DEPTH)), -1
        )
        measured = Measured(
            item_type="all", segment="all", users=np.arange(users), lists=lists, size=500,
            values=dict.fromkeys(METRICS, np.zeros(users)),
        )  # fmt: skip
        (row,) = summary("m", [[measured]], seconds=0, fit_seconds=0, seed=0, settings={})
        return row.coverage_ci[1] - row.coverage_ci[0]

    assert 0 < spread(400) < spread(40)


def test_popularity_is_asked_for_all_types_at_once() -> None:
    trial = trial_of(7)
    scorer = popularity(trial.past.train, len(trial.dataset.items))
    found = measure(scorer, trial, name="popularity", progress=silent)
    overall = next(m for m in found if (m.item_type, m.segment) == ("all", "all"))
    types = np.array(trial.dataset.items["item_type"].to_list())
    assert set(types[overall.lists[overall.lists >= 0]]) == {"pod", "book"}


class Pairs:
    """A scorer that is asked for the competing items alone where few compete."""

    def __init__(self, score) -> None:
        self.score, self.asked = score, 0

    def __call__(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        raise AssertionError("asked for all items where few compete")

    def pairs(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.asked += int((items >= 0).sum())
        every = self.score(users, np.arange(1 + items.max()))
        return np.take_along_axis(every, np.maximum(items, 0), axis=1)


def test_where_few_items_compete_a_scorer_may_be_asked_for_them_alone() -> None:
    trial = trial_of(3, protocol="sampled", negatives=8)
    apart = Pairs(noise(1))
    found = measure(apart, trial, name="apart", progress=silent)
    expected = measure(noise(1), trial, name="all", progress=silent)
    assert trial.drawn is not None
    assert apart.asked == trial.drawn.nnz
    assert [m.lists.tolist() for m in found] == [m.lists.tolist() for m in expected]
